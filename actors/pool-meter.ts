/** Whoever counts what a pool of sandboxes does. */
import type { PoolCounts } from '../machines/pool-steps.ts'

/** Called in the middle of things: it must not throw, and not wait. */
export interface PoolMeter {
  /** Asked whenever somebody wants to know how many there are now; the last one told is asked. */
  watched(counts: () => PoolCounts): void
  /** Somebody has a sandbox; how long he waited for it. */
  checkedOut(waitedMs: number): void
  /** Somebody has none, by the code of the error that he got. */
  refused(code: string): void
  /** A sandbox was to be made clean for the next one. */
  reset(isClean: boolean): void
  /** None could be made. */
  unmade(): void
}
