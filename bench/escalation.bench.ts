/**
 * What does it cost to watch for bad outcomes? Counting envelopes of 1000 tasks, which is all that
 * the collector waits for; and beside it, once a second, a batch of 50 kinds to windows on a real
 * Redis (AOF everysec), with what all of them hold in return.
 *
 *   bun bench/escalation.bench.ts [--quick] [--json]
 */
import { Redis } from 'ioredis'
import { Breaker } from '../actors/breaker.ts'
import { EscalationCounter } from '../actors/escalation.ts'
import type { Outcome } from '../machines/outcome.ts'
import { sumOf } from '../machines/window.ts'
import { systemClock } from '../runtime/clock.ts'
import { redisEscalations } from '../runtime/redis/escalations.ts'
import { startRedis } from '../test/kit/redis.ts'
import { readOptions } from './kit/options.ts'
import { measureParts, quiet } from './kit/parts.ts'
import { envelopeTasks } from './kit/sample.ts'

const envelopes = 100
const kinds = 50
const shape = { windowMs: 60_000, buckets: 12 }
const faults: string[] = []

const server = await startRedis()
const redis = new Redis(server.path)
const port = redisEscalations({ url: server.url, shape, operationTimeoutMs: 5000, log: quiet })

/** Counts envelopes of which so many tasks in a hundred failed. */
function counting(percent: number) {
  const tell = () => undefined
  const counter = new EscalationCounter({
    source: 'bench',
    shape,
    policy: { threshold: 500, calmMs: 30_000 },
    escalations: () => port,
    breaker: new Breaker({ name: 'the windows', random: Math.random, tell }),
    opened: () => undefined,
    clock: systemClock,
    tell,
    log: quiet,
  })
  const outcomes = Array.from(
    { length: envelopeTasks },
    (_, index): Outcome => (index % 100 < percent ? 'failed' : 'ok'),
  )
  const settlement = { run: 'r-bench', id: 'i', mailbox: 'work.job', seqs: [], outcomes }
  const round = async () => {
    for (let envelope = 0; envelope < envelopes; envelope += 1) {
      counter.counted('job', settlement, { fresh: envelopeTasks })
    }
  }
  return { tasks: envelopes * envelopeTasks, calls: envelopes, round }
}

const counts = Array.from({ length: kinds }, (_, kind) => {
  return { metric: `fail:kind.${kind}`, count: 7, ageMs: 0 }
})
let number = 0
async function sendBatch(): Promise<void> {
  number += 1
  const { windows } = await port.count({ source: 'bench', number, counts })
  if (windows.size !== kinds) faults.push(`expected ${kinds} windows, got ${windows.size}`)
  const held = sumOf(windows.get('fail:kind.0') ?? [])
  if (held > number * 7) faults.push('a batch was counted twice')
}

try {
  await measureParts({
    bench: 'escalation',
    options: readOptions(),
    redis,
    parts: [
      { what: 'count, all well', ...counting(0) },
      { what: 'count, one in a hundred failed', ...counting(1) },
      { what: 'count, all failed', ...counting(100) },
      { what: `${kinds} kinds to their windows`, tasks: kinds, calls: 1, round: sendBatch },
    ],
    notes: [
      `envelopes of ${envelopeTasks} tasks; a call: an envelope, or a batch, sent once a second`,
    ],
    faults: async () => [...new Set(faults)],
  })
} finally {
  await port.close()
  redis.disconnect()
  await server.stop()
}
