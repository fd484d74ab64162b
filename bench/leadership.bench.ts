/**
 * How long is there no leader when one goes, and is there ever more than one? Two nodes on one
 * Redis take turns; the leader is stopped in order, killed, or frozen until the other one leads and
 * then woken up, which makes it try what it must not. Time counts from the moment at which it was
 * told to stop working, was killed or was frozen, to the start of the work by the other one.
 *
 *   bun bench/leadership.bench.ts [--quick] [--json]
 */
import { eventually } from '../test/kit/eventually.ts'
import { NodeFleet, shortTerms } from '../test/kit/fleet.ts'
import type { Term } from '../test/kit/journal.ts'
import { percentile } from './kit/figures.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'

interface Settings {
  name: string
  env: Record<string, string>
  rounds: number
  /** How long a takeover may take, ms. */
  limitMs: number
}

const options = readOptions()
const { isQuick } = options
const settings: Settings[] = [
  { name: 'default (ttl 10 s)', env: {}, rounds: 1, limitMs: 30_000 },
  { name: 'short (ttl 1.75 s)', env: shortTerms, rounds: isQuick ? 1 : 4, limitMs: 15_000 },
]
const faults: string[] = []

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
    // What is wrong must not pass for a figure.
    faults.push(...doubleLeaders, ...staleWritesTaken)
    const row: Row = {
      settings: name,
      how,
      takeovers: timesMs.length,
      p50: percentile(timesMs, 0.5),
      worst: Math.max(...timesMs),
      doubleLeaders: doubleLeaders.length,
      refused: fleet.journal.terms.flatMap(({ refused }) => refused).length,
      taken: staleWritesTaken.length,
    }
    say(`${name}, ${how}: done`)
    return row
  } finally {
    await fleet.end()
  }
}

const rows: Row[] = []
for (const one of settings) for (const end of ends) rows.push(await measure(one, end))
await publish(
  {
    bench: 'leadership',
    columns: [
      { key: 'settings', title: 'settings' },
      { key: 'how', title: 'the leader is' },
      { key: 'takeovers', title: 'takeovers' },
      { key: 'p50', title: 'p50', unit: 'ms' },
      { key: 'worst', title: 'worst', unit: 'ms' },
      { key: 'doubleLeaders', title: 'double leaders' },
      { key: 'refused', title: 'stale writes refused' },
      { key: 'taken', title: 'and taken' },
    ],
    rows,
    faults,
  },
  options,
)
