/**
 * What does it cost to count a task exactly once? Envelopes of 1000 settled through the accounting
 * port, on a real Redis (AOF everysec): fresh ones that are all ok, ones of mixed outcomes, and the
 * same ones again, as after a crash; and the call that says that their rows are stored.
 *
 *   bun bench/accounting.bench.ts [--quick] [--json]
 */
import { Redis } from 'ioredis'
import { outcomes } from '../machines/outcome.ts'
import { redisAccounting } from '../runtime/redis/accounting.ts'
import { redisAdmission } from '../runtime/redis/admission.ts'
import { startRedis } from '../test/kit/redis.ts'
import { readOptions } from './kit/options.ts'
import { measureParts } from './kit/parts.ts'
import { envelopeTasks } from './kit/sample.ts'

const envelopes = 32
const runTasks = 100_000_000
const mailbox = 'work.noop'
const run = 'r-accountingbench'

const server = await startRedis()
const redis = new Redis(server.path, { maxRetriesPerRequest: null })
const subscriber = new Redis(server.path, { maxRetriesPerRequest: null })
const accounting = redisAccounting({
  redis,
  subscriber,
  now: Date.now,
  mapKeepMs: 60_000,
})
const admission = redisAdmission(redis)

await accounting.open({ id: run, createdAt: Date.now(), driver: 'bench/1' })
await accounting.commit(run, {
  afterLine: 0,
  lines: runTasks,
  accepted: runTasks,
  rejected: [],
  spool: [],
})
await admission.reserve(mailbox, run, runTasks, runTasks)

type Settlements = Parameters<typeof accounting.settle>[0]

let next = 0
let fresh = 0
/** So many envelopes, one behind the other. */
function settlementsOf(isMixed: boolean): Settlements {
  return Array.from({ length: envelopes }, () => {
    const first = next
    next += envelopeTasks
    return {
      run,
      id: `${run}.${first}`,
      mailbox,
      seqs: [[first, envelopeTasks]],
      outcomes: Array.from({ length: envelopeTasks }, (_, index) =>
        isMixed ? (outcomes[index % outcomes.length] ?? 'ok') : 'ok',
      ),
    }
  })
}

async function settle(settlements: Settlements): Promise<void> {
  for (const settled of await accounting.settle(settlements)) fresh += settled.fresh
}

const settledBefore = settlementsOf(false)
await settle(settledBefore)
const size = { tasks: envelopes * envelopeTasks, calls: envelopes }
try {
  await measureParts({
    bench: 'accounting',
    options: readOptions(),
    redis,
    parts: [
      { what: 'settle, all ok', ...size, round: () => settle(settlementsOf(false)) },
      { what: 'settle, mixed outcomes', ...size, round: () => settle(settlementsOf(true)) },
      { what: 'settle, the same again', ...size, round: () => settle(settledBefore) },
      { what: 'stored', ...size, calls: 1, round: () => accounting.stored(settledBefore) },
    ],
    notes: [`envelopes of ${envelopeTasks} tasks, ${envelopes} at a time`],
    async faults() {
      const counts = (await accounting.get(run))?.run.counts
      const counted = runTasks - (counts?.pending ?? 0)
      const room = await admission.used(mailbox)
      if (counted === next && fresh === next && room === runTasks - next) return []
      return [
        `expected ${next} tasks to be counted once, got ${counted} counted, ${fresh} fresh, and ` +
          `${runTasks - room} given back`,
      ]
    },
  })
} finally {
  redis.disconnect()
  subscriber.disconnect()
  await server.stop()
}
