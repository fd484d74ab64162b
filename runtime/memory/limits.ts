/** The limits port in memory: buckets of one process. */
import type { Limits } from '../../actors/ports-limits.ts'
import { type Bucket, fullBucket, refill, waitForTokens } from '../../machines/bucket.ts'

/** @param monotonic ms on a clock that never goes back */
export function memoryLimits(monotonic: () => number): Limits {
  const buckets = new Map<string, Bucket>()
  return {
    async take(wanted, tokens) {
      const at = monotonic()
      const refilled = wanted.map((policy) =>
        refill(buckets.get(policy.name) ?? fullBucket(policy, at), policy, at),
      )
      const least = Math.min(...refilled.map((bucket) => Math.floor(bucket.tokens)))
      const taken = Math.min(tokens, Math.max(0, least))
      let waitMs = 0
      for (const [index, policy] of wanted.entries()) {
        const bucket = { at, tokens: (refilled[index]?.tokens ?? 0) - taken }
        buckets.set(policy.name, bucket)
        waitMs = Math.max(waitMs, waitForTokens(bucket, policy, 1))
      }
      return { tokens: taken, waitMs }
    },
  }
}
