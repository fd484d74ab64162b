/** The exit codes of the command line, and which run or error ends in which. */
import {
  ConflictError,
  DataDirectoryError,
  NotAcceptingError,
  NotFoundError,
  TokenError,
  UnavailableError,
  UsageError,
} from '../../actors/errors.ts'
import type { Run } from '../../actors/ports-runs.ts'
import { ConfigError } from '../../config/errors.ts'

export const exitCodes = {
  ok: 0,
  /** Some task not ok, or some line rejected. */
  notOk: 1,
  /** A command line of `audit` that nobody can follow. */
  auditUsage: 2,
  /** Nothing failed, but some tasks never ran. */
  unrun: 3,
  halted: 4,
  usage: 64,
  illegalTransition: 65,
  notFound: 66,
  unavailable: 69,
  internal: 70,
  cannotCreate: 73,
  tryAgain: 75,
  refused: 77,
  timeout: 124,
  detached: 130,
} as const

/** The code of a finished run. What went wrong outranks what never happened. */
export function exitCodeOfRun(run: Pick<Run, 'state' | 'counts' | 'rejectedCount'>): number {
  const { counts } = run
  if (run.state === 'halted') return exitCodes.halted
  const notOk = counts.failed + counts.timeout + counts.dead + counts.expired + counts.cancelled
  if (notOk > 0 || run.rejectedCount > 0) return exitCodes.notOk
  if (counts.unreached > 0 || counts.pending > 0) return exitCodes.unrun
  return exitCodes.ok
}

export function exitCodeOfError(error: unknown): number {
  if (error instanceof UsageError || error instanceof ConfigError) return exitCodes.usage
  if (error instanceof NotFoundError) return exitCodes.notFound
  if (error instanceof UnavailableError) return exitCodes.unavailable
  if (error instanceof NotAcceptingError) return exitCodes.tryAgain
  if (error instanceof DataDirectoryError) return exitCodes.cannotCreate
  if (error instanceof TokenError) return exitCodes.refused
  if (error instanceof ConflictError) {
    if (error.code === 'ILLEGAL_TRANSITION') return exitCodes.illegalTransition
    const isTwin = error.code === 'LIVE_TWIN' || error.code === 'DISPLACED'
    return isTwin ? exitCodes.unavailable : exitCodes.usage
  }
  return exitCodes.internal
}
