import { describe, expect, test } from 'bun:test'
import { assert, double, integer, property, record } from 'fast-check'
import { type BackoffPolicy, backoffMs } from '../../machines/backoff.ts'

const share = double({ min: 0, max: 1, noNaN: true })
const policies = record<BackoffPolicy>({
  baseMs: integer({ min: 0, max: 60_000 }),
  capMs: integer({ min: 0, max: 600_000 }),
  jitter: share,
})
const retries = integer({ min: 1, max: 10_000 })
/** In the middle there is no jitter. */
const middle = 0.5

describe('a back-off', () => {
  test('doubles from its base up to its cap', () => {
    const policy = { baseMs: 200, capMs: 3000, jitter: 0.2 }
    const waits = [1, 2, 3, 4, 5, 6, 7].map((retry) => backoffMs(policy, retry, middle))
    expect(waits).toEqual([200, 400, 800, 1600, 3000, 3000, 3000])
  })

  test('is spread by its jitter to both sides', () => {
    const policy = { baseMs: 1000, capMs: 60_000, jitter: 0.2 }
    expect([0, 0.25, 1].map((random) => backoffMs(policy, 1, random))).toEqual([800, 900, 1200])
  })

  test('is never shorter for a later retry, before jitter', () => {
    assert(
      property(policies, retries, (policy, retry) => {
        const wait = backoffMs(policy, retry, middle)
        expect(backoffMs(policy, retry + 1, middle)).toBeGreaterThanOrEqual(wait)
      }),
    )
  })

  test('is never longer than its cap, before jitter', () => {
    assert(
      property(policies, retries, (policy, retry) => {
        expect(backoffMs(policy, retry, middle)).toBeLessThanOrEqual(policy.capMs)
      }),
    )
  })

  test('stays within its jitter, and is a whole number that is not negative', () => {
    assert(
      property(policies, retries, share, (policy, retry, random) => {
        const even = backoffMs(policy, retry, middle)
        const wait = backoffMs(policy, retry, random)
        // Both are rounded.
        expect(Math.abs(wait - even)).toBeLessThanOrEqual(even * policy.jitter + 1)
        expect(Number.isInteger(wait) && wait >= 0).toBe(true)
      }),
    )
  })

  test('of a retry before the first is that of the first', () => {
    const policy = { baseMs: 500, capMs: 30_000, jitter: 0 }
    expect([0, -3].map((retry) => backoffMs(policy, retry, middle))).toEqual([500, 500])
  })
})
