import { describe, expect, test } from 'bun:test'
import { array, assert, double, integer, property, record } from 'fast-check'
import { type BucketPolicy, fullBucket, refill, waitForTokens } from '../../machines/bucket.ts'

const policies = record<BucketPolicy>({
  rate: integer({ min: 0, max: 1_000_000 }),
  burst: integer({ min: 1, max: 100_000 }),
})
const buckets = record({
  tokens: double({ min: -100_000, max: 100_000, noNaN: true }),
  at: integer({ min: 0, max: 1_000_000 }),
})

describe('a token bucket', () => {
  test('starts full, at its burst', () => {
    expect(fullBucket({ rate: 5000, burst: 10_000 }, 7)).toEqual({ tokens: 10_000, at: 7 })
  })

  test('is refilled by elapsed time times rate, up to its burst', () => {
    const policy = { rate: 5000, burst: 10_000 }
    const empty = { tokens: 0, at: 0 }
    const after = (at: number) => refill(empty, policy, at).tokens
    expect([0, 1, 100, 1000, 2000, 2001, 60_000].map(after)).toEqual([
      0, 5, 500, 5000, 10_000, 10_000, 10_000,
    ])
  })

  test('holds parts of tokens, so that many short looks give what one long one gives', () => {
    const policy = { rate: 3, burst: 100 }
    let bucket = { tokens: 0, at: 0 }
    for (let at = 1; at <= 1000; at += 1) bucket = refill(bucket, policy, at)
    expect(bucket.tokens).toBeCloseTo(3, 9)
  })

  test('with rate 0 is never refilled', () => {
    assert(
      property(integer({ min: 0, max: 100 }), integer({ min: 0 }), (tokens, at) => {
        expect(refill({ tokens, at: 0 }, { rate: 0, burst: 100 }, at).tokens).toBe(tokens)
      }),
    )
    expect(waitForTokens({ tokens: 0, at: 0 }, { rate: 0, burst: 100 }, 1)).toBe(
      Number.POSITIVE_INFINITY,
    )
  })

  test('never holds more than its burst, and time only ever adds to it', () => {
    assert(
      property(policies, array(integer({ min: -1000, max: 10_000 })), (policy, moves) => {
        let bucket = fullBucket(policy, 0)
        bucket.tokens = 0
        let at = 0
        for (const move of moves) {
          at += move
          const next = refill(bucket, policy, at)
          expect(next.tokens).toBeLessThanOrEqual(policy.burst)
          expect(next.tokens).toBeGreaterThanOrEqual(bucket.tokens)
          expect(next.at).toBeGreaterThanOrEqual(bucket.at)
          bucket = next
        }
      }),
    )
  })

  test('a clock that goes back gives nothing twice', () => {
    const policy = { rate: 1000, burst: 1000 }
    const once = refill({ tokens: 0, at: 0 }, policy, 500)
    expect(refill(refill(once, policy, 100), policy, 500)).toEqual(once)
  })

  test('a change of policy takes what is beyond the new burst', () => {
    expect(refill({ tokens: 900, at: 0 }, { rate: 1, burst: 10 }, 0).tokens).toBe(10)
  })
})

describe('the wait for tokens', () => {
  test('is over to the millisecond when they are there', () => {
    assert(
      property(policies, buckets, integer({ min: 1, max: 100_000 }), (policy, bucket, tokens) => {
        const wait = waitForTokens(bucket, policy, tokens)
        if (wait === 0) expect(bucket.tokens).toBeGreaterThanOrEqual(tokens)
        else if (policy.rate === 0 || tokens > policy.burst) {
          expect(wait).toBe(Number.POSITIVE_INFINITY)
        } else {
          const rounding = 1e-6
          const then = refill(bucket, policy, bucket.at + wait).tokens
          expect(then).toBeGreaterThanOrEqual(tokens - rounding)
          const before = refill(bucket, policy, bucket.at + wait - 1).tokens
          expect(before).toBeLessThan(tokens + rounding)
        }
      }),
    )
  })

  test('for what is there already is none', () => {
    expect(waitForTokens({ tokens: 5, at: 0 }, { rate: 0, burst: 5 }, 5)).toBe(0)
  })

  test('for more than the bucket ever holds has no end', () => {
    expect(waitForTokens({ tokens: 0, at: 0 }, { rate: 10, burst: 5 }, 6)).toBe(
      Number.POSITIVE_INFINITY,
    )
  })
})
