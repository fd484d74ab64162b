/** What every implementation of the limits port must do. */
import { expect, test } from 'bun:test'
import type { LimitBucket, Limits } from '../../actors/ports-limits.ts'
import { lasting } from '../kit/outage.ts'

let buckets = 0
/** One that nobody has drawn on. */
function bucketOf(rate: number, burst: number): LimitBucket {
  buckets += 1
  return { name: `source:${buckets} {x} é`, rate, burst }
}

export function limitsConformance(open: () => Limits): void {
  test('a bucket that nobody has drawn on is full, and gives no more than it holds', async () => {
    const limits = open()
    const bucket = bucketOf(0, 10.5)
    expect(await limits.take([bucket], 4)).toEqual({ tokens: 4, waitMs: 0 })
    expect(await limits.take([bucket], 4)).toEqual({ tokens: 4, waitMs: 0 })
    expect(await limits.take([bucket], 4)).toEqual({ tokens: 2, waitMs: Infinity })
    expect(await limits.take([bucket], 4)).toEqual({ tokens: 0, waitMs: Infinity })
  })

  test('a token comes from all of its buckets or from none', async () => {
    const limits = open()
    const [large, small] = [bucketOf(0, 10), bucketOf(0, 3)]
    expect(await limits.take([large, small], 5)).toEqual({ tokens: 3, waitMs: Infinity })
    expect(await limits.take([large, small], 5)).toEqual({ tokens: 0, waitMs: Infinity })
    expect(await limits.take([large], 20)).toEqual({ tokens: 7, waitMs: Infinity })
  })

  test('what it says of the wait is true: by then there is a token, and not before', async () => {
    const limits = open()
    const bucket = bucketOf(0.5, 2)
    const before = performance.now()
    const { waitMs } = await limits.take([bucket], 2)
    expect(waitMs).toBe(2000)
    expect(await limits.take([bucket], 1)).toMatchObject({ tokens: 0 })
    await lasting(waitMs)
    expect(await limits.take([bucket], 2)).toMatchObject({ tokens: 1 })
    expect(performance.now() - before).toBeLessThan(4000)
  })

  test('parts of tokens are not lost, and it never fills beyond its burst', async () => {
    const limits = open()
    const [bucket, small] = [bucketOf(40, 40), bucketOf(40, 4)]
    const before = performance.now()
    await limits.take([bucket], 40)
    await limits.take([small], 4)
    const since = performance.now()
    let taken = 0
    let lastAsked = since
    // Every few ms, much less than a token takes.
    while (lastAsked - since < 300) {
      lastAsked = performance.now()
      taken += (await limits.take([bucket], 40)).tokens
      await lasting(3)
    }
    // It was emptied between these two, and the last was given after it was asked for.
    const tokensIn = (ms: number) => Math.floor((40 * ms) / 1000)
    expect(taken).toBeGreaterThanOrEqual(tokensIn(lastAsked - since) - 1)
    expect(taken).toBeLessThanOrEqual(tokensIn(performance.now() - before))
    expect((await limits.take([small], 100)).tokens).toBe(4)
  })

  test('the slowest of several buckets says how long to wait', async () => {
    const limits = open()
    const [slow, quick] = [bucketOf(1 / 64, 1), bucketOf(1 / 8, 1)]
    expect(await limits.take([quick, slow], 1)).toEqual({ tokens: 1, waitMs: 64_000 })
    expect((await limits.take([quick, bucketOf(0.001, 1)], 1)).tokens).toBe(0)
  })

  test('eight that take at once get what there is in 3 s, no more and hardly less', async () => {
    const limits = open()
    const [rate, burst] = [500, 100]
    const bucket = bucketOf(rate, burst)
    const other = bucketOf(1_000_000, 1_000_000)
    const taken = Array.from({ length: 8 }, () => 0)
    const since = performance.now()
    let wait = Number.POSITIVE_INFINITY
    await Promise.all(
      taken.map(async (_, index) => {
        while (performance.now() - since < 3000) {
          const { tokens, waitMs } = await limits.take(index % 2 ? [bucket] : [other, bucket], 7)
          taken[index] = (taken[index] ?? 0) + tokens
          wait = Math.min(wait, waitMs)
          if (tokens === 0) await lasting(waitMs)
        }
      }),
    )
    const seconds = (performance.now() - since) / 1000
    const sum = taken.reduce((total, one) => total + one, 0)
    console.log(`${sum} tokens in ${seconds.toFixed(2)} s by eight: ${taken.join(' ')}`)
    expect(sum).toBeLessThanOrEqual(rate * seconds + burst)
    expect(sum).toBeGreaterThan(rate * 3 * 0.85)
    expect(Math.min(...taken)).toBeGreaterThan(0)
  })
}
