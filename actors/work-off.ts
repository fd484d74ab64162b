/** Works an envelope off: runs what of it is still to be run, and settles it. */
import type { Hand } from './at-hand.ts'
import { isSuspect, type Job, type Work } from './attempt.ts'
import { appendSeq, type Envelope } from './envelope.ts'
import { describeError, FencedError } from './errors.ts'
import { fenceOfEnvelope } from './fence.ts'
import { aborts, type Holds } from './holds.ts'
import { type OneByOneOptions, runOneByOne } from './one-by-one.ts'
import type { Paces } from './paces.ts'
import type { Attempt, Delivery, Execution, Log } from './ports.ts'
import type { Fence, Leases } from './ports-fleet.ts'
import type { Accounting } from './ports-runs.ts'
import type { Publish } from './publisher.ts'
import { type Quarantine, Stay } from './quarantine.ts'
import { Settling, type SettlingOptions, settledBefore } from './settling.ts'
import type { Slots } from './slots.ts'
import { runTogether } from './together.ts'

export interface WorkOffOptions extends OneByOneOptions, SettlingOptions {
  /** Asked about the tasks of singletons. */
  leases: Leases
  accounting: Accounting
  /** Which runs are held back. */
  holds: Holds
  paces: Paces
  /** Of the process that all of this runs in. */
  quarantine: Quarantine
  /** What handlers publish goes this way. */
  publish?: Publish
  log: Log
}

export interface EnvelopeAtHand {
  envelope: Envelope
  delivery: Delivery
  hand: Hand
  slots: Slots
}

/** Resolves when everything that comes of the envelope is durable. */
export async function workOff(options: WorkOffOptions, atHand: EnvelopeAtHand): Promise<void> {
  const { envelope, delivery, hand } = atHand
  const { run } = envelope
  const own = delivery.redeliveries > 0 ? await delivery.notes() : {}
  const notes = { ...envelope.notes, ...own }
  const settling = new Settling(options, envelope, delivery, notes)
  const stopping = new AbortController()
  const stop = () => {
    const hold = options.holds.of(run)
    if (hold !== undefined) work.held.abort()
    if (aborts(hold)) stopping.abort(new Error('its run was stopped'))
  }
  const work: Work = {
    ...atHand,
    // Of one run the oldest envelope goes first: where all crawl side by side, none gets done and
    // each is settled in slivers. Other runs, and other priorities, take turns with it.
    stand: atHand.slots.stand(`${envelope.priority} ${run}`),
    stay: new Stay(options.quarantine, hand, delivery.signal),
    ...fenceOf(options, envelope),
    notes,
    hold: () => options.holds.of(run),
    held: new AbortController(),
    signal: AbortSignal.any([delivery.signal, stopping.signal]),
    settling,
  }
  const unlisten = options.holds.listen(run, stop)
  delivery.signal.addEventListener('abort', () => work.held.abort(), { once: true })
  try {
    stop()
    const jobs = await jobsOf(options, work)
    if (!(await mayBegin(options, work, jobs))) return
    if (!(await isRefused(options, work, jobs))) {
      try {
        await runAll(options, work, jobs)
      } finally {
        work.stay.end()
      }
    }
    hand.progress()
    await settling.finish()
    hand.progress()
  } catch (error) {
    settling.abandon()
    throw error
  } finally {
    unlisten()
  }
  if (settling.tasks > 0) {
    await recordPace(options, envelope.kind, settling.workMs / settling.tasks)
  }
}

/** Runs them, or puts them back to wait until their run goes on. */
async function runAll(options: WorkOffOptions, work: Work, jobs: readonly Job[]): Promise<void> {
  const once = work.envelope.tasks.some((task) => task.delivery === 'at-most-once')
  const careful = isSuspect(work) || once
  let left = jobs
  if (left.length > 0) await work.stay.together()
  while (left.length > 0) {
    const parked =
      careful || options.ordered
        ? await runOneByOne(options, work, left, careful)
        : await runTogether(options, work, left)
    work.delivery.signal.throwIfAborted()
    if (parked.length === 0 || (await options.accounting.park(parkedOf(work.envelope, parked)))) {
      return
    }
    // It goes on already, or has ended: the word of that is on its way, or was lost.
    await options.holds.look()
    left = parked
    work.held = new AbortController()
    await options.clock.breathe()
  }
}

