/** The state of the system over several nodes, by real processes on one Redis. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { Run } from '../../actors/ports-runs.ts'
import type { SystemEntry } from '../../actors/ports-system.ts'
import type { SystemView } from '../../actors/system-record.ts'
import type { SystemState } from '../../machines/system-rules.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

type Node = MusterProcess & { url: string }

const dataDir = temporaryDirectory()
const nodes = new Map<string, Node>()
let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
  await start('a')
  await start('b', ['--processes', '1'])
})
afterAll(async () => {
  await Promise.all([...nodes.values()].map((node) => node.kill('SIGTERM')))
  await redis.stop()
})

async function start(id: string, words: string[] = []): Promise<Node> {
  const env = {
    MUSTER_NODE_ID: id,
    MUSTER_REDIS_URL: redis.url,
    MUSTER_WORKER_CONCURRENCY: '4',
    MUSTER_WORKER_ENVELOPE_TASKS_MAX: '5',
    USER: 'ada',
    // What a loaded machine does to its health is not what is told here.
    MUSTER_HEALTH_DEGRADED_SCORE: '980000',
    MUSTER_HEALTH_CRITICAL_SCORE: '990000',
    MUSTER_HEALTH_COLLAPSE_SCORE: '1000000',
  }
  const node = await startMusterNode({ dataDir, words, env })
  nodes.set(id, node)
  return node
}

function urlOf(id: string): string {
  const node = nodes.get(id)
  if (node === undefined) throw new Error(`there is no node ${id}`)
  return node.url
}

const say = (id: string, words: string[], stdin = '') =>
  muster([...words, '--url', urlOf(id)], { dataDir, stdin, env: { USER: 'ada' } })
const get = async <T>(id: string, path: string) =>
  (await (await fetch(`${urlOf(id)}${path}`)).json()) as T
const view = (id: string) => get<SystemView>(id, '/v1/system')
const isIn = (id: string, state: SystemState, timeoutMs = 30_000) =>
  eventually(async () => expect((await view(id)).state).toBe(state), { timeoutMs })
const tasks = (count: number, ms: number) =>
  Array.from({ length: count }, () => `${JSON.stringify({ kind: 'sleep', input: { ms } })}\n`)

describe('a pause of the whole system', () => {
  test('holds for every node and for one that boots into it, until somebody resumes', async () => {
    const submitted = await say('a', ['submit', '-'], tasks(60, 500).join(''))
    expect(submitted.code).toBe(0)
    const run = submitted.out.trim()
    const pending = async () => (await get<Run>('a', `/v1/runs/${run}`)).counts.pending
    await eventually(async () => expect(await pending()).toBeLessThan(60))
    const paused = await say('a', ['pause', '--reason', 'upgrade'])
    expect(paused.code).toBe(0)
    await isIn('b', 'PAUSED')
    expect(await view('b')).toMatchObject({ reason: 'upgrade', actor: 'ada' })

    // What runs ends and is counted; then nothing is begun, in a worker process either.
    let before = await pending()
    let changedAt = performance.now()
    await eventually(
      async () => {
        const now = await pending()
        if (now !== before) changedAt = performance.now()
        before = now
        expect(performance.now() - changedAt).toBeGreaterThan(2000)
      },
      { timeoutMs: 40_000, intervalMs: 100 },
    )
    expect(before).toBeGreaterThan(0)

    await start('c')
    expect((await view('c')).state).toBe('PAUSED')
    for (const id of ['a', 'b', 'c']) {
      const refused = await say(id, ['submit', '-'], '{"kind":"noop"}\n')
      expect(refused.code).toBe(75)
      expect(refused.err).toContain('upgrade')
      const ready = await fetch(`${urlOf(id)}/readyz`)
      expect(ready.status).toBe(503)
      expect(await ready.text()).toContain('PAUSED')
    }
    expect(await pending()).toBe(before)

    expect((await say('c', ['resume', '--reason', 'done'])).code).toBe(0)
    for (const id of ['a', 'b', 'c']) await isIn(id, 'OPERATIONAL')
    await eventually(async () => expect(await pending()).toBe(0), { timeoutMs: 60_000 })
    const over = await get<Run>('a', `/v1/runs/${run}`)
    expect([over.state, over.counts.ok]).toEqual(['completed', 60])
  })

  test('is told node by node in the history', async () => {
    const begun = ['PAUSED → RECOVERY by system', 'RECOVERY → OPERATIONAL by system']
    const resumed = ['PAUSED → RECOVERY by ada', 'RECOVERY → OPERATIONAL by system']
    // What a node changes by itself is in force before it is noted.
    await eventually(async () => {
      const { out } = await say('b', ['state', 'history', '--json'])
      const entries = out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as SystemEntry)
        .toReversed()
      const of = (id: string) =>
        entries
          .filter(({ node }) => node === id)
          .map(({ from, to, actor }) => `${from} → ${to} by ${actor}`)
      for (const id of ['a', 'b']) {
        expect(of(id)).toEqual([...begun, 'OPERATIONAL → PAUSED by ada', ...resumed])
      }
      expect(of('c')).toEqual(resumed)
    })
  })

  test('of one node alone DEGRADED is the state', async () => {
    const set = await say('b', ['state', 'set', 'DEGRADED', '--reason', 'slowly', '--json'])
    expect(JSON.parse(set.out)).toMatchObject({ state: 'DEGRADED', effect: { admission: 0.5 } })
    expect((await view('a')).state).toBe('OPERATIONAL')
    expect((await say('b', ['state', 'set', 'OPERATIONAL', '--reason', 'done'])).code).toBe(0)
  })
})
