/**
 * Binds a worker to its mailbox: runs each envelope's tasks and settles the envelope (results,
 * retries) before it is acknowledged. A crash anywhere brings the envelope back; the ids of what
 * was settled already collide with themselves.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import { backoffMs } from '../machines/backoff.ts'
import type { Owned } from '../machines/service.ts'
import { workerMachine } from '../machines/worker.ts'
import { countSeqs, type Envelope, eachSeq, envelopeVersion } from './envelope.ts'
import { describeError, MusterError } from './errors.ts'
import type { Paces } from './paces.ts'
import type { Accounting, Attempt, Delivery, Execution, Log, Mailboxes, Receiver } from './ports.ts'
import {
  attemptOf,
  type Ending,
  isRetried,
  type SettlementOptions,
  settlementOf,
} from './settlement.ts'
import { Slots } from './slots.ts'
import type { ChildSpec } from './supervisor.ts'
import type { Task } from './task.ts'

export interface WorkerOptions extends SettlementOptions {
  /** Crashes while one marked task was running that make it poison. */
  poisonKills: number
  /** Aborted when the node begins to drain: nothing new is taken from then on. */
  drain: AbortSignal
  /** How long a stopping worker waits for what it has at hand. */
  graceMs(): number
  mailboxes: Mailboxes
  accounting: Accounting
  paces: Paces
  log: Log
}

/** Work without a pause may hold the event loop this long, ms. */
const breathAfterMs = 10

export function worker(options: WorkerOptions): ChildSpec {
  const { mailbox, kind, ordered } = options
  const slots = new Slots(kind.concurrency)
  let opening: Promise<Receiver> | undefined

  const handle = (self: AnyActorRef) => async (delivery: Delivery) => {
    const envelope = delivery.body as Envelope
    const tasks = countSeqs(envelope.seqs)
    self.send({ type: 'envelope.received', tasks })
    try {
      await workOff(options, slots, envelope, delivery)
      self.send({ type: 'envelope.settled', tasks })
    } catch (error) {
      self.send({ type: 'envelope.returned', tasks })
      throw error
    }
  }

  return {
    logic: workerMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input, signal }) => {
          opening = options.mailboxes.receive(
            mailbox,
            { concurrency: kind.concurrency, ordered },
            handle(input.owner),
          )
          const receiver = await opening
          // Given up meanwhile: nobody else may be left to close it.
          if (signal.aborted) await receiver.stop(options.graceMs())
          else pauseWhenDraining(options, receiver)
        }),
        close: fromPromise<void, Owned>(async () => (await opening)?.stop(options.graceMs())),
      },
    }),
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

