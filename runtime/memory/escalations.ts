/** The escalations port in memory: windows of one process. */
import type { CountBatch, Escalations, WindowsReading } from '../../actors/ports-escalations.ts'
import type { Escalation } from '../../machines/escalation.ts'
import { bucketOf, bucketsAt, sumOf, type WindowShape } from '../../machines/window.ts'

/** @param now epoch ms */
export function memoryEscalations(now: () => number, shape: WindowShape): Escalations {
  const counts = new Map<string, Map<number, number>>()
  const sources = new Map<string, number>()
  const escalations = new Map<string, Escalation>()

  const add = ({ source, number, counts: added }: CountBatch, at: number): void => {
    if (number <= (sources.get(source) ?? 0)) return
    sources.set(source, number)
    for (const { metric, count, ageMs } of added) {
      const buckets = counts.get(metric) ?? new Map<number, number>()
      counts.set(metric, buckets)
      const bucket = bucketOf(shape, at - Math.round(ageMs))
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + count)
      const oldest = bucketOf(shape, at) - 2 * shape.buckets
      for (const old of buckets.keys()) if (old < oldest) buckets.delete(old)
    }
  }

  const readingAt = (at: number): WindowsReading => {
    const windows = new Map<string, readonly number[]>()
    for (const [metric, buckets] of counts) {
      const window = bucketsAt(shape, buckets, at)
      if (sumOf(window) > 0) windows.set(metric, window)
    }
    return { at, windows, escalations: new Map(escalations) }
  }

  return {
    async count(batch) {
      const at = now()
      add(batch, at)
      return readingAt(at)
    },
    look: async () => readingAt(now()),
    async put(next, before) {
      if ((escalations.get(next.metric)?.version ?? 0) !== (before?.version ?? 0)) return false
      escalations.set(next.metric, next)
      return true
    },
    close: async () => undefined,
  }
}
