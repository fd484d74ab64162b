/**
 * Every error Muster raises on purpose. Each has a stable `code`, says what was expected, what came
 * and what to do, and keeps its cause. Users must know one distinction: a TerminalError ends a task
 * as `failed` at once, anything else a handler throws is retried.
 */

import type { Fault, Flaw } from '../machines/supervision.ts'

export class MusterError extends Error {
  readonly code: string
  /** What it means for the actor it ends; undefined: a bug. */
  readonly fault?: Fault
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** Thrown by a handler: the task is `failed`, no further attempt. */
export class TerminalError extends MusterError {
  constructor(message: string, options?: { cause?: unknown; code?: string }) {
    super(options?.code ?? 'TERMINAL', message, options)
  }
}

/** A command line, request or task line that cannot be taken as it is. Nothing was done. */
export class UsageError extends MusterError {
  constructor(message: string, code = 'USAGE') {
    super(code, message)
  }
}

/** Something Muster stands on (Redis, a node, a server program) cannot be reached. */
export class UnavailableError extends MusterError {
  constructor(message: string, options?: { cause?: unknown; code?: string }) {
    super(options?.code ?? 'UNAVAILABLE', message, options)
  }
}

/**
 * Not accepting work now: full, in a flood of results, paused or draining. Try again after
 * `retryAfterMs`.
 */
export class NotAcceptingError extends MusterError {
  readonly reason: 'full' | 'storm' | 'paused' | 'draining'
  readonly retryAfterMs: number
  constructor(
    reason: 'full' | 'storm' | 'paused' | 'draining',
    message: string,
    retryAfterMs: number,
  ) {
    super(`NOT_ACCEPTING_${reason.toUpperCase()}`, message)
    this.reason = reason
    this.retryAfterMs = retryAfterMs
  }
}

/** An actor whose oldest message at hand has made no progress for too long. */
export class HungError extends MusterError {
  constructor(message: string) {
    super('HUNG', message)
  }
}

/** A worker process that was lost while it ran a task that may have taken one down before. */
export class PoisonedError extends MusterError {
  override readonly fault: Fault = 'poison'
  constructor(message: string) {
    super('POISONED', message)
  }
}

/** Somebody else has been given the lease since: nothing may be written under the old epoch. */
export class FencedError extends MusterError {
  override readonly fault: Fault = 'fenced'
  readonly lease: string
  readonly epoch: number
  constructor(lease: string, epoch: number, message: string) {
    super('FENCED', message)
    this.lease = lease
    this.epoch = epoch
  }
}

/** No such run, file or task. */
export class NotFoundError extends MusterError {
  constructor(message: string) {
    super('NOT_FOUND', message)
  }
}

/** The same key with another body, or an illegal change of state. */
export class ConflictError extends MusterError {
  constructor(message: string, code = 'CONFLICT') {
    super(code, message)
  }
}

/** Somebody else drives the run by now, and moves its spool. */
export function drivenElsewhere(run: string): ConflictError {
  return new ConflictError(`run ${run} is driven by another node now`, 'RUN_DRIVEN_ELSEWHERE')
}

/** A file or directory of ours cannot be made or written. */
export class DataDirectoryError extends MusterError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('DATA_DIRECTORY', message, options)
  }
}

/** The token is missing, unreadable or refused. */
export class TokenError extends MusterError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('TOKEN', message, options)
  }
}

/** What was thrown, as a code and a sentence. */
export function describeError(error: unknown): { code: string; message: string } {
  if (error instanceof Error) {
    const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name
    return { code, message: error.message || error.name }
  }
  return { code: 'Error', message: String(error) }
}

/** A supervisor that cannot be, as it is specified. */
export class SpecificationError extends MusterError {
  readonly supervisor: string
  readonly child: string | undefined
  readonly field: string
  constructor(supervisor: string, { child, field, message }: Flaw) {
    const place = child === undefined ? supervisor : `${supervisor}/${child}`
    super('SPECIFICATION', `supervisor ${place}: ${field}: ${message}`)
    this.supervisor = supervisor
    this.child = child
    this.field = field
  }
}
