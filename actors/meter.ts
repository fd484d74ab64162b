/** Whoever counts what happens, for those who look after a node. */

import type { PoolMeter } from './pool-meter.ts'
import type { Settled, Settlement } from './ports-runs.ts'
import type { Ending } from './settlement.ts'

/** What holds the event loop so long is worth a word, ms. */
export const heldFromMs = 50

/**
 * Called in the middle of things, once for an envelope and never for a task: it must not throw, and
 * not wait.
 */
export interface Meter {
  /** Of the sandboxes of this process, where somebody counts them. */
  readonly containers?: PoolMeter
  /**
   * A worker has taken an envelope.
   * @param waitedMs since its tasks could have run; undefined on a redelivery
   * @param idleMs for how much of that its worker had a hand free; undefined where nobody knows
   */
  taken(mailbox: string, tasks: number, waitedMs: number | undefined, idleMs?: number): void
  /** A worker is done with an envelope of the mailbox: it is settled, or goes back. */
  released(mailbox: string): void
  /** A task of the kind kept the event loop to itself: told only from `heldFromMs` on. */
  heldLoop(kind: string, ms: number): void
  /**
   * What came of the tasks of an envelope is durable.
   * @param retried how many further attempts that makes
   */
  settled(mailbox: string, kind: string, endings: readonly Ending[], retried: number): void
  /** A node was chosen for an envelope, among those that are there; how long the choice took. */
  routed(ms: number): void
  /** The accounting has taken a settlement of tasks of one kind. */
  counted(kind: string, settlement?: Settlement, settled?: Settled): void
  /** The collector has counted, stored and logged a batch of results. */
  aggregated(ms: number): void
  /** A submission was not accepted. */
  refused(reason: string): void
  /** An actor failed and will be started again. */
  restarted(supervisor: string, child: string): void
  /** A message between actors reached nobody. */
  undelivered(to: string, reason: string): void
}
