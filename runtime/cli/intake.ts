/** Handing tasks over: the flags of `run` and `submit`, and the look at every line beforehand. */
import { UsageError } from '../../actors/errors.ts'
import { readHalt, readShare } from '../../actors/share.ts'
import type { Muster, SubmitOptions } from '../client-api.ts'
import type { Departure } from './departure.ts'
import { exitCodes } from './exit.ts'
import { sayRejections } from './follow.ts'
import type { Progress } from './progress.ts'
import type { Source } from './source.ts'
import type { Terminal } from './terminal.ts'

export interface RunFlags {
  reason?: string
  idempotencyKey?: string
  /** As they were written. */
  window?: string
  halt?: string
  strict?: boolean
  dryRun?: boolean
  /** Milliseconds to wait. */
  timeout?: number
  /** File for the result lines. */
  results?: string
  /** Modules with kinds of tasks, for a node in this process. */
  tasks?: string[]
  workers?: number
  ephemeral?: boolean
  /** The command is run once on each of these. */
  hosts?: string[]
}

/** The source is checked to its end before it is submitted. */
export function readsTwice(flags: RunFlags): boolean {
  return flags.strict === true || flags.dryRun === true
}

export function submitOptions(source: Source, flags: RunFlags): SubmitOptions {
  return {
    ...(flags.reason === undefined ? {} : { reason: flags.reason }),
    ...(flags.idempotencyKey === undefined ? {} : { idempotencyKey: flags.idempotencyKey }),
    ...(flags.window === undefined ? {} : { window: readShare('--window', flags.window) }),
    ...(flags.halt === undefined ? {} : { halt: readHalt('--halt', flags.halt) }),
    ...(source.content === undefined ? {} : { content: source.content }),
  }
}

/**
 * Look at every line before any runs (`--strict`, `--dry-run`).
 * @returns the exit code when that settles the matter
 * @throws UsageError when `--strict` meets a bad line
 */
export async function checkStrictly(
  muster: Muster,
  source: Source,
  terminal: Terminal,
  progress: Progress,
  flags: RunFlags,
  departure: Departure,
): Promise<number | undefined> {
  const intake = await muster.check(source.open(), {
    signal: departure.signal,
    onSent: (sent) => progress.sent(sent, source.bytes),
  })
  progress.clear()
  sayRejections(intake, terminal)
  const { accepted, rejectedCount } = intake
  if (flags.dryRun === true) {
    const text = `${accepted} tasks would run, ${rejectedCount} lines are rejected`
    await terminal.print(`${terminal.json ? JSON.stringify(intake) : text}\n`)
  }
  if (flags.strict === true && rejectedCount > 0) {
    throw new UsageError(`nothing was run: --strict, and ${rejectedCount} lines are rejected`)
  }
  if (flags.dryRun !== true) return undefined
  return rejectedCount > 0 ? exitCodes.notOk : exitCodes.ok
}
