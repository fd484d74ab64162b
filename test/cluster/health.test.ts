/** The health of a node, by the real program: what is measured, what follows, who is told. */
import { afterEach, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import type { SystemReport } from '../../runtime/http/system.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

type Node = MusterProcess & { url: string; dataDir: string }

const tasks = join(import.meta.dir, '../examples/blocking.ts')

async function startNode(env: Record<string, string>, words: string[] = []): Promise<Node> {
  const dataDir = temporaryDirectory()
  const node = await startMusterNode({
    dataDir,
    env: { MUSTER_MAILBOX_LOCK_MS: '15000', ...env },
    words: ['--tasks', tasks, ...words],
  })
  cleanups.push(async () => {
    await node.kill('SIGTERM')
    endProcessesIn(dataDir)
  })
  return Object.assign(node, { dataDir })
}

const system = async ({ url }: Node) =>
  (await (await fetch(`${url}/v1/system`)).json()) as SystemReport
const metrics = async ({ url }: Node) => (await fetch(`${url}/metrics`)).text()
const say = ({ url, dataDir }: Node, words: string[], stdin = '') =>
  muster([...words, '--url', url], { dataDir, stdin })

/** Sensors as a quick test wants them: bad for 0.5 s is bad, well for 1 s is well. */
const quick = {
  MUSTER_HEALTH_WINDOW_MS: '5000',
  MUSTER_HEALTH_WORSEN_MS: '500',
  MUSTER_HEALTH_MEND_MS: '1000',
  MUSTER_HEALTH_SETTLE_MS: '500',
}

describe.each([
  ['of the node itself', []],
  ['of a worker process', ['--processes', '1']],
])('a handler that holds the event loop %s', (_, words) => {
  test('makes it reflect, then DEGRADED, and is named; then it mends', async () => {
    const node = await startNode(quick, words)
    const proved = await eventually(async () => {
      const { health } = await system(node)
      expect(health?.selfTest?.sawMs).toBeGreaterThan(40)
      return health
    })
    expect(proved?.sensors.find(({ name }) => name === 'loopDelay')?.state).toBe('proved')
    // A sensor that this runtime only pretends to have is off, and counts as not seen.
    expect(proved?.coverage.seeing).toBeLessThanOrEqual(proved?.coverage.of ?? 0)
    expect(await metrics(node)).toMatch(/^muster_health_coverage 0\.\d/m)

    const blocks = '{"kind":"block","input":{"ms":1500}}\n'.repeat(4)
    expect((await say(node, ['submit', '-'], blocks)).code).toBe(0)
    const slow = await eventually(
      async () => {
        const now = await system(node)
        expect(now.state).toBe('DEGRADED')
        return now
      },
      { timeoutMs: 30_000 },
    )
    expect(slow.effect).toEqual({ admission: 0.5, concurrency: 0.5 })
    expect(slow.note).toMatch(/^slow because DEGRADED since \d\d:\d\d UTC: /)
    expect(slow.note).toContain('held by block')
    const shown = await say(node, ['state'])
    expect(shown.out).toContain('slow because DEGRADED since')
    expect(await metrics(node)).toMatch(/muster_loop_held_seconds_count\{kind="block"\} [1-4]\n/)
    const history = await say(node, ['state', 'history', '--json'])
    expect(history.out).toMatch(/"to":"REFLECTIVE","reason":"health is 0\.\d+: .*held by block/)

    await eventually(async () => expect((await system(node)).state).toBe('OPERATIONAL'), {
      timeoutMs: 40_000,
    })
    expect(await metrics(node)).toContain('muster_health_status{status="HEALTHY"} 1')
  })
})

test('memory above its high-water mark closes the intake, then garbage is collected', async () => {
  const node = await startNode({ ...quick, MUSTER_HEALTH_HIGH_WATER_BYTES: String(2 ** 24) })
  const degraded = await eventually(
    async () => {
      const now = await system(node)
      expect(now.state).toBe('DEGRADED')
      return now
    },
    { timeoutMs: 40_000 },
  )
  expect(degraded.note).toContain('more than its high-water mark of 16 MiB')
  const refused = await say(node, ['submit', '-'], '{"kind":"noop"}\n')
  expect(refused.code).toBe(75)
  expect(refused.err).toContain('high-water mark of 16 MiB')
  await eventually(async () => {
    const text = await metrics(node)
    expect(text).toMatch(/^muster_memory_high_water_total 1$/m)
    expect(text).toMatch(/^muster_memory_collections_total [1-9]/m)
  })
})

test('a run that waits for workers slows no node down', async () => {
  const node = await startNode({ ...quick, MUSTER_WORKER_CONCURRENCY: '4' })
  const sleeps = '{"kind":"sleep","input":{"ms":50}}\n'.repeat(400)
  expect((await say(node, ['submit', '-', '--wait'], sleeps)).code).toBe(0)
  const { state, health } = await system(node)
  const wait = health?.sensors.find(({ name }) => name === 'queueWait')?.value ?? 0
  expect(wait).toBeGreaterThan(500)
  expect(health?.because.filter((why) => why.includes('workers'))).toEqual([])
  expect(['OPERATIONAL', 'DEGRADED']).toContain(state)
})
