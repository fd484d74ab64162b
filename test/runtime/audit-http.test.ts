/** `GET /v1/audit`, and `muster audit --node`, which asks for it. */
import { afterEach, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { reportSchema } from '../../runtime/audit/report.ts'
import { auditRoutes } from '../../runtime/http/audit.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { musterIn } from './cli-process.ts'
import { noops, openBody, startNode } from './started-node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function begin(options: Parameters<typeof startNode>[0] = {}) {
  const started = await startNode({ ephemeral: true, ...options })
  cleanups.push(() => started.node.stop(0))
  return started
}

test('a node reports on itself, with every sensor there', async () => {
  const { run, ask } = await begin()
  await run(noops(100))
  await eventually(async () => {
    const report: unknown = await (await ask('/v1/audit')).json()
    expect(reportSchema.strict().parse(report)).toMatchObject({
      threadpool_backlog: 0,
      missing: [],
    })
  })
})

test('requests that wait at the same time are counted, also afterwards', async () => {
  const { ask, submit } = await begin()
  const bodies = [openBody(), openBody(), openBody()]
  const waiting = bodies.map(({ body }) => submit(body))
  const peak = async () =>
    reportSchema.parse(await (await ask('/v1/audit')).json()).peak_active_requests
  await eventually(async () => expect(await peak()).toBeGreaterThanOrEqual(4))
  for (const { give, end } of bodies) {
    give(noops(1))
    end()
  }
  await Promise.all(waiting)
  expect(await peak()).toBeGreaterThanOrEqual(4)
})

test('the silence of a worker process counts, wherever in the tree it is', async () => {
  const leaf = { id: 'a', path: '', state: '', incarnation: 1, restarts: 0, pid: 1, children: [] }
  const child = {
    ...leaf,
    children: [
      { ...leaf, heardMs: 7000 },
      { ...leaf, heardMs: 100 },
    ],
  }
  const heard: (number | undefined)[] = []
  const measure = (heardMs?: number) => {
    heard.push(heardMs)
    return { eventLoopLagSeconds: 6 }
  }
  const app = auditRoutes({ vitals: { measure }, tree: () => ({ ...leaf, children: [child] }) })
  const answer = await app.request('/v1/audit')
  expect(heard).toEqual([7000])
  expect(reportSchema.parse(await answer.json()).status).toBe('COLLAPSE_RISK')
})

test('a node that does not look at its event loop says that it does not', async () => {
  const { node } = await begin({ listen: false })
  const answer = await node.fetch(new Request('http://muster/v1/audit'))
  expect(reportSchema.parse(await answer.json()).missing).toEqual([
    { query: 'event_loop_lag', reason: 'empty' },
  ])
})

test('the thresholds of a request are those of its answer', async () => {
  const { ask } = await begin()
  const of = async (query: string) =>
    reportSchema.parse(await (await ask(`/v1/audit?${query}`)).json())
  expect((await of('health_score_collapse=0')).status).toBe('COLLAPSE_RISK')
  const high = 'health_score_degraded=1e9&health_score_critical=1e9&health_score_collapse=1e9'
  expect((await of(high)).status).toBe('HEALTHY')
  const { findings } = await of('load_warning_threshold=0')
  expect(findings).toContain('Concurrent load saturation detected.')
})

test.each([
  ['max_queue_wait_s=much', "max_queue_wait_s: expected a number, got 'much'"],
  ['max_queue_wait_s=', "max_queue_wait_s: expected a number, got ''"],
  ['max_queue_wait=1', 'max_queue_wait: unknown key; did you mean max_queue_wait_s?'],
])('the thresholds %p are refused', async (query, detail) => {
  const { ask } = await begin()
  const response = await ask(`/v1/audit?${query}`)
  expect(response.status).toBe(400)
  expect(((await response.json()) as { detail: string }).detail).toBe(detail)
})

test('muster audit --node needs no metrics file, and uses one that is there', async () => {
  const { url } = await begin()
  const folder = temporaryDirectory()
  const muster = musterIn(folder)
  const plain = await muster(['audit', '--node', `${url}/`])
  expect(plain.code).toBe(0)
  expect(plain.out).toContain(`Target: ${url}/\nConfig: none; default thresholds\n`)

  writeFileSync(join(folder, 'metrics.yaml'), 'thresholds: { health_score_collapse: 0 }\n')
  const strict = ['audit', '--node', url, '--fail-on-critical', '--strict-telemetry']
  const { out, code } = await muster([...strict, '--json'])
  expect((JSON.parse(out) as { status: string }).status).toBe('COLLAPSE_RISK')
  expect(code).toBe(1)
})

test('muster audit --node brings the token', async () => {
  const folder = temporaryDirectory()
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, 'a-token-of-some-length\n')
  const { url } = await begin({ http: { port: 0, tokenFile } })
  const muster = musterIn(folder)
  const without = await muster(['audit', '--node', url, '--json'])
  expect(without.code).toBe(1)
  expect(JSON.parse(without.out)).toMatchObject({ error: { code: 'TOKEN' } })
  expect((await muster(['audit', '--node', url, '--token-file', tokenFile])).code).toBe(0)
})
