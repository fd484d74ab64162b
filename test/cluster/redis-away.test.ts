/**
 * A Redis of somebody else that is away for a while. AWAY_MS in the environment makes it longer:
 * `AWAY_MS=60000 bun test test/cluster/redis-away.test.ts`.
 */
import { afterEach, describe, expect, test } from 'bun:test'
import type { Run } from '../../actors/ports-runs.ts'
import type { TreeNode } from '../../actors/tree.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { lasting } from '../kit/outage.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

const awayMs = Number(process.env['AWAY_MS'] ?? 8000)
const total = 600
/** Far less than the outage: who took it for a hang would restart everything. */
const env = {
  MUSTER_WORKER_HANG_GRACE_MS: '5000',
  MUSTER_COLLECTOR_HANG_MS: '5000',
  MUSTER_WORKER_CONCURRENCY: '4',
  MUSTER_WORKER_ENVELOPE_TASKS_MAX: '5',
}

const nodes: MusterProcess[] = []
const servers: RedisServer[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.kill('SIGTERM')))
  await Promise.all(servers.splice(0).map((server) => server.stop()))
})

const flat = (node: TreeNode): TreeNode[] => [node, ...node.children.flatMap(flat)]

const outages: [string, (redis: RedisServer) => Promise<() => Promise<void>>][] = [
  [
    'stopped',
    async (redis) => {
      await redis.kill()
      return () => redis.restart()
    },
  ],
  [
    'frozen',
    async ({ pid }) => {
      process.kill(pid, 'SIGSTOP')
      return async () => void process.kill(pid, 'SIGCONT')
    },
  ],
]

describe.each(outages)('a Redis that is %s for a while', (_, begin) => {
  test.each([0, 2])(
    'restarts nobody, and the run is complete (%i worker processes)',
    async (processes) => {
      const redis = await startRedis({ appendfsync: 'always' })
      servers.push(redis)
      const dataDir = temporaryDirectory()
      const split = processes === 0 ? [] : ['--processes', String(processes)]
      const words = ['--redis', redis.url, ...split]
      const node = await startMusterNode({ dataDir, env, words })
      nodes.push(node)
      const tree = async () => (await (await fetch(`${node.url}/v1/tree`)).json()) as TreeNode
      const stateOfRedis = async () =>
        (await tree()).children.find(({ id }) => id === 'redis')?.state
      const ready = async () => (await fetch(`${node.url}/readyz`)).status
      expect([await stateOfRedis(), await ready()]).toEqual(['connected', 200])
      const stdin = '{"kind":"sleep","input":{"ms":50},"timeoutMs":500}\n'.repeat(total)
      const submitted = await muster(['submit', '-', '--url', node.url], { dataDir, stdin })
      expect(submitted.code).toBe(0)
      const run = submitted.out.trim()
      await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(40))

      const end = await begin(redis)
      const since = performance.now()
      await eventually(async () => expect(await stateOfRedis()).toStartWith('away.'))
      console.log(`seen to be away after ${Math.round(performance.now() - since)} ms`)
      expect(await ready()).toBe(503)
      // Whoever only asks is not kept waiting for all of the outage.
      expect((await fetch(`${node.url}/v1/runs/${run}`)).status).toBe(503)
      await lasting(awayMs - (performance.now() - since))
      expect(countRows(dataDir)).toBeLessThan(total)
      await end()
      const endedAt = performance.now()
      await eventually(async () => expect(await stateOfRedis()).toBe('connected'))
      console.log(`seen to be back after ${Math.round(performance.now() - endedAt)} ms`)

      await eventually(
        async () => {
          const now = (await (await fetch(`${node.url}/v1/runs/${run}`)).json()) as Run
          expect(now.counts).toMatchObject({ ok: total, pending: 0 })
        },
        { timeoutMs: 40_000 },
      )
      console.log(`complete ${Math.round(performance.now() - endedAt)} ms after its end`)
      const { rows, audited } = readLedger(dataDir, run)
      expect(rows).toEqual(Array.from({ length: total }, (__, seq) => ({ seq, outcome: 'ok' })))
      expect(audited.size).toBe(total)
      const restarted = flat(await tree()).filter(({ restarts }) => restarts > 0)
      expect(restarted).toEqual([])
      expect(await ready()).toBe(200)
    },
    awayMs + 45_000,
  )
})