async function workOff(
  options: WorkerOptions,
  slots: Slots,
  envelope: Envelope,
  delivery: Delivery,
): Promise<void> {
  if (envelope.v !== envelopeVersion) {
    throw new MusterError(
      'ENVELOPE_VERSION',
      `expected version ${String(envelopeVersion)}, got ${String(envelope.v)}: of a newer node`,
    )
  }
  const jobs = await jobsOf(options, envelope, delivery)
  const once = envelope.tasks.some((task) => task.delivery === 'at-most-once')
  const careful = delivery.redeliveries > 0 || once
  const endings =
    careful || options.ordered
      ? await runOneByOne(options, slots, envelope, delivery, jobs, careful)
      : await runTogether(options, slots, envelope, delivery, jobs)
  // Taken away meanwhile: whoever has it now settles it.
  delivery.signal.throwIfAborted()
  await options.mailboxes.send(settlementOf(options, envelope, endings))
  if (endings.length > 0) {
    const workMs = endings.reduce((sum, ending) => sum + ending.durationMs, 0)
    await recordPace(options, envelope.kind, workMs / endings.length)
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

interface Job {
  seq: number
  task: Task
  history: Attempt[]
}

/** The tasks still to be run: on a redelivery, some may have been settled already. */
async function jobsOf(
  options: WorkerOptions,
  envelope: Envelope,
  delivery: Delivery,
): Promise<Job[]> {
  const pending =
    delivery.redeliveries > 0
      ? await options.accounting.pending(envelope.run, envelope.seqs)
      : undefined
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
  slots: Slots,
  envelope: Envelope,
  delivery: Delivery,
  jobs: readonly Job[],
): Promise<Ending[]> {
  const { clock } = options
  const endings: Ending[] = []
  const running: Promise<void>[] = []
  let breathed = clock.monotonic()
  for (const job of jobs) {
    const wait = slots.take()
    if (wait !== undefined) await wait
    if (delivery.signal.aborted) {
      slots.give()
      break
    }
    const ending = runTask(options, envelope, delivery, job, envelope.attempt)
    if (ending instanceof Promise) {
      running.push(
        ending.then((ended) => {
          endings.push(ended)
          slots.give()
        }),
      )
    } else {
      endings.push(ending)
      slots.give()
    }
    if (clock.monotonic() - breathed > breathAfterMs) {
      await clock.breathe()
      breathed = clock.monotonic()
    }
  }
  await Promise.all(running)
  return running.length === 0 ? endings : endings.sort((a, b) => a.seq - b.seq)
}

/**
 * One task after the other. On a redelivery each is noted before it runs: one that was noted and
 * took its worker down too often is poison, and its neighbours are not made to suffer for it.
 */
async function runOneByOne(
  options: WorkerOptions,
  slots: Slots,
  envelope: Envelope,
  delivery: Delivery,
  jobs: readonly Job[],
  careful: boolean,
): Promise<Ending[]> {
  const notes = careful ? await delivery.notes() : {}
  const kills = await countKills(delivery, notes)
  const endings: Ending[] = []
  for (const job of jobs) {
    const known = endedBefore(options, envelope, job, notes, kills)
    if (known !== undefined) {
      endings.push(known)
      continue
    }
    await slots.take()
    try {
      if (delivery.signal.aborted) break
      endings.push(await runNoted(options, envelope, delivery, job, careful))
    } finally {
      slots.give()
    }
  }
  if (careful) await delivery.note({ running: '' })
  return endings
}

/** The ending of a task that must not be run (again), as far as earlier deliveries noted. */
function endedBefore(
  options: WorkerOptions,
  envelope: Envelope,
  job: Job,
  notes: Record<string, string>,
  kills: Map<number, number>,
): Ending | undefined {
  const killed = kills.get(job.seq) ?? 0
  if (killed >= options.poisonKills) {
    const message = `its worker died ${killed + 1} times while it ran; it is not run again`
    return deadEnding(options, envelope, job, { code: 'POISON', message })
  }
  if (job.task.delivery !== 'at-most-once') return undefined
  const ended = notes[`ended:${job.seq}`]
  if (ended !== undefined) return { ...job, ...(JSON.parse(ended) as Omit<Ending, 'task'>) }
  if (notes[`started:${job.seq}`] === undefined) return undefined
  const message = 'its worker was lost while it ran, and it must not run twice'
  return deadEnding(options, envelope, job, { code: 'AT_MOST_ONCE', message })
}

/** Runs a task, in order as often as it is retried, and notes what a later delivery must know. */
async function runNoted(
  options: WorkerOptions,
  envelope: Envelope,
  delivery: Delivery,
  job: Job,
  careful: boolean,
): Promise<Ending> {
  const once = job.task.delivery === 'at-most-once'
  if (once) await delivery.note({ [`started:${job.seq}`]: '1' })
  else if (careful) await delivery.note({ running: String(job.seq) })
  let attempt = envelope.attempt
  let ending = await runTask(options, envelope, delivery, job, attempt)
  while (options.ordered && isRetried(options, ending) && !delivery.signal.aborted) {
    const history = [...ending.history, attemptOf(options, ending)]
    await options.clock.wait(backoffMs(options.retry, attempt, options.random()), delivery.signal)
    attempt += 1
    ending = await runTask(options, envelope, delivery, { ...job, history }, attempt)
  }
  // The envelope is settled as a whole: its worker may be lost while it runs the next task.
  if (once && !delivery.signal.aborted) {
    const { task: _, ...rest } = ending
    await delivery.note({ [`ended:${job.seq}`]: JSON.stringify(rest) })
  }
  return ending
}

/** How often each task was running, and noted, when the worker died; counts the last death. */
async function countKills(
  delivery: Delivery,
  notes: Record<string, string>,
): Promise<Map<number, number>> {
  const kills = new Map<number, number>()
  for (const [field, count] of Object.entries(notes)) {
    if (field.startsWith('kills:')) kills.set(Number(field.slice(6)), Number(count))
  }
  const running = notes['running'] ?? ''
  if (running !== '') {
    const seq = Number(running)
    const count = (kills.get(seq) ?? 0) + 1
    kills.set(seq, count)
    await delivery.note({ [`kills:${seq}`]: String(count), running: '' })
  }
  return kills
}

function deadEnding(
  options: WorkerOptions,
  envelope: Envelope,
  job: Job,
  error: { code: string; message: string },
): Ending {
  return {
    ...job,
    outcome: 'dead',
    startedAt: options.clock.now(),
    durationMs: 0,
    execution: { outcome: 'failed', error, stage: 'terminal' },
    attempt: envelope.attempt,
  }
}

/** Runs one attempt; at once, without a promise, when the executor does. */
function runTask(
  options: WorkerOptions,
  envelope: Envelope,
  delivery: Delivery,
  job: Job,
  attempt: number,
): Ending | Promise<Ending> {
  const { clock, kind } = options
  const startedAt = clock.now()
  const expired = expiry(envelope, job.task, attempt, startedAt)
  if (expired !== undefined) {
    const execution: Execution = { outcome: 'failed', error: expired, stage: 'terminal' }
    return { ...job, outcome: 'expired', startedAt, durationMs: 0, execution, attempt }
  }
  const began = clock.monotonic()
  const end = (execution: Execution): Ending => ({
    ...job,
    outcome: execution.outcome,
    startedAt,
    durationMs: Math.round((clock.monotonic() - began) * 1000) / 1000,
    execution,
    attempt,
  })
  const execution = kind.executor.run(job.task, {
    run: envelope.run,
    seq: job.seq,
    kind: envelope.kind,
    attempt,
    signal: delivery.signal,
  })
  return execution instanceof Promise ? execution.then(end) : end(execution)
}

function expiry(
  envelope: Envelope,
  task: Task,
  attempt: number,
  now: number,
): { code: string; message: string } | undefined {
  if (task.deadlineMs === undefined || attempt > 1) return undefined
  const acceptedAt = envelope.readyAt - (task.delayMs ?? 0)
  if (now <= acceptedAt + task.deadlineMs) return undefined
  return { code: 'EXPIRED', message: `not started within its deadline of ${task.deadlineMs} ms` }
}
