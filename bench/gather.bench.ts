/**
 * What does it cost to gather a result? First the aggregation alone: results of 10,000 open sets in
 * an order of chance, each offered and read. Then a whole gathering over HTTP: tasks for 5,000
 * simulated hosts (each a `sleep` of chance) on one node, from the call to the complete set.
 *
 *   bun bench/gather.bench.ts [--quick] [--json]
 */
import { createActor } from 'xstate'
import { Gatherer } from '../actors/gather.ts'
import { systemClock } from '../runtime/clock.ts'
import type { TaskLine } from '../runtime/index.ts'
import { percentile } from './kit/figures.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row } from './kit/report.ts'

const options = readOptions()
const openSets = 10_000
const sourcesEach = options.isQuick ? 10 : 50
const hosts = options.isQuick ? 500 : 5000
const rounds = options.isQuick ? 1 : 3
const answerMs = 500
const aimUs = 50
const mostUs = 1000
const mostSeconds = 20
const faults: string[] = []

/** Numbers that are the same in every run. */
function* numbers(): Generator<number, never> {
  for (let state = 1; ; state = (state * 48_271) % 2_147_483_647) yield state / 2_147_483_647
}
const sequence = numbers()
const random = () => sequence.next().value

function shuffled<Item>(items: Item[]): Item[] {
  for (let last = items.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1))
    const [a, b] = [items[last], items[other]]
    if (a === undefined || b === undefined) break
    items[last] = b
    items[other] = a
  }
  return items
}

async function aggregation(): Promise<Row> {
  const gatherer = new Gatherer<number>({
    clock: systemClock,
    tell: (to, event) => to.send(event),
  })
  const actor = createActor(gatherer.logic)
  actor.start()
  gatherer.adopt(actor)
  const sources = Array.from({ length: sourcesEach }, (_, index) => `host-${index}`)
  const ids = Array.from({ length: openSets }, (_, index) => `set-${index}`)
  const gathering = gatherer.open(new Map(ids.map((id) => [id, new Set(sources)])), 600_000)
  const sent = shuffled(ids.flatMap((id) => sources.map((source) => ({ id, source }))))
  const reading = gathering[Symbol.asyncIterator]()
  const took: number[] = []
  let ends = 0
  for (const [index, { id, source }] of sent.entries()) {
    const began = Bun.nanoseconds()
    if (gatherer.offer(id, source, index) !== 'taken') faults.push(`${id} ${source}: not taken`)
    took.push((Bun.nanoseconds() - began) / 1000)
    // Read at once what it brought. An end that came before it is read first.
    let { value } = await reading.next()
    for (; value?.type === 'end'; { value } = await reading.next()) ends += 1
  }
  for await (const part of reading) if (part.type === 'end') ends += 1
  if (ends !== openSets) faults.push(`${ends} of ${openSets} sets ended`)
  actor.stop()
  const p99 = percentile(took, 0.99)
  if (p99 >= mostUs) faults.push(`p99 of ${p99} µs a result, over ${mostUs} µs`)
  return {
    what: `a result, ${openSets} sets open`,
    results: sent.length,
    p50: percentile(took, 0.5),
    p99,
  }
}

async function wholeGathering(): Promise<Row> {
  const node = await BenchNode.start({ words: ['--workers', '1000'] })
  try {
    const tasks = Array.from(
      { length: hosts },
      (_, index): TaskLine => ({
        kind: 'sleep',
        id: `host-${index}`,
        input: { ms: Math.floor(random() * answerMs) },
      }),
    )
    const tookMs: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      const began = performance.now()
      const gathering = await node.muster.gather(tasks, { timeoutMs: 60_000 })
      for (const { status, received, results } of (await gathering.done()).values()) {
        if (status !== 'complete' || received !== hosts || results.length !== hosts) {
          faults.push(`${status}: ${received} of ${hosts}, ${results.length} results`)
        }
      }
      tookMs.push(performance.now() - began)
    }
    const worst = Math.max(...tookMs)
    if (worst >= mostSeconds * 1000) faults.push(`${worst} ms, over ${mostSeconds} s`)
    return { what: `all of ${hosts} hosts`, results: hosts, seconds: worst / 1000 }
  } finally {
    await node.stop()
  }
}

const rows = [await aggregation(), await wholeGathering()]
await publish(
  {
    bench: 'gather',
    columns: [
      { key: 'what', title: 'gathered' },
      { key: 'results', title: 'results' },
      { key: 'p50', title: 'a result, p50', digits: 2, unit: 'µs' },
      { key: 'p99', title: 'p99', digits: 2, unit: 'µs' },
      { key: 'seconds', title: 'until complete, worst', digits: 2, unit: 's' },
    ],
    rows,
    notes: [
      `aim: p99 of ${aimUs} µs a result`,
      `${rounds} rounds; each host answers after up to ${answerMs} ms, 1000 at a time`,
    ],
    faults,
  },
  options,
)
