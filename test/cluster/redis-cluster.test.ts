import { afterEach, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { keys, SlotKeys } from '../../runtime/redis/keys.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { type MusterProcess, startMuster, startMusterNode } from '../kit/muster.ts'
import { type RedisCluster, startRedisCluster } from '../kit/redis-cluster.ts'

const total = 12_000
/** So slow that there is a middle of it. */
const env = {
  MUSTER_DISPATCHER_RATE: '4000',
  MUSTER_DISPATCHER_BURST: '500',
  MUSTER_LEASE_TTL_MS: '2000',
  MUSTER_LEASE_RENEW_MS: '500',
  MUSTER_LEASE_OPERATION_TIMEOUT_MS: '400',
}

let cluster: RedisCluster | undefined
const started: MusterProcess[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.kill('SIGTERM')))
  await cluster?.stop()
})

const lines = (count: number) =>
  Array.from({ length: count }, (_, n) =>
    JSON.stringify({ kind: 'noop', id: `t${n}`, ...(n % 3 === 0 ? { key: `k${n % 7}` } : {}) }),
  ).join('\n')

async function runOn(url: string, dataDir: string): Promise<{ run: Run; code: number }> {
  const words = ['run', 'tasks.ndjson', '--json', '--url', url]
  const running = startMuster(words, { dataDir, env })
  started.push(running)
  const { code, out } = await running.ended
  return { run: JSON.parse(out) as Run, code }
}

describe('a Redis Cluster of three primaries', () => {
  test('has runs and mailboxes spread over all of them', async () => {
    cluster = await startRedisCluster()
    const dataDir = temporaryDirectory()
    writeFileSync(join(dataDir, 'tasks.ndjson'), lines(3000))
    const words = ['--redis', cluster.url]
    const node = await startMusterNode({ dataDir, words, env: {} })
    started.push(node)
    const runs = await Promise.all(Array.from({ length: 4 }, () => runOn(node.url, dataDir)))
    for (const { run, code } of runs) {
      expect(code).toBe(0)
      expect(run).toMatchObject({ state: 'completed', total: 3000, counts: { ok: 3000 } })
    }
    for (const keysHere of await cluster.keysByPrimary()) expect(keysHere).toBeGreaterThan(3)
  })

  test.each(['work', 'results', 'lease'])(
    'goes on when the primary with the %s is killed and its replica takes over',
    async (what) => {
      cluster = await startRedisCluster()
      const { url } = cluster
      const dataDir = temporaryDirectory()
      writeFileSync(join(dataDir, 'tasks.ndjson'), lines(total))
      const node = await startMusterNode({ dataDir, words: ['--redis', url], env })
      started.push(node)
      const running = runOn(node.url, dataDir)
      await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(1000), {
        timeoutMs: 20_000,
      })
      const slotKeys = new SlotKeys(8)
      const places: Record<string, string> = {
        work: slotKeys.mailboxPrefix('work.noop'),
        results: slotKeys.mailboxPrefix('results'),
        lease: keys.leaseLock('collector'),
      }
      await cluster.killPrimaryOf(places[what] ?? '')
      const { run, code } = await running
      expect(run).toMatchObject({ state: 'completed', total, counts: { ok: total, pending: 0 } })
      expect(code).toBe(0)
      const { rows, audited } = readLedger(dataDir, run.id)
      expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
      expect(audited.size).toBe(total)
    },
  )
})
