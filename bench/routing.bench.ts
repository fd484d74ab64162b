/**
 * How long does it take to choose a node? For an envelope that any of so many nodes may have, as
 * the dispatcher chooses it: a pool that knows all of them, by each strategy, each choice noted so
 * that the next one knows of it. Once for the choice, and once for the pool that is made anew when
 * half a second has passed.
 *
 *   bun bench/routing.bench.ts [--quick] [--json]
 */
import { type Candidate, decide, makePool, strategies } from '../machines/balancer.ts'
import { percentile } from './kit/figures.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row } from './kit/report.ts'

const options = readOptions()
const choices = options.isQuick ? 2000 : 50_000
const pools = options.isQuick ? 5 : 50
const warmUp = 1000
const aimUs = 20
const mostUs = 1000

/** Numbers that are the same in every run. */
function* numbers(): Generator<number, never> {
  for (let state = 1; ; state = (state * 48_271) % 2_147_483_647) yield state / 2_147_483_647
}
const sequence = numbers()
const random = () => sequence.next().value

function candidatesOf(count: number): Candidate[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `node-${String(index).padStart(5, '0')}`,
    active: Math.floor(random() * 64),
    queue: Math.floor(random() * 100),
    cost: 1 + Math.floor(random() * 3),
    successRate: 0.8 + random() * 0.2,
    latencyMs: random() * 1000,
    samples: 100,
  }))
}

const faults: string[] = []

function measure(nodes: number, strategy: (typeof strategies)[number]): Row {
  const candidates = candidatesOf(nodes)
  const pool = makePool(strategy, candidates)
  const chosen = new Set<string>()
  const choose = () => {
    const began = Bun.nanoseconds()
    const decision = decide(pool, 10, random)
    const took = Bun.nanoseconds() - began
    if (decision === undefined) faults.push(`${strategy}: nobody was chosen among ${nodes}`)
    else chosen.add(decision.winner)
    return took / 1000
  }
  for (let round = 0; round < warmUp; round += 1) choose()
  const took = Array.from({ length: choices }, choose)
  if (chosen.size < Math.min(nodes, 2)) faults.push(`${strategy}: always the same of ${nodes}`)
  const made = Array.from({ length: pools }, () => {
    const began = Bun.nanoseconds()
    makePool(strategy, candidates)
    return (Bun.nanoseconds() - began) / 1000
  })
  const p99 = percentile(took, 0.99)
  if (p99 >= mostUs) faults.push(`${strategy}: p99 of ${p99} µs among ${nodes}, over ${mostUs} µs`)
  return {
    nodes,
    strategy,
    p50: percentile(took, 0.5),
    p99,
    poolP50: percentile(made, 0.5),
  }
}

const rows = [2, 100, 10_000].flatMap((nodes) => strategies.map((each) => measure(nodes, each)))
const worst = Math.max(...rows.map(({ p99 }) => Number(p99)))
await publish(
  {
    bench: 'routing',
    columns: [
      { key: 'nodes', title: 'nodes' },
      { key: 'strategy', title: 'strategy' },
      { key: 'p50', title: 'a choice, p50', digits: 1, unit: 'µs' },
      { key: 'p99', title: 'p99', digits: 1, unit: 'µs' },
      { key: 'poolP50', title: 'to know all nodes anew, p50', digits: 0, unit: 'µs' },
    ],
    rows,
    notes: [`${choices} choices each; aim: p99 of ${aimUs} µs, worst here ${worst.toFixed(1)} µs`],
    faults,
  },
  options,
)
