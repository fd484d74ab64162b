/** What actors need of the world to keep within its limits, beside ports.ts. */

/** Whether there is memory left in what keeps the mailboxes and the accounts. */
export interface Headroom {
  /** Why nothing new is to be let in now: it is nearly full. Undefined while there is room. */
  shortage(): string | undefined
  /** So little is left that what was let in goes on one by one: it needs a little more to end. */
  isScarce(): boolean
  /** Have both as they are now; undefined when they are nearly that. */
  look(): Promise<void> | undefined
  /** Called when one of them changes, until the function returned is called. */
  watch(listener: () => void): () => void
}

/* ---- limits: token buckets that all nodes draw on ---- */

export interface LimitBucket {
  name: string
  /** Tokens a second; 0 never refills. */
  rate: number
  /** Most tokens it holds. One that nobody has drawn on holds as many. */
  burst: number
}

export interface Limits {
  /** Take up to `tokens` (a whole number), each of them from all of the buckets or from none. */
  take(buckets: readonly LimitBucket[], tokens: number): Promise<TakenTokens>
}

export interface TakenTokens {
  /** How many there were; never more than asked for. */
  tokens: number
  /** Milliseconds until all of the buckets hold one more; Infinity when they never will. */
  waitMs: number
}
