/**
 * Binds a worker to its mailbox: runs each envelope's tasks and settles the envelope (results,
 * retries) before it is acknowledged. A crash anywhere brings the envelope back; the ids of what
 * was settled already collide with themselves. An envelope that makes no progress ends this life
 * of its worker: what is at hand is taken away, and comes back to the next one.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import type { Owned } from '../machines/service.ts'
import { type WorkerEvent, workerMachine } from '../machines/worker.ts'
import { AtHand, hungError } from './at-hand.ts'
import { type Job, runTask, type Work } from './attempt.ts'
import type { Tell } from './dead-letters.ts'
import { countSeqs, type Envelope, eachSeq, envelopeVersion } from './envelope.ts'
import { describeError, FencedError, MusterError } from './errors.ts'
import { fenceOfEnvelope } from './fence.ts'
import type { Kind } from './kind.ts'
import { type OneByOneOptions, runOneByOne } from './one-by-one.ts'
import type { Paces } from './paces.ts'
import type { Accounting, Delivery, Execution, Log, Mailboxes, Receiver } from './ports.ts'
import type { Fence, Leases } from './ports-fleet.ts'
import { type Ending, settlementOf } from './settlement.ts'
import { Slots } from './slots.ts'
import type { ChildSpec } from './supervisor.ts'

export interface WorkerOptions extends OneByOneOptions {
  /** Time beyond the limit of its tasks after which an envelope without progress is hung. */
  hangGraceMs: number
  /** Whether what workers stand on is away now: nothing is hung then. */
  isAway?(): boolean
  /** Aborted when the node begins to drain: nothing new is taken from then on. */
  drain: AbortSignal
  /** How long a stopping worker waits for what it has at hand. */
  graceMs(): number
  /** Aborted when it is to wait no longer. */
  hurry?: AbortSignal
  mailboxes: Mailboxes
  /** Asked about the tasks of singletons. */
  leases: Leases
  accounting: Accounting
  paces: Paces
  tell: Tell
  log: Log
}

/** Work without a pause may hold the event loop this long, ms. */
const breathAfterMs = 10

export function worker(options: WorkerOptions): ChildSpec {
  const { mailbox, kind, ordered } = options
  const slots = new Slots(kind.concurrency)
  const limitOf = envelopeLimit(kind, options.hangGraceMs)
  let opening: Promise<Receiver> | undefined
  let atHand: AtHand | undefined

  const handle = (self: AnyActorRef, inHand: AtHand) => async (delivery: Delivery) => {
    const envelope = delivery.body as Envelope
    const tasks = countSeqs(envelope.seqs)
    const hand = inHand.begin(delivery.id, limitOf(envelope))
    const tell = (type: 'envelope.received' | 'envelope.settled' | 'envelope.returned') => {
      // What was taken from a worker that has failed may still end.
      options.tell(self, { type, tasks, oldestAt: inHand.oldestAt } satisfies WorkerEvent)
    }
    tell('envelope.received')
    try {
      const fence = fenceOf(options, envelope)
      await workOff(options, { envelope, delivery, hand, slots, ...fence })
      hand.end()
      tell('envelope.settled')
    } catch (error) {
      hand.end()
      tell('envelope.returned')
      throw error
    }
  }

  const stop = async (graceMs: number) => {
    // From here on it is the grace that limits what is at hand.
    atHand?.close()
    await (await opening)?.stop(graceMs)
  }

  return {
    logic: workerMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input: { owner }, signal }) => {
          const inHand = new AtHand({
            clock: options.clock,
            isAway: () => options.isAway?.() === true,
            onOverdue: (overdue) => {
              const error = hungError(mailbox, overdue)
              options.tell(owner, { type: 'message.overdue', error } satisfies WorkerEvent)
            },
          })
          atHand = inHand
          opening = options.mailboxes.receive(
            mailbox,
            { concurrency: kind.concurrency, ordered },
            handle(owner, inHand),
          )
          const receiver = await opening
          // Given up meanwhile: nobody else may be left to close it.
          if (signal.aborted) await stop(options.graceMs())
          else pauseWhenDraining(options, receiver)
        }),
        close: fromPromise<void, Owned>(() => {
          options.hurry?.addEventListener('abort', () => void stop(0), { once: true })
          return stop(options.graceMs())
        }),
        abort: fromPromise<void, Owned>(() => stop(0)),
      },
    }),
  }
}

/** How long an envelope may be without progress: as long as its slowest task may take, and more. */
function envelopeLimit(kind: Kind, graceMs: number): (envelope: Envelope) => number {
  const untimedMs = kind.limitMs({})
  return ({ v, tasks }) => {
    // What is in an envelope of another version is not known.
    if (v !== envelopeVersion) return untimedMs + graceMs
    let longestMs = 0
    for (const task of tasks) {
      const limitMs = task.timeoutMs === undefined ? untimedMs : kind.limitMs(task)
      if (limitMs > longestMs) longestMs = limitMs
    }
    return longestMs + graceMs
  }
}

