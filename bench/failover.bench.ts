/**
 * How long is there no leader when one goes, and is there ever more than one? Two nodes on one
 * Redis take turns; the leader is stopped in order, killed, or frozen until the other one leads and
 * then woken up, which makes it try what it must not. Time counts from the moment at which it was
 * told to stop working, was killed or was frozen, to the start of the work by the other one.
 *
 *   bun bench/failover.bench.ts [--quick] [--json]
 */
import { eventually } from '../test/kit/eventually.ts'
import { NodeFleet, shortTerms } from '../test/kit/fleet.ts'
import type { Term } from '../test/kit/journal.ts'

interface Settings {
  name: string
  env: Record<string, string>
  rounds: number
  /** How long a takeover may take, ms. */
  limitMs: number
}

const isQuick = process.argv.includes('--quick')
const settings: Settings[] = [
  { name: 'default', env: {}, rounds: isQuick ? 1 : 5, limitMs: 30_000 },
  { name: 'short', env: shortTerms, rounds: isQuick ? 3 : 20, limitMs: 15_000 },
]
const titles: Record<string, string> = {
  default: 'default (ttl 10 s)',
  short: 'short (ttl 1.75 s)',
}

/** Ends a leadership, and resolves with when that was and with the term that follows. */
type End = (fleet: NodeFleet, term: Term, limitMs: number) => Promise<{ at: number; next: Term }>

const stopped: End = async (fleet, { node, epoch }, limitMs) => {
  const ended = fleet.node(node).kill('SIGTERM')
  const next = await fleet.leadership(epoch, limitMs)
  await ended
  await fleet.add(node)
  return { at: termOf(fleet, epoch).until, next }
}

const killed: End = async (fleet, { node, epoch }, limitMs) => {
  const at = Date.now()
  await fleet.node(node).kill('SIGKILL')
  const next = await fleet.leadership(epoch, limitMs)
  await fleet.add(node)
  return { at, next }
}

const frozen: End = async (fleet, { node, epoch }, limitMs) => {
  const at = Date.now()
  process.kill(fleet.node(node).pid, 'SIGSTOP')
  const next = await fleet.leadership(epoch, limitMs)
  process.kill(fleet.node(node).pid, 'SIGCONT')
  await eventually(
    () => {
      const { length } = termOf(fleet, epoch).refused
      if (length < 2) throw new Error(`expected both ways of writing to be refused, got ${length}`)
    },
    { timeoutMs: limitMs },
  )
  return { at, next }
}

const ends: [string, End][] = [
  ['stopped in order', stopped],
  ['kill -9', killed],
  ['frozen past the ttl', frozen],
]

interface Figures {
  settings: string
  end: string
  takeovers: number
  p50Ms: number
  p99Ms: number
  doubleLeaders: number
  staleWritesRefused: number
  staleWritesTaken: number
}

function termOf(fleet: NodeFleet, epoch: number): Term {
  const term = fleet.journal.terms.find((one) => one.epoch === epoch)
  if (term === undefined) throw new Error(`expected a term of epoch ${epoch}`)
  return term
}

async function measure({ name, env, rounds, limitMs }: Settings, [how, end]: [string, End]) {
  const fleet = await NodeFleet.start({ ids: ['a', 'b'], env })
  try {
    let term = await fleet.leadership()
    const timesMs: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      const { at, next } = await end(fleet, term, limitMs)
      timesMs.push(next.from - at)
      term = next
    }
    const { doubleLeaders, staleWritesTaken } = fleet.faults
    const figures: Figures = {
      settings: name,
      end: how,
      takeovers: timesMs.length,
      p50Ms: percentile(timesMs, 0.5),
      p99Ms: percentile(timesMs, 0.99),
      doubleLeaders: doubleLeaders.length,
      staleWritesRefused: fleet.journal.terms.flatMap(({ refused }) => refused).length,
      staleWritesTaken: staleWritesTaken.length,
    }
    return figures
  } finally {
    await fleet.end()
  }
}

function percentile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN
}

function table(all: readonly Figures[]): string {
  const rows = all.map((one) => [
    titles[one.settings],
    one.end,
    one.takeovers,
    `${one.p50Ms} ms`,
    `${one.p99Ms} ms`,
    one.doubleLeaders,
    `${one.staleWritesRefused} of ${one.staleWritesRefused + one.staleWritesTaken}`,
  ])
  const head = ['settings', 'the leader is', 'takeovers', 'p50', 'p99', 'double leaders']
  const lines = [
    [...head, 'stale writes refused'],
    ['---', '---', '--:', '--:', '--:', '--:', '--:'],
  ]
  return [...lines, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

const all: Figures[] = []
for (const one of settings) {
  for (const end of ends) {
    all.push(await measure(one, end))
    console.error(`${one.name}, ${end[0]}: done`)
  }
}
if (process.argv.includes('--json'))
  console.log(JSON.stringify({ bench: 'failover', figures: all }))
else console.log(table(all))
// What is wrong must not pass for a figure.
if (all.some((one) => one.doubleLeaders + one.staleWritesTaken > 0)) process.exitCode = 1
