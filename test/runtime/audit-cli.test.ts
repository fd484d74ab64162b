/** `muster audit` as a build calls it: flags, files, words and exit codes. */
import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultThresholds } from '../../machines/health.ts'
import { readMetricsFile, thresholdsOf } from '../../runtime/audit/metrics-file.ts'
import { type AuditReport, queryKeys, reportSchema } from '../../runtime/audit/report.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { type Muster, musterIn } from './cli-process.ts'
import { type FakeOptions, fakePrometheus, vector } from './fake-prometheus.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Place {
  folder: string
  muster: Muster
  path(name: string): string
  has(name: string): boolean
  read(name: string): unknown
}

function place(): Place {
  const folder = temporaryDirectory()
  const path = (name: string) => join(folder, name)
  return {
    folder,
    muster: musterIn(folder),
    path,
    has: (name) => existsSync(path(name)),
    read: (name) => JSON.parse(readFileSync(path(name), 'utf8')) as unknown,
  }
}

/** One with metrics.yaml, by default the template with another target. */
async function readyPlace(prometheus: FakeOptions = {}, yaml?: string): Promise<Place> {
  const { url, stop } = fakePrometheus(prometheus)
  cleanups.push(stop)
  const here = place()
  const template = readFileSync(`${import.meta.dir}/../../config/metrics.yaml`, 'utf8')
  const text = yaml ?? template
  writeFileSync(here.path('metrics.yaml'), text.replace('http://localhost:9090', url))
  return here
}

/** A lag of so many seconds, and nothing else. */
const lagging = (seconds: number): FakeOptions => ({
  query: (promql) => vector(promql.includes('lag') ? String(seconds) : '0'),
})

const jsonOf = (out: string) => JSON.parse(out) as unknown
const reportOf = (out: string) => jsonOf(out) as AuditReport
const audited = ['audit', '--output-format', 'json']

describe('muster audit --init', () => {
  test('writes a template that can be audited with, and never over one', async () => {
    const { muster, path, folder } = place()
    const first = await muster(['audit', '--init'])
    expect(first).toEqual({
      out: `Successfully generated template: ${join(folder, 'metrics.yaml')}\n`,
      err: '',
      code: 0,
    })
    const { target, queries, thresholds } = await readMetricsFile(path('metrics.yaml'))
    expect(target).toBe('http://localhost:9090')
    expect(Object.keys(queries).toSorted()).toEqual(queryKeys.toSorted())
    expect(Object.keys(thresholds)).toHaveLength(Object.keys(defaultThresholds).length)
    expect(thresholdsOf(thresholds)).toEqual(defaultThresholds)

    writeFileSync(path('metrics.yaml'), 'mine')
    const second = await muster(['audit', '--init'])
    expect(second).toEqual({
      out: '',
      err: '[ERROR] metrics.yaml already exists in this directory.\n',
      code: 1,
    })
    expect(readFileSync(path('metrics.yaml'), 'utf8')).toBe('mine')
  })

  test('comes before everything else, and speaks JSON when asked to', async () => {
    const { muster, folder } = place()
    const words = [
      ...audited,
      '--init',
      '--config',
      'nowhere.yaml',
      '--target',
      'http://127.0.0.1:1',
    ]
    const { out, code } = await muster(words)
    expect({ out: jsonOf(out), code }).toEqual({
      out: { file: join(folder, 'metrics.yaml') },
      code: 0,
    })
    const again = await muster(['audit', '--json', '--init'])
    expect(again.code).toBe(1)
    expect(jsonOf(again.out)).toMatchObject({
      error: { message: 'metrics.yaml already exists in this directory.' },
    })
  })
})

