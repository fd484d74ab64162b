import { describe, expect, test } from 'bun:test'
import { array, assert, integer, property, record } from 'fast-check'
import { bucketOf, bucketsAt, rateOf, sumOf, type WindowShape } from '../../machines/window.ts'

const shape: WindowShape = { windowMs: 10_000, buckets: 2 }

/** Counts by bucket. */
function counted(of: WindowShape, counts: readonly { at: number; count: number }[]) {
  const buckets = new Map<number, number>()
  for (const { at, count } of counts) {
    buckets.set(bucketOf(of, at), (buckets.get(bucketOf(of, at)) ?? 0) + count)
  }
  return buckets
}

describe('a sliding window', () => {
  test('holds what was counted in its buckets, the current one with them', () => {
    const [first, second] = [
      { at: 1_000_000, count: 5 },
      { at: 1_005_000, count: 3 },
    ]
    const heldAt = (at: number, ...counts: (typeof first)[]) =>
      sumOf(bucketsAt(shape, counted(shape, counts), at))
    expect(heldAt(1_000_100, first)).toBe(5)
    expect(heldAt(1_005_100, first, second)).toBe(8)
    // The bucket of the first has gone, whole.
    expect(heldAt(1_012_000, first, second)).toBe(3)
  })

  test('says its rate by whole buckets', () => {
    const minute = { windowMs: 60_000, buckets: 12 }
    const counts = [...Array.from({ length: 6 }, () => 0), ...Array.from({ length: 6 }, () => 100)]
    expect(rateOf(minute, counts, 30_000)).toBe(20)
    expect(rateOf(minute, counts, 60_000)).toBe(10)
    expect(rateOf(minute, [], 60_000)).toBe(0)
    expect(rateOf({ windowMs: 5000, buckets: 1 }, [50], 2500)).toBe(10)
  })

  test('covers its whole time but for a part of a bucket, and nothing older', () => {
    const shapes = record({
      buckets: integer({ min: 1, max: 20 }),
      width: integer({ min: 1, max: 5000 }),
    }).map(({ buckets, width }) => ({ windowMs: buckets * width, buckets }))
    const counts = array(
      record({ at: integer({ min: 0, max: 100_000 }), count: integer({ min: 1, max: 9 }) }),
    )
    assert(
      property(shapes, counts, integer({ min: 0, max: 120_000 }), (of, all, now) => {
        const past = all.filter(({ at }) => at <= now)
        const within = (ms: number) =>
          sumOf(past.filter(({ at }) => at > now - ms).map(({ count }) => count))
        const held = sumOf(bucketsAt(of, counted(of, past), now))
        expect(held).toBeLessThanOrEqual(within(of.windowMs))
        expect(held).toBeGreaterThanOrEqual(within(of.windowMs - of.windowMs / of.buckets))
      }),
    )
  })
})
