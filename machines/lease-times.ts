/** The times of a lease, and how they hang together. Pure arithmetic, in milliseconds. */

export interface LeaseTimes {
  /** How long leadership lasts unrenewed. */
  ttlMs: number
  /** How often it is renewed. */
  renewMs: number
  /** How long one operation may take. */
  operationTimeoutMs: number
}

/**
 * How much sooner the holder gives up than Redis does: 200 ms, or a tenth of a short ttl, or a
 * hundredth of a long one. The clocks of the two may differ in rate by this share of the ttl: 2 %
 * at 10 s, 10 % below 2 s, never less than 1 %.
 */
export function leaseMarginMs(ttlMs: number): number {
  return Math.max(Math.min(200, ttlMs / 10), ttlMs / 100)
}

/** Without a renewal for so long the holder stops: what is left of the ttl is for stopping. */
export function renewDeadlineMs(ttlMs: number): number {
  return (ttlMs * 2) / 3
}

/** Contenders that wait for the same end try again within so long of each other. */
export function leaseJitterMs(ttlMs: number): number {
  return Math.min(250, ttlMs / 10)
}

/** The first reason for which these times cannot be used, in a sentence, if there is one. */
export function checkLeaseTimes(times: LeaseTimes): string | undefined {
  const { ttlMs, renewMs, operationTimeoutMs } = times
  for (const [name, got] of Object.entries({ ttlMs, renewMs, operationTimeoutMs })) {
    if (!(got > 0 && got < 2 ** 31)) {
      return `${name}: expected a number of milliseconds above 0 that a timer can hold, got ${got}`
    }
  }
  const deadlineMs = renewDeadlineMs(ttlMs)
  if (!(renewMs * 1.2 < deadlineMs)) {
    const most = `less than 5/9 of ttlMs (${ttlMs})`
    return `renewMs: expected ${most}, a third at best, so that late is in time; got ${renewMs}`
  }
  if (!(deadlineMs < ttlMs - operationTimeoutMs)) {
    const most = `less than a third of ttlMs (${ttlMs})`
    const why = 'so that it ends before the lease does'
    return `operationTimeoutMs: expected ${most}, ${why}; got ${operationTimeoutMs}`
  }
  return undefined
}
