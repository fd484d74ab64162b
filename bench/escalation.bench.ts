/**
 * What does it cost to watch for bad outcomes? Counting an envelope of 1000 tasks, which is all
 * that the collector has to wait for; and, beside it once a second, a batch of 50 kinds to windows
 * on a real Redis, with what all of them hold in return.
 *
 *   bun bench/escalation.bench.ts [--quick] [--json]
 */
import { Breaker } from '../actors/breaker.ts'
import { EscalationCounter } from '../actors/escalation.ts'
import type { Outcome } from '../machines/outcome.ts'
import { systemClock } from '../runtime/clock.ts'
import { redisEscalations } from '../runtime/redis/escalations.ts'
import { startRedis } from '../test/kit/redis.ts'
import { readOptions } from './kit/options.ts'
import { quiet } from './kit/parts.ts'

const size = 1000
const kinds = 50
const shape = { windowMs: 60_000, buckets: 12 }
const { isJson, isQuick } = readOptions()
const rounds = isQuick ? 5 : 50

/** Nanoseconds an envelope, of which so many tasks in a hundred failed: the best of some rounds. */
function countEnvelopes(percent: number): number {
  const tell = () => undefined
  const counter = new EscalationCounter({
    source: 'bench',
    shape,
    policy: { threshold: 500, calmMs: 30_000 },
    escalations: () => {
      throw new Error('expected nobody to ask for the windows')
    },
    breaker: new Breaker({ name: 'the windows', random: Math.random, tell }),
    opened: () => undefined,
    clock: systemClock,
    tell,
    log: quiet,
  })
  const outcomes = Array.from(
    { length: size },
    (_, index): Outcome => (index % 100 < percent ? 'failed' : 'ok'),
  )
  const settlement = { run: 'r-bench', id: 'i', mailbox: 'work.job', seqs: [], outcomes }
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < rounds + 5; round += 1) {
    const began = performance.now()
    for (let envelope = 0; envelope < 1000; envelope += 1) {
      counter.counted('job', settlement, { fresh: size })
    }
    best = Math.min(best, ((performance.now() - began) * 1e6) / 1000)
  }
  return Math.round(best)
}

/** Milliseconds from sending a batch of all kinds to their windows: the middle of some. */
async function sendBatches(): Promise<number> {
  const server = await startRedis()
  const port = redisEscalations({ url: server.url, shape, operationTimeoutMs: 5000, log: quiet })
  const counts = Array.from({ length: kinds }, (_, kind) => {
    return { metric: `fail:kind.${kind}`, count: 7, ageMs: 0 }
  })
  const times: number[] = []
  for (let number = 1; number <= rounds + 5; number += 1) {
    const began = performance.now()
    await port.count({ source: 'bench', number, counts })
    times.push(performance.now() - began)
  }
  await port.close()
  await server.stop()
  return times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)] ?? 0
}

const figures = {
  allWellNs: countEnvelopes(0),
  oneInHundredNs: countEnvelopes(1),
  allBadNs: countEnvelopes(100),
  batchMs: Number((await sendBatches()).toFixed(2)),
}
if (isJson) console.log(JSON.stringify({ bench: 'escalation', ...figures }))
else {
  console.log(`an envelope of ${size} tasks, all well     ${figures.allWellNs} ns`)
  console.log(`one in a hundred failed            ${figures.oneInHundredNs} ns`)
  console.log(`all failed                         ${figures.allBadNs} ns`)
  console.log(`a batch of ${kinds} kinds, once a second   ${figures.batchMs} ms`)
}