/**
 * Where order counts, what was put back while its run was paused comes first, though it has to come
 * all the way again: what would overtake it is put back as well.
 */
async function mayBegin(
  { accounting, ordered }: WorkOffOptions,
  { envelope, hold }: Work,
  jobs: readonly Job[],
): Promise<boolean> {
  if (!ordered || jobs.length === 0 || hold() !== undefined) return true
  if (await accounting.isNext(envelope)) return true
  return !(await accounting.park(parkedOf(envelope, jobs)))
}

function parkedOf(envelope: Envelope, jobs: readonly Job[]): Envelope {
  const { history: _, notes: __, ...rest } = envelope
  const seqs: [number, number][] = []
  for (const { seq } of jobs) appendSeq(seqs, seq)
  return {
    ...rest,
    // Under a name of its own: the one it has now may still be there when the run goes on.
    parks: (envelope.parks ?? 0) + 1,
    seqs,
    tasks: jobs.map(({ task }) => task),
    ...(jobs.every(({ history }) => history.length === 0)
      ? {}
      : { history: jobs.map(({ history }) => history) }),
  }
}

function fenceOf({ leases }: WorkOffOptions, { fence }: Envelope): { fence?: Fence } {
  return fence === undefined ? {} : { fence: fenceOfEnvelope(fence, leases) }
}

/** Whoever sent them no longer leads: his tasks are not run, and that is how they end. */
async function isRefused(
  { clock }: WorkOffOptions,
  { envelope, fence, hand, settling }: Work,
  jobs: readonly Job[],
): Promise<boolean> {
  try {
    await fence?.check()
    hand.progress()
    return false
  } catch (error) {
    if (!(error instanceof FencedError)) throw error
    const { attempt } = envelope
    const ending = { outcome: 'unreached', startedAt: clock.now(), durationMs: 0, attempt } as const
    const execution: Execution = {
      outcome: 'failed',
      error: describeError(error),
      stage: 'terminal',
    }
    for (const job of jobs) settling.add({ ...job, ...ending, execution })
    return true
  }
}

/** The envelope is settled: that nobody heard of its pace is no reason to run it again. */
async function recordPace(options: WorkOffOptions, kind: string, ms: number): Promise<void> {
  try {
    await options.paces.record(kind, ms)
  } catch (error) {
    options.log.warn({ kind, ...describeError(error) }, 'cannot publish the pace of a kind')
  }
}

const none: readonly Attempt[] = []

/**
 * The tasks still to be run: on a redelivery or a retry, some may have been settled already. So may
 * those of an envelope that a dispatcher sent again because it was killed before it could note that
 * it had: run once more, they would come after what was to come after them.
 */
async function jobsOf(options: WorkOffOptions, work: Work): Promise<Job[]> {
  const { envelope, delivery, hand, notes } = work
  const { attempt, parks } = envelope
  const isNew = !isSuspect({ envelope, delivery }) && attempt === 1 && parks === undefined
  const pending =
    isNew && !options.ordered
      ? undefined
      : await options.accounting.pending(envelope.run, envelope.seqs)
  const settled = settledBefore(notes)
  hand.progress()
  const jobs: Job[] = []
  let index = 0
  for (const [first, count] of envelope.seqs) {
    for (let seq = first; seq < first + count; seq += 1) {
      const task = envelope.tasks[index]
      if (task !== undefined && pending?.[index] !== false && !settled.has(seq)) {
        jobs.push({ seq, task, history: envelope.history?.[index] ?? none })
      }
      index += 1
    }
  }
  return jobs
}
