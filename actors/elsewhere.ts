/** A run that somebody else drives, given to us as well: the same content, submitted twice. */
import type { Clock } from './ports.ts'
import type { Accounting } from './ports-runs.ts'

export interface ElsewhereOptions {
  accounting: Pick<Accounting, 'get'>
  clock: Clock
  /** Us. */
  driver: string
  isGone(driver: string): boolean
}

/** How often it is looked at, and how long nothing may have moved, ms. */
const lookMs = 100
const standstillMs = 5000

/**
 * Waits until the other one has read its source; what there is left to do is then its affair.
 * @returns false when nobody does, or it stands still: then it is for us to go on
 */
export async function isTakenElsewhere(
  { accounting, clock, driver, isGone }: ElsewhereOptions,
  run: string,
  signal: AbortSignal,
): Promise<boolean> {
  let before = ''
  let movedAt = clock.monotonic()
  while (!signal.aborted) {
    const progress = await accounting.get(run)
    if (progress === undefined || progress.driver === driver || isGone(progress.driver))
      return false
    if (progress.closed) return true
    const now = [progress.lines, progress.spooled, progress.run.counts.pending].join(' ')
    if (now !== before) movedAt = clock.monotonic()
    else if (clock.monotonic() - movedAt > standstillMs) return false
    before = now
    await clock.wait(lookMs, signal)
  }
  return false
}
