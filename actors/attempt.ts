/** One attempt of a task of an envelope at hand. */
import type { Hand } from './at-hand.ts'
import type { Envelope } from './envelope.ts'
import type { Attempt, Delivery, Execution } from './ports.ts'
import type { Fence } from './ports-fleet.ts'
import type { Ending, SettlementOptions } from './settlement.ts'
import type { Slots } from './slots.ts'
import type { Task } from './task.ts'

/** An envelope at hand, and what its tasks need to be run. */
export interface Work {
  envelope: Envelope
  delivery: Delivery
  hand: Hand
  slots: Slots
  fence?: Fence
}

export interface Job {
  seq: number
  task: Task
  history: Attempt[]
}

/** Runs one attempt; at once, without a promise, when the executor does. */
export function runTask(
  options: SettlementOptions,
  { envelope, delivery, fence }: Work,
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
    ...(fence === undefined ? {} : { fence }),
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
