/** One attempt at one task: whether it may begin, run, and how it ended. */
import type { Hand } from './at-hand.ts'
import type { Envelope } from './envelope.ts'
import { aborts } from './holds.ts'
import type { Limiter } from './limits.ts'
import { heldFromMs, type Meter } from './meter.ts'
import type { Attempt, Clock, Delivery, ExecuteContext, Execution } from './ports.ts'
import type { Fence } from './ports-fleet.ts'
import type { Hold } from './ports-runs.ts'
import type { Publish } from './publisher.ts'
import type { Stay } from './quarantine.ts'
import type { Ending, SettlementOptions } from './settlement.ts'
import type { Settling } from './settling.ts'
import type { Slots, Stand } from './slots.ts'
import type { Task } from './task.ts'
import { endOfHeld } from './unrun.ts'

/** An envelope at hand, and what its tasks need to be run. */
export interface Work {
  envelope: Envelope
  delivery: Delivery
  hand: Hand
  /** What of its process it may use. */
  stay: Stay
  slots: Slots
  /** Where it waits for them. */
  stand: Stand
  fence?: Fence
  /** What earlier deliveries noted; nothing at the first. */
  notes: Record<string, string>
  /** What holds its run back now. */
  hold(): Hold | undefined
  /** Aborted when it is taken away or its run is held back: nobody waits to begin any more. */
  held: AbortController
  /** Aborted when the mailbox takes it away, and when its run is cancelled or halted now. */
  signal: AbortSignal
  settling: Settling
}

/** Whether a worker was lost with it before, in this mailbox or in one that it was moved from. */
export function isSuspect({ envelope, delivery }: Pick<Work, 'envelope' | 'delivery'>): boolean {
  return delivery.redeliveries > 0 || envelope.notes !== undefined
}

export interface Job {
  seq: number
  task: Task
  history: readonly Attempt[]
}

/** How a task ends that is not to begin, or `park`: it waits until its run goes on. */
export function heldBack(
  options: SettlementOptions,
  work: Work,
  job: Job,
): Ending | 'park' | undefined {
  const hold = work.hold()
  if (hold === undefined) return undefined
  const end = endOfHeld(hold, job.history)
  if (end === undefined) return 'park'
  // Where order counts, it may have had some of them in place.
  const attempt = Math.max(work.envelope.attempt, job.history.length)
  const { outcome, error } = end
  const startedAt = options.clock.now()
  return { ...job, outcome, startedAt, durationMs: 0, execution: terminal(error), attempt }
}

function terminal(error: { code: string; message: string }): Execution {
  return { outcome: 'failed', error, stage: 'terminal' }
}

/** Undefined at once where no limit is set; what came of waiting, the signals say. */
export function tokenFor(
  { limiter }: { limiter: Limiter },
  { envelope, held }: Work,
  { task }: Job,
): Promise<void> | undefined {
  return limiter.take(envelope.kind, task, held.signal)
}

export type AttemptOptions = SettlementOptions & {
  meter?: Pick<Meter, 'heldLoop'>
  publish?: Publish
}

export function contextOf(
  { publish }: AttemptOptions,
  work: Work,
  job: Job,
  attempt: number,
): ExecuteContext {
  const { envelope, signal, fence } = work
  const { run, kind } = envelope
  const context: ExecuteContext = { run, seq: job.seq, kind, attempt, signal }
  if (fence !== undefined) context.fence = fence
  if (publish !== undefined) context.publish = publish
  tellHost(context, work, job)
  return context
}

/** Runs one attempt; at once, without a promise, when the executor does. */
export function runTask(
  options: AttemptOptions,
  work: Work,
  job: Job,
  context: ExecuteContext,
): Ending | Promise<Ending> {
  const { clock, kind } = options
  const { attempt } = context
  const startedAt = clock.now()
  const expired = expiry(work.envelope, job.task, attempt, startedAt)
  if (expired !== undefined) {
    const execution = terminal(expired)
    return { ...job, outcome: 'expired', startedAt, durationMs: 0, execution, attempt }
  }
  const began = clock.monotonic()
  const execution = kind.executor.run(job.task, context)
  const durationMs = clock.monotonic() - began
  tellHeld(options, context.kind, durationMs)
  if (!(execution instanceof Promise)) {
    return endOf(work, job, { attempt, startedAt, durationMs }, execution)
  }
  return endLater(clock, work, job, { attempt, startedAt, began }, execution)
}

/**
 * An attempt that is to begin when another has ended. Resolves to undefined when it has not begun,
 * and is to be run by itself; undefined where the executor takes nothing ahead, or not now.
 */
export function followTask(
  { clock, kind }: AttemptOptions,
  work: Work,
  job: Job,
  context: ExecuteContext,
  before: ExecuteContext,
): Promise<Ending | undefined> | undefined {
  const following = kind.executor.follow?.(job.task, context, before, work.held.signal)
  return following?.then((followed) => {
    if (followed === undefined) return undefined
    const { execution, durationMs } = followed
    const startedAt = Math.round(clock.now() - durationMs)
    return endOf(work, job, { attempt: context.attempt, startedAt, durationMs }, execution)
  })
}

/** It is not to begin any more. */
export function isExpired(
  { clock }: Pick<AttemptOptions, 'clock'>,
  { envelope }: Work,
  { task }: Job,
): boolean {
  return expiry(envelope, task, envelope.attempt, clock.now()) !== undefined
}

function endOf(
  { hold }: Work,
  { seq, task, history }: Job,
  { attempt, startedAt, durationMs }: Pick<Ending, 'attempt' | 'startedAt' | 'durationMs'>,
  execution: Execution,
): Ending {
  return {
    seq,
    task,
    history,
    outcome: execution.outcome !== 'ok' && aborts(hold()) ? 'cancelled' : execution.outcome,
    startedAt,
    durationMs: Math.round(durationMs * 1000) / 1000,
    execution,
    attempt,
  }
}

async function endLater(
  clock: Pick<Clock, 'monotonic'>,
  work: Work,
  job: Job,
  { began, ...start }: { attempt: number; startedAt: number; began: number },
  running: Promise<Execution>,
): Promise<Ending> {
  const execution = await running
  return endOf(work, job, { ...start, durationMs: clock.monotonic() - began }, execution)
}

function tellHost(context: ExecuteContext, { envelope: { at }, hand }: Work, { task }: Job): void {
  if (at === undefined || !('host' in at) || task.target === undefined) return
  context.host = task.target
  context.progress = () => hand.progress()
}

function tellHeld({ meter }: { meter?: Pick<Meter, 'heldLoop'> }, kind: string, ms: number): void {
  if (ms >= heldFromMs) meter?.heldLoop(kind, ms)
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