function pauseWhenDraining({ drain, log, mailbox }: WorkerOptions, receiver: Receiver): void {
  const pause = () => {
    receiver.pause().catch((error: unknown) => {
      log.warn({ mailbox, ...describeError(error) }, 'a receiver cannot be paused')
    })
  }
  if (drain.aborted) pause()
  drain.addEventListener('abort', pause, { once: true })
}

async function workOff(options: WorkerOptions, work: Work): Promise<void> {
  const { envelope, delivery, hand } = work
  if (envelope.v !== envelopeVersion) {
    throw new MusterError(
      'ENVELOPE_VERSION',
      `expected version ${String(envelopeVersion)}, got ${String(envelope.v)}: of a newer node`,
    )
  }
  const jobs = await jobsOf(options, work)
  const endings = (await refusedBy(options, work, jobs)) ?? (await run(options, work, jobs))
  // Taken away meanwhile: whoever has it now settles it.
  delivery.signal.throwIfAborted()
  hand.progress()
  await options.mailboxes.send(settlementOf(options, envelope, endings))
  hand.progress()
  if (endings.length > 0) {
    const workMs = endings.reduce((sum, ending) => sum + ending.durationMs, 0)
    await recordPace(options, envelope.kind, workMs / endings.length)
  }
}

function run(options: WorkerOptions, work: Work, jobs: readonly Job[]): Promise<Ending[]> {
  const once = work.envelope.tasks.some((task) => task.delivery === 'at-most-once')
  const careful = work.delivery.redeliveries > 0 || once
  return careful || options.ordered
    ? runOneByOne(options, work, jobs, careful)
    : runTogether(options, work, jobs)
}

function fenceOf({ leases }: WorkerOptions, { fence }: Envelope): { fence?: Fence } {
  return fence === undefined ? {} : { fence: fenceOfEnvelope(fence, leases) }
}

/** Whoever sent them no longer leads: his tasks are not run, and that is how they end. */
async function refusedBy(
  { clock }: WorkerOptions,
  { envelope, fence, hand }: Work,
  jobs: readonly Job[],
): Promise<Ending[] | undefined> {
  try {
    await fence?.check()
    hand.progress()
    return undefined
  } catch (error) {
    if (!(error instanceof FencedError)) throw error
    const { attempt } = envelope
    const ending = { outcome: 'unreached', startedAt: clock.now(), durationMs: 0, attempt } as const
    const execution: Execution = {
      outcome: 'failed',
      error: describeError(error),
      stage: 'terminal',
    }
    return jobs.map((job) => ({ ...job, ...ending, execution }))
  }
}

/** The envelope is settled: that nobody heard of its pace is no reason to run it again. */
async function recordPace(options: WorkerOptions, kind: string, ms: number): Promise<void> {
  try {
    await options.paces.record(kind, ms)
  } catch (error) {
    options.log.warn({ kind, ...describeError(error) }, 'cannot publish the pace of a kind')
  }
}

/** The tasks still to be run: on a redelivery, some may have been settled already. */
async function jobsOf(options: WorkerOptions, { envelope, delivery, hand }: Work): Promise<Job[]> {
  const pending =
    delivery.redeliveries > 0
      ? await options.accounting.pending(envelope.run, envelope.seqs)
      : undefined
  hand.progress()
  const jobs: Job[] = []
  let index = 0
  for (const seq of eachSeq(envelope.seqs)) {
    const task = envelope.tasks[index]
    if (task !== undefined && pending?.[index] !== false) {
      jobs.push({ seq, task, history: envelope.history?.[index] ?? [] })
    }
    index += 1
  }
  return jobs
}

async function runTogether(
  options: WorkerOptions,
  work: Work,
  jobs: readonly Job[],
): Promise<Ending[]> {
  const { clock } = options
  const { envelope, delivery, hand, slots } = work
  const endings: Ending[] = []
  const running: Promise<void>[] = []
  let busy = 0
  let isWaiting = false
  // While none of its own tasks runs, others have the slots: that none gets free is their fault.
  const pauseIfIdle = () => {
    if (isWaiting && busy === 0) hand.pause()
  }
  let breathed = clock.monotonic()
  for (const job of jobs) {
    const wait = slots.take()
    if (wait !== undefined) {
      isWaiting = true
      pauseIfIdle()
      await wait
      isWaiting = false
      hand.resume()
    }
    if (delivery.signal.aborted) {
      slots.give()
      break
    }
    const ending = runTask(options, work, job, envelope.attempt)
    if (ending instanceof Promise) {
      busy += 1
      running.push(
        ending.then((ended) => {
          endings.push(ended)
          busy -= 1
          hand.progress()
          pauseIfIdle()
          slots.give()
        }),
      )
    } else {
      endings.push(ending)
      slots.give()
    }
    const now = clock.monotonic()
    hand.progress(now)
    if (now - breathed > breathAfterMs) {
      await clock.breathe()
      breathed = clock.monotonic()
    }
  }
  await Promise.all(running)
  return running.length === 0 ? endings : endings.sort((a, b) => a.seq - b.seq)
}
