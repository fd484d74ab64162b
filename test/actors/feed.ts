/** Dispatchers under test, the sources that feed them, and the other end of their mailboxes. */
import { type Dispatcher, type DispatcherOptions, dispatcher } from '../../actors/dispatcher.ts'
import { type Envelope, eachSeq, envelopeId } from '../../actors/envelope.ts'
import type { Source, SourceLine } from '../../actors/source.ts'
import type { AcceptedTask } from '../../actors/task.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import type { TestClock } from '../kit/clock.ts'
import { type Begun, packLimits, type World } from './world.ts'

let runs = 0

/** Begins a dispatcher that never waits long: what finds no turn within 5 ms goes to the spool. */
export function beginDispatcher(
  world: World,
  over: Partial<DispatcherOptions> = {},
  timers?: TestClock['timers'],
): Dispatcher & Begun {
  const made = dispatcher({
    ...world,
    policy: defaultPolicy,
    random: () => 0.5,
    driver: 'n-1',
    node: 'n-1',
    isGone: () => false,
    rate: 1_000_000,
    burst: 100_000,
    inFlightMax: 10_000,
    depthMax: 10_000,
    spoolMax: 10_000,
    runsMax: 10,
    whenFull: 'refuse',
    resumesLeftovers: false,
    patienceMs: 5,
    pack: { ...packLimits, tasksOf: () => 5 },
    newRunId: () => {
      runs += 1
      return `r-${String(runs).padStart(8, '0')}`
    },
    ...over,
  })
  const life = world.begin(made.spec(), timers)
  return {
    ...life,
    spec: made.spec,
    submit: (submission) => made.submit(submission),
    adopt: (run, fence) => made.adopt(run, fence),
    closeIntake: () => made.closeIntake(),
    get accepting() {
      return made.accepting
    },
  }
}

/** Lines that are all good, from line `first`. */
function linesOf(tasks: readonly AcceptedTask[], first = 1): SourceLine[] {
  return tasks.map((accepted, index) => ({ line: first + index, bytes: 100, accepted }))
}

/** A source of these tasks, so many at a look. */
export function sourceOf(tasks: readonly AcceptedTask[], size = 5): Source {
  return async function* (afterLine) {
    for (let at = afterLine; at < tasks.length; at += size) {
      const piece = tasks.slice(at, at + size)
      yield { lines: at + piece.length, read: linesOf(piece, at + 1) }
    }
  }
}

export interface Tap {
  source: Source
  /** Where it was asked to begin, each time it was started. */
  starts: number[]
  /** Looks that were taken and dealt with. */
  taken: number
  push(tasks: readonly AcceptedTask[]): void
  end(): void
  breakOff(error: Error): void
}

/** A source that gives what the test pushes. */
export function tap(): Tap {
  const queue: (readonly AcceptedTask[] | Error | 'end')[] = []
  let wake = Promise.withResolvers<void>()
  const put = (item: (typeof queue)[number]) => {
    queue.push(item)
    wake.resolve()
  }
  const made: Tap = {
    starts: [],
    taken: 0,
    push: put,
    end: () => put('end'),
    breakOff: put,
    source: async function* (afterLine) {
      made.starts.push(afterLine)
      let lines = afterLine
      for (;;) {
        const item = queue.shift()
        if (item === undefined) {
          wake = Promise.withResolvers<void>()
          await wake.promise
        } else if (item === 'end') return
        else if (item instanceof Error) throw item
        else {
          yield { lines: lines + item.length, read: linesOf(item, lines + 1) }
          lines += item.length
          made.taken += 1
        }
      }
    },
  }
  return made
}

export interface Drain {
  /** What arrived, in order. */
  envelopes: Envelope[]
  seqs(): number[]
  /** Ends what has arrived and not ended, as workers and collectors would. */
  complete(): Promise<void>
}

/** The other end of a work mailbox: takes envelopes, and ends them at once or when told. */
export async function drain(
  world: World,
  mailbox: string,
  ends: 'at once' | 'when told',
): Promise<Drain> {
  const open: Envelope[] = []
  const envelopes: Envelope[] = []
  const complete = async () => {
    for (const envelope of open.splice(0)) {
      const { run, seqs, tasks } = envelope
      const id = envelopeId(envelope, '.r')
      const outcomes = tasks.map(() => 'ok' as const)
      await world.accounting.settle([{ run, id, mailbox, seqs, outcomes }])
      await world.accounting.stored([{ run, id }])
    }
  }
  await world.mailboxes.receive(
    mailbox,
    { concurrency: 1000, ordered: false },
    async (delivery) => {
      const envelope = delivery.body as Envelope
      envelopes.push(envelope)
      open.push(envelope)
      if (ends === 'at once') await complete()
    },
  )
  return {
    envelopes,
    seqs: () => envelopes.flatMap(({ seqs }) => Array.from(eachSeq(seqs))),
    complete,
  }
}

export function countTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}
