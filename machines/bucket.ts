/** A token bucket: float tokens, starts full, refilled by elapsed time, at most its burst. */

export interface BucketPolicy {
  /** Tokens a second; 0 never refills. */
  rate: number
  /** Most tokens it holds. */
  burst: number
}

export interface Bucket {
  tokens: number
  /** Monotonic ms of the last refill. */
  at: number
}

export function fullBucket(policy: BucketPolicy, at: number): Bucket {
  return { tokens: policy.burst, at }
}

export function refill(bucket: Bucket, policy: BucketPolicy, at: number): Bucket {
  const elapsedMs = Math.max(0, at - bucket.at)
  return {
    tokens: Math.min(policy.burst, bucket.tokens + (elapsedMs * policy.rate) / 1000),
    at: Math.max(bucket.at, at),
  }
}

/** Milliseconds until the bucket holds `tokens`; Infinity when it never will. */
export function waitForTokens(bucket: Bucket, policy: BucketPolicy, tokens: number): number {
  const missing = tokens - bucket.tokens
  if (missing <= 0) return 0
  if (policy.rate <= 0 || tokens > policy.burst) return Number.POSITIVE_INFINITY
  return Math.ceil((missing * 1000) / policy.rate)
}
