import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { bin, musterIn } from './cli-process.ts'

const mixed = [
  '{"kind":"noop","id":"nothing"}',
  '',
  '{"kind":"exec","id":"hello","input":{"argv":["echo","hello"]}}',
  '{"kind":"exec","id":"three","input":{"argv":["false"]}}',
  '{"kind":"exec","input":{"argv":"ls"}}',
].join('\n')

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? ''
}

function jsonLines<T>(text: string): T[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T)
}

/** What every verb does alike, wherever its node is. */
function suite(folder: string) {
  const muster = musterIn(folder)
  writeFileSync(join(folder, 'mixed.ndjson'), mixed)

  test('run reports what was said, the failures last, and the recap as the last line', async () => {
    const { out, err, code } = await muster(['run', 'mixed.ndjson'])
    expect(code).toBe(1)
    expect(err).toContain('line 5: input.argv: expected')
    expect(err).toMatch(/\nnext: muster results r-\w+ --outcome failed\n/)
    expect(out).toMatch(/^ok +nothing\nok +hello +hello\nfailed +three +exit 1\n/)
    expect(lastLine(out)).toMatch(
      /^r-\w+ 3 = 2 ok \+ 1 failed {2}1 line rejected {2}.* {2}3 kinds of output$/,
    )
  })

  test('run -- ARGV runs one command, whatever its flags look like', async () => {
    const { out, code } = await muster(['--quiet', 'run', '--', 'echo', '--json', '--nope'])
    expect(code).toBe(0)
    expect(out).toContain('--json --nope')
  })

  test('run --json prints the run and nothing else', async () => {
    const { out, code } = await muster(['run', '-', '--json'], mixed)
    expect(code).toBe(1)
    const run = JSON.parse(out) as Run
    expect(run).toMatchObject({ state: 'completed', total: 3, rejectedCount: 1 })
    expect(run.counts).toMatchObject({ ok: 2, failed: 1, pending: 0 })
  })

  test('run --results writes every result line', async () => {
    const { code } = await muster(['run', 'mixed.ndjson', '--results', 'lines.ndjson'])
    expect(code).toBe(1)
    const lines = jsonLines<ResultLine>(readFileSync(join(folder, 'lines.ndjson'), 'utf8'))
    expect(lines.map((line) => [line.seq, line.outcome])).toEqual([
      [0, 'ok'],
      [1, 'ok'],
      [2, 'failed'],
    ])
  })

  test('a file that is not there exits 66, a results file that cannot be made 73', async () => {
    expect(await muster(['run', 'nope.ndjson'])).toMatchObject({ code: 66, out: '' })
    const words = ['run', 'mixed.ndjson', '--results', 'no/such/folder']
    expect(await muster(words)).toMatchObject({ code: 73, out: '' })
  })

  test.each([
    ['a file', ['run', 'mixed.ndjson', '--strict']],
    ['stdin', ['run', '-', '--strict']],
  ])('--strict runs nothing of %s with a bad line', async (_source, words) => {
    const before = await muster(['ls', '--json'])
    const { code, out, err } = await muster(words, mixed)
    expect({ code, out }).toEqual({ code: 64, out: '' })
    expect(err).toContain('line 5: input.argv: expected')
    expect((await muster(['ls', '--json'])).out).toBe(before.out)
    expect(readdirSync(join(folder, '.muster')).filter((name) => name.startsWith('stdin'))).toEqual(
      [],
    )
  })

  test('--dry-run says what would run, and runs nothing', async () => {
    const before = await muster(['ls', '--json'])
    const { code, out } = await muster(['run', 'mixed.ndjson', '--dry-run', '--json'])
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({ accepted: 3, rejectedCount: 1 })
    expect((await muster(['ls', '--json'])).out).toBe(before.out)
  })

  test('ls, show and results tell of a run that is over', async () => {
    const run = JSON.parse((await muster(['run', 'mixed.ndjson', '--json'])).out) as Run
    const [newest] = jsonLines<Run>((await muster(['ls', '--json'])).out)
    expect(newest).toEqual(run)
    expect((await muster(['ls'])).out).toContain(run.id)
    expect(JSON.parse((await muster(['show', run.id, '--json'])).out)).toEqual(run)
    const task = await muster(['show', `${run.id}/2`])
    expect(task.out).toMatch(/^task .*\/2\nid +three\nkind +exec\noutcome +failed\n/)
    const failed = await muster(['results', run.id, '--outcome', 'failed', '--json'])
    expect(jsonLines<ResultLine>(failed.out).map((line) => line.id)).toEqual(['three'])
    const each = await muster(['results', run.id, '--fold', 'none'])
    expect(each.out).toMatch(/^ok +nothing\nok +hello +hello\nfailed +three +exit 1\n$/)
    expect((await muster(['show', `${run.id}/3`])).code).toBe(66)
    expect((await muster(['show', 'r-00000000'])).code).toBe(66)
  })

  test('more lines than a run remembers are counted', async () => {
    const { err } = await muster(['run', '-'], 'x\n'.repeat(1030))
    expect(err.match(/^line \d+: /gm)).toHaveLength(1000)
    expect(err).toContain('… and 30 more rejected lines')
  })
}

