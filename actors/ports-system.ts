/** What the actors need of the world to know how the system is, and to keep a record of it. */
import type { Finding, SystemState } from '../machines/system-rules.ts'

/** A transition of a node, as it is kept: contract section 8, `/v1/system/history`. */
export interface SystemEntry {
  /** Nobody else ever has the same: what is appended again is there once. */
  id: string
  /** Epoch ms. */
  at: number
  node: string
  from: SystemState
  to: SystemState
  reason: string
  /** Who wanted it: a person, or `system`. */
  actor: string
  /** It was in that state already. */
  noop?: true
}

/** What operators last said about the whole system. */
export interface SystemOrder {
  isPaused: boolean
  /** Epoch ms. */
  at: number
  reason: string
  actor: string
}

/** How a node was when it last told. */
export interface SystemSnapshot {
  state: SystemState
  /** Epoch ms: of the state, and of the last change, those that changed nothing included. */
  since: number
  changedAt: number
  reason: string
  actor: string
}

export interface SystemHistoryQuery {
  /** Entries older than this one; of one that is not there any more there is nothing to tell. */
  after?: string
  limit: number
}

/**
 * Kept for all nodes together. Every operation ends in time.
 * @throws UnavailableError where Redis does not answer; it may have done it all the same
 */
export interface SystemLog {
  /**
   * In one step: the entry, how its node is since, and what its operator says about the whole
   * system, if he does; then everybody hears of that. Again with the same id: nothing.
   */
  append(entry: SystemEntry, snapshot: SystemSnapshot, order?: SystemOrder): Promise<void>
  /** Undefined: nobody ever said anything. What cannot be understood counts as a pause. */
  order(): Promise<SystemOrder | undefined>
  snapshot(node: string): Promise<SystemSnapshot | undefined>
  /** Newest first; the latest 10 000 are kept. */
  history(query: SystemHistoryQuery): Promise<SystemEntry[]>
  /**
   * Called when operators may have said something new. Such words may get lost: who has to know
   * asks now and then. Returns an unsubscribe function.
   */
  watch(listener: () => void): Promise<() => Promise<void>>
}

/** What the node stands on, as those find it who look after its settings. */
export interface Inspection {
  /** What is not set as it has to be, or cannot be asked. */
  settings(): Promise<Finding[]>
  /** How long it takes to answer, ms. */
  latencyMs(): Promise<number>
}

/** How many entries are kept. */
export const entriesMax = 10_000