describe('muster audit', () => {
  test('prints the report for people and leaves it in audit_results.json', async () => {
    const { muster, read, folder } = await readyPlace(lagging(0.8))
    const { out, err, code } = await muster(['audit'])
    expect({ err, code }).toEqual({ err: '', code: 0 })
    expect(out).toStartWith(`${'='.repeat(60)}\nASYNC RUNTIME AUDITOR\n${'='.repeat(60)}\nTarget: `)
    expect(out).toContain(`Config: ${join(folder, 'metrics.yaml')}\n\n`)
    expect(out).toContain('Runtime Status: CRITICAL\nRuntime Health Score: 1200\n\nFindings:\n')
    const file = join(folder, 'audit_results.json')
    expect(out).toEndWith(
      ` - Event-loop starvation detected.\n\nJSON audit report written to:\n${file}\n`,
    )
    expect(read('audit_results.json')).toMatchObject({ status: 'CRITICAL', missing: [] })
  })

  test('prints JSON when asked to, and then writes no file', async () => {
    const { muster, has } = await readyPlace(lagging(0.8))
    for (const words of [audited, ['audit', '--json'], ['--json', 'audit']]) {
      const { out, err, code } = await muster(words)
      expect({ err, code }).toEqual({ err: '', code: 0 })
      expect(reportSchema.strict().safeParse(jsonOf(out)).success).toBe(true)
      expect(reportOf(out).runtime_health_score).toBe(1200)
    }
    expect(has('audit_results.json')).toBe(false)
  })

  test.each([
    [0, 0, 0],
    [0.27, 0, 0],
    [0.8, 0, 1],
    [1.7, 0, 1],
  ])('of a lag of %p s exits %p, and with --fail-on-critical %p', async (lag, plain, gated) => {
    const { muster } = await readyPlace(lagging(lag))
    expect((await muster(audited)).code).toBe(plain)
    const failing = await muster([...audited, '--fail-on-critical'])
    expect(failing.code).toBe(gated)
    expect(reportOf(failing.out).status).toBeString()
  })

  test('--report writes the report as well, in either format', async () => {
    const { muster, read, has } = await readyPlace(lagging(0.8))
    await muster([...audited, '--report', 'a.json'])
    expect(has('audit_results.json')).toBe(false)
    await muster(['audit', '--report', 'b.json'])
    expect(has('audit_results.json')).toBe(true)
    expect([read('a.json'), read('b.json')]).toMatchObject([
      { status: 'CRITICAL' },
      { status: 'CRITICAL' },
    ])
    const { code, err } = await muster(['audit', '--report', 'no/such/folder/c.json'])
    expect(code).toBe(1)
    expect(err).toContain('[FATAL] Could not write no/such/folder/c.json')
  })

  test('--target and --config outrank the file and its place', async () => {
    const { url, stop } = fakePrometheus(lagging(0.8))
    cleanups.push(stop)
    const { muster, path } = place()
    const yaml = `target: "http://127.0.0.1:1"\nqueries: { event_loop_lag: lag }\n`
    writeFileSync(path('other.yaml'), yaml)
    for (const words of [
      [...audited, '--config', 'other.yaml', '--target', url],
      ['--config', 'other.yaml', ...audited, '--target', `${url}/`],
    ]) {
      const { out, code } = await muster(words)
      expect({ status: reportOf(out).status, code }).toEqual({ status: 'CRITICAL', code: 0 })
    }
    expect((await muster([...audited, '--config', 'other.yaml'])).code).toBe(1)
  })

  test('takes thresholds of the file, and defaults for those that it lacks', async () => {
    const yaml = 'target: "http://localhost:9090"\nqueries: { event_loop_lag: lag }\nthresholds: '
    const { muster } = await readyPlace(lagging(0.8), `${yaml}{ health_score_collapse: 1100 }`)
    const { out } = await muster(audited)
    const { status, findings } = reportOf(out)
    expect({ status, findings }).toEqual({
      status: 'COLLAPSE_RISK',
      findings: ['Event-loop starvation detected.'],
    })
  })
})

describe('telemetry that is broken', () => {
  const broken: FakeOptions = { query: () => new Response('', { status: 500 }) }

  test('scores HEALTHY, and says what it lacks', async () => {
    const { muster, read } = await readyPlace(broken)
    const { out, err, code } = await muster(['audit', '--fail-on-critical'])
    expect(code).toBe(0)
    expect(out).toContain('Runtime Status: HEALTHY')
    expect(out).toContain(' - event_loop_lag: query failed (HTTP 500)\n')
    expect(err).toContain("[ERROR] Prometheus query failed for 'event_loop_lag': HTTP 500\n")
    const { missing } = read('audit_results.json') as AuditReport
    expect(missing.map(({ query }) => query)).toEqual(queryKeys)
  })

  test('fails the audit with --strict-telemetry, which has no status then', async () => {
    const { muster, has, read } = await readyPlace(broken)
    const strict = [...audited, '--strict-telemetry', '--report', 'r.json']
    const { out, code } = await muster(strict)
    expect(code).toBe(1)
    const answer = jsonOf(out) as { error: { code: string }; missing: unknown[] }
    expect(answer.error.code).toBe('TELEMETRY_INCOMPLETE')
    expect(answer.missing).toHaveLength(queryKeys.length)
    expect(answer).not.toHaveProperty('status')
    expect(read('r.json')).toEqual(answer)
    const text = await muster(['audit', '--strict-telemetry'])
    expect({ out: text.out, code: text.code }).toEqual({ out: '', code: 1 })
    expect(text.err).toStartWith('[FATAL] Telemetry is incomplete:\n  p99_latency: query failed')
    expect(has('audit_results.json')).toBe(false)
  })

  test('is not broken when all is there', async () => {
    const { muster } = await readyPlace(lagging(0.1))
    expect((await muster([...audited, '--strict-telemetry'])).code).toBe(0)
  })

  test('counts a key that the file lacks', async () => {
    const { muster } = await readyPlace({}, 'target: "http://localhost:9090"\nqueries: {}\n')
    const { out, err } = await muster(audited)
    expect(reportOf(out).missing[0]).toEqual({ query: 'p99_latency', reason: 'key absent' })
    expect(err).toContain("[WARNING] Query key 'p99_latency' not found in ")
    expect((await muster([...audited, '--strict-telemetry'])).code).toBe(1)
  })
})