describe('with the node inside the command', () => {
  const folder = temporaryDirectory()
  const muster = musterIn(folder)
  suite(folder)

  test('nothing of it is left running', () => {
    expect(existsSync(join(folder, '.muster/redis/redis.sock'))).toBe(false)
  })

  test('--timeout leaves with 124, and the same command resumes the run', async () => {
    // It lasts, so that it is still unfinished when the second command asks for it.
    const script = 'test -e go && exec sleep 2; exec sleep 60'
    const words = (timeout: string) => ['run', '--timeout', timeout, '--', 'sh', '-c', script]
    const first = await muster(words('6s'))
    expect(first.code).toBe(124)
    const run = /stopped waiting for (r-\w+) \(1 left\)/.exec(first.err)?.[1]
    expect(run).toBeDefined()
    writeFileSync(join(folder, 'go'), '')
    const second = await muster(words('60s'))
    expect(second).toMatchObject({ code: 0, out: expect.stringContaining(`${run} 1 = 1 ok`) })
    expect(second.err).toContain(`going on with ${run}`)
  })

  test.each([
    ['by its name', [bin]],
    ['under Node', ['node', bin]],
  ])('Ctrl-C leaves with 130 and the id of the run, %s', async (_how, program) => {
    const child = musterIn(folder, { program }).start(['run', '-'], '{"kind":"noop"}\n')
    await child.stdin.flush()
    let err = ''
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      if (err === '') child.kill('SIGINT')
      err += text
    }
    expect(await child.exited).toBe(130)
    expect(err).toMatch(
      /^run (r-\w+) .*\nmuster: detached from \1 .*; the tasks handed over stay in .*\n$/,
    )
  })

  test('a verb that needs a running node exits 69 and says how to get one', async () => {
    expect(await muster(['submit', 'mixed.ndjson'])).toMatchObject({
      code: 69,
      err: expect.stringContaining('muster start'),
    })
  })
})

describe('with a node that runs', () => {
  const folder = temporaryDirectory()
  const muster = musterIn(folder)
  let node: Bun.Subprocess
  beforeAll(async () => {
    node = muster.start(['start', '--port', '0'])
    await eventually(() => expect(readdirSync(join(folder, '.muster/nodes'))).not.toEqual([]))
  })
  afterAll(async () => {
    node.kill()
    await node.exited
  })
  suite(folder)

  test('submit prints the id and returns, watch waits for the end', async () => {
    const line = '{"kind":"sleep","input":{"ms":300}}\n'
    const submitted = await muster(['submit', '-'], line)
    expect(submitted.code).toBe(0)
    const run = submitted.out.trim()
    expect(run).toMatch(/^r-[0-9a-z]{8,26}$/)
    const watched = await muster(['watch', run])
    expect(watched).toMatchObject({ code: 0, out: expect.stringContaining(`${run} 1 = 1 ok`) })
    expect(await muster(['submit', '-', '--wait'], line)).toMatchObject({ code: 0 })
    const { out } = await muster(['submit', 'mixed.ndjson', '--json'])
    expect(JSON.parse(out)).toMatchObject({
      accepted: 3,
      rejectedCount: 1,
      rejected: [{ line: 5 }],
    })
  })

  test('who leaves does not stop the run', async () => {
    const line = '{"kind":"sleep","input":{"ms":5000}}\n'
    const { code, err } = await muster(['run', '-', '--timeout', '2500ms'], line)
    expect(code).toBe(124)
    const run = /muster watch (r-\w+)/.exec(err)?.[1] ?? ''
    expect(await muster(['watch', run])).toMatchObject({ code: 0 })
  })

  test('SIGTERM ends it with 0 and takes its file away', async () => {
    node.kill('SIGTERM')
    expect(await node.exited).toBe(0)
    expect(readdirSync(join(folder, '.muster/nodes'))).toEqual([])
  })
})

test('an ephemeral run promises no resumption, and names one node in all results', async () => {
  const folder = temporaryDirectory()
  const muster = musterIn(folder, { env: { MUSTER_DISPATCHER_UNSERVED_MS: '300' } })
  const lines = '{"kind":"noop"}\n{"kind":"noop","select":{"rack":"none"}}\n'
  const words = ['run', '-', '--ephemeral', '--results', 'all.ndjson']
  const { code, err } = await muster(words, lines)
  expect([code, err]).toEqual([3, expect.stringMatching(/run r-\w+ {2}\(Ctrl-C ends it\)/)])
  const results = jsonLines<ResultLine>(readFileSync(join(folder, 'all.ndjson'), 'utf8'))
  expect(results.map(({ outcome }) => outcome).sort()).toEqual(['ok', 'unreached'])
  expect(new Set(results.map(({ node }) => node)).size).toBe(1)
})
