/** Whoever counts what happens, for those who look after a node. */
import type { Settled, Settlement } from './ports-runs.ts'
import type { Ending } from './settlement.ts'

/**
 * Called in the middle of things, once for an envelope and never for a task: it must not throw, and
 * not wait.
 */
export interface Meter {
  /**
   * A worker has taken an envelope.
   * @param waitedMs since its tasks could have run; undefined on a redelivery
   */
  taken(mailbox: string, tasks: number, waitedMs: number | undefined): void
  /** A worker is done with an envelope: it is settled, or goes back. */
  released(): void
  /**
   * What came of the tasks of an envelope is durable.
   * @param retried how many further attempts that makes
   */
  settled(mailbox: string, kind: string, endings: readonly Ending[], retried: number): void
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
