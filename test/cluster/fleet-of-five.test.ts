/** Five nodes under load, of which two are killed at once: whoever leads, and one that works. */
import { afterEach, describe, expect, test } from 'bun:test'
import type { Run } from '../../actors/ports-runs.ts'
import { connect } from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { type MusterProcess, startMusterNode } from '../kit/muster.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

type Node = MusterProcess & { url: string }

const env = {
  // Nothing that five busy nodes on one core would miss while all of them live.
  MUSTER_LEASE_TTL_MS: '6000',
  MUSTER_LEASE_RENEW_MS: '1500',
  MUSTER_LEASE_OPERATION_TIMEOUT_MS: '1800',
  MUSTER_MEMBER_HEARTBEAT_MS: '1000',
  MUSTER_MEMBER_STALE_MS: '8000',
  MUSTER_MAILBOX_LOCK_MS: '8000',
  MUSTER_MAILBOX_STALLED_INTERVAL_MS: '1000',
  // So few at a time that the work outlasts the acceptance of it.
  MUSTER_WORKER_CONCURRENCY: '16',
}
const ids = ['a', 'b', 'c', 'd', 'e']
const total = 3000
/** Every tenth says no, and is tried twice; every seventh goes to a node that somebody chooses. */
const failing = total / 10
const lines = (name: string) =>
  Array.from({ length: total }, (_, seq) => {
    const isFailing = seq % 10 === 3
    return {
      kind: isFailing ? 'fail' : 'sleep',
      id: `${name}-${seq}`,
      ...(isFailing ? { attempts: 2 } : { input: { ms: 300 } }),
      ...(seq % 7 === 0 ? { placement: 'balanced' as const } : {}),
    }
  })

const started: Node[] = []
let redis: RedisServer | undefined
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.kill('SIGKILL')))
  await redis?.stop()
})

describe('of five nodes under load, two are killed at once', () => {
  test('and every task is accounted for exactly once', async () => {
    redis = await startRedis()
    const dataDir = temporaryDirectory()
    for (const id of ids) {
      const own = { ...env, MUSTER_NODE_ID: id, MUSTER_REDIS_URL: redis.url }
      started.push(await startMusterNode({ dataDir, env: own }))
    }
    const clients = await Promise.all(started.map(({ url }) => connect({ url })))
    const [leader, , worker, survivor] = clients
    if (leader === undefined || worker === undefined || survivor === undefined) {
      throw new Error('expected five nodes')
    }
    const holders = new Set((await survivor.leases()).map(({ holder }) => holder))
    expect(holders).toEqual(new Set(['a']))

    // One run of each of those that are killed, and one of a node that lives.
    const handles = await Promise.all(
      Object.entries({ leader, worker, survivor }).map(([name, client]) =>
        client.submit(lines(name)),
      ),
    )
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(total / 2), {
      timeoutMs: 60_000,
    })
    const begun = performance.now()
    const victims = started.filter((_, index) => index === 0 || index === 2)
    await Promise.all(victims.map((node) => node.kill('SIGKILL')))
    const atKill = countRows(dataDir)
    expect(atKill).toBeLessThan((handles.length * total * 3) / 4)

    const ended = await Promise.all(
      handles.map(({ id }) =>
        eventually(
          async (): Promise<Run> => {
            const run = await survivor.get(id)
            expect(run.finishedAt).toBeDefined()
            return run
          },
          { timeoutMs: 90_000, intervalMs: 200 },
        ),
      ),
    )
    const tookMs = Math.round(performance.now() - begun)
    console.log(`two of five killed with ${atKill} rows stored: complete ${tookMs} ms later`)

    for (const { id, state, counts } of ended) {
      expect(state).toBe('completed')
      expect(counts).toMatchObject({ ok: total - failing, failed: failing, pending: 0, dead: 0 })
      const { rows, audited } = readLedger(dataDir, id)
      expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
      const failed = rows.filter(({ outcome }) => outcome === 'failed')
      expect(failed.every(({ seq }) => seq % 10 === 3)).toBe(true)
      expect(audited.size).toBe(total)
    }
    expect(countRows(dataDir)).toBe(handles.length * total)

    // The dead are known as such, and somebody who lives leads what they led.
    const nodes = await survivor.nodes()
    const dead = nodes.filter(({ state }) => state === 'dead').map(({ id }) => id)
    expect(dead).toEqual(['a', 'c'])
    const leaders = new Set((await survivor.leases()).map(({ holder }) => holder))
    expect([...leaders].every((id) => ['b', 'd', 'e'].includes(id))).toBe(true)
  }, 240_000)
})
