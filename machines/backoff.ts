/** The curve of waits between attempts. Pure: randomness is handed in. */

export interface BackoffPolicy {
  /** Wait before the first retry, ms. */
  baseMs: number
  /** Before jitter no wait is longer than this, ms. */
  capMs: number
  /** Share of the wait that is random, 0…1: 0.2 means ±20 %. */
  jitter: number
}

/**
 * Milliseconds to wait before retry number `retry` (1 is the first): base × 2^(retry-1), at most
 * the cap, spread by ±jitter.
 * @param random a number in 0…1
 */
export function backoffMs(policy: BackoffPolicy, retry: number, random: number): number {
  // 2 ** 30 is beyond any cap; without the bound a long-lived loop would reach Infinity.
  const exponent = Math.min(Math.max(retry, 1) - 1, 30)
  const wait = Math.min(policy.baseMs * 2 ** exponent, policy.capMs)
  return Math.round(wait * (1 + policy.jitter * (random * 2 - 1)))
}
