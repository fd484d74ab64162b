/**
 * A sliding window in buckets of even width. It moves on by a bucket at a time, and the current one
 * is in it as far as it has come: 12 buckets of 5 s cover the last 55 to 60 s.
 */

export interface WindowShape {
  windowMs: number
  buckets: number
}

export function widthOf({ windowMs, buckets }: WindowShape): number {
  return windowMs / buckets
}

/** The number of the bucket that a moment falls into. */
export function bucketOf(shape: WindowShape, atMs: number): number {
  return Math.floor(atMs / widthOf(shape))
}

/** What the buckets that are in the window at that moment hold, the current one last. */
export function bucketsAt(
  shape: WindowShape,
  counts: ReadonlyMap<number, number>,
  atMs: number,
): number[] {
  const current = bucketOf(shape, atMs)
  return Array.from(
    { length: shape.buckets },
    (_, index) => counts.get(current - shape.buckets + 1 + index) ?? 0,
  )
}

export function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

/**
 * Counted a second over the last `ms` of a window, as far as that is made of whole buckets; its
 * current one is not over, so that this is a little less than it was.
 */
export function rateOf(shape: WindowShape, counts: readonly number[], ms: number): number {
  const buckets = Math.max(1, Math.round(ms / widthOf(shape)))
  return (sumOf(counts.slice(-buckets)) * 1000) / (buckets * widthOf(shape))
}