describe('there is no audit', () => {
  test('without a metrics file, and two ways out', async () => {
    const { muster, has } = place()
    const { out, err, code } = await muster(['audit'])
    expect({ out, code }).toEqual({ out: '', code: 1 })
    expect(err).toBe(
      '[FATAL] No metrics configuration found.\nRun:\n  muster audit --init\n' +
        'or provide explicit path:\n  muster audit --config <path>\n',
    )
    expect(has('audit_results.json')).toBe(false)
    const named = await muster([...audited, '--config', 'nowhere.yaml'])
    expect(named.code).toBe(1)
    expect(jsonOf(named.out)).toMatchObject({ error: { code: 'NOT_FOUND' } })
    expect(named.err).toContain('muster audit --init')
  })

  test.each([
    ['', 'metrics config is empty'],
    ['# nothing\n', 'metrics config is empty'],
    ['a: [', 'YAML'],
    ['\u0000\u0001', 'YAML'],
    ['- a\n', 'the file: expected a mapping, got a list'],
    ['word', 'the file: expected a mapping, got "word"'],
    ['target: 7', 'target: expected a URL, got 7'],
    ['target: nowhere', 'expected an http or https URL'],
    ['queries: []', 'queries: expected a mapping, got a list'],
    ['queries: { p99_latency: 7 }', 'queries.p99_latency: expected PromQL in a string, got 7'],
    ['queries: { p99_latncy: x }', 'queries.p99_latncy: unknown key; did you mean p99_latency?'],
    ['thresholds: { max_queue_wait_s: "1" }', 'thresholds.max_queue_wait_s: expected a number'],
    ['thresholds: { max_queue_wait_s: .nan }', 'thresholds.max_queue_wait_s: expected a number'],
    ['thresholds: { max_queue_wait: 1 }', 'did you mean max_queue_wait_s?'],
    ['tresholds: {}', 'tresholds: unknown key; did you mean thresholds?'],
  ])('of the metrics file %j', async (yaml, reason) => {
    const { muster, path } = place()
    writeFileSync(path('metrics.yaml'), yaml)
    const { out, err, code } = await muster(audited)
    expect(code).toBe(1)
    expect(err).toContain(reason)
    expect((jsonOf(out) as { error: { message: string } }).error.message).toContain(reason)
  })

  test('with a metrics file that is a folder', async () => {
    const { muster, path } = place()
    mkdirSync(path('metrics.yaml'))
    expect((await muster(['audit'])).code).toBe(1)
  })

  test('of a Prometheus that is not there, and an old report does not stay', async () => {
    const { muster, path, read } = await readyPlace()
    writeFileSync(path('r.json'), '{"status":"HEALTHY"}')
    const words = [...audited, '--target', 'http://127.0.0.1:1', '--report', 'r.json']
    const { out, err, code } = await muster(words)
    expect(code).toBe(1)
    expect(err).toContain('[FATAL] Telemetry backend unreachable at http://127.0.0.1:1/-/healthy\n')
    expect(err).toContain('Cannot audit runtime state without observability data.')
    expect(jsonOf(out)).toMatchObject({ error: { code: 'TELEMETRY_UNREACHABLE' } })
    expect(read('r.json')).toEqual(jsonOf(out))
  })

  test('of something else where a node should be', async () => {
    const { url, stop } = fakePrometheus()
    cleanups.push(stop)
    const { muster } = place()
    const { code, err } = await muster([...audited, '--node', url])
    expect(code).toBe(1)
    expect(err).toStartWith('[FATAL] ')
    expect((await muster(['audit', '--node', 'http://127.0.0.1:1'])).code).toBe(1)
    expect((await muster(['audit', '--node', 'nowhere'])).code).toBe(1)
  })
})

test('a command line that nobody can follow exits 2, and says what was meant', async () => {
  const { muster } = place()
  const rows: [string[], string][] = [
    [['audit', '--fail-on-critcal'], '--fail-on-critical'],
    [['audit', '--output-format', 'xml'], 'text, json'],
    [['audit', '--target'], 'argument missing'],
    [['audit', '--node', 'http://a', '--target', 'http://b'], 'cannot be used with'],
    [['audit', '--url', 'http://127.0.0.1:1'], '--node URL'],
    [['audit', 'something'], 'too many arguments'],
  ]
  for (const [words, said] of rows) {
    const { out, err, code } = await muster(words)
    expect({ out, code }).toEqual({ out: '', code: 2 })
    expect(err).toContain(said)
  }
})
