/** The charts' numbers, second by second, from what the node counts anyway. */
import type { RunNotice } from '../../../actors/ports-runs.ts'
import { metrics } from '../../telemetry/names.ts'
import type { Telemetry } from '../../telemetry/telemetry.ts'
import { quantileOf } from '../../telemetry/vitals.ts'
import type { Point, RunBrief } from './wire.ts'

export type Counted = Pick<Telemetry, 'tally' | 'lag'>

const waitName = 'threadpool_queue_wait_seconds'
/** Points that are kept: five minutes. */
const pointsMax = 300
/** Runs whose progress is remembered; beyond, the longest known are forgotten. */
const runsMax = 1000

export class Rates {
  readonly points: Point[] = []
  readonly #counted: Counted | undefined
  /** Tasks of each run that have ended, as last heard. */
  readonly #done = new Map<string, number>()
  #ended = 0
  #waits: readonly number[]
  #at: number

  constructor(counted: Counted | undefined, monotonicMs: number) {
    this.#counted = counted
    this.#at = monotonicMs
    this.#waits = this.#waitsNow()
  }

  /** How far a run was when this began: what ended before is no news. */
  known({ id, counts, total }: RunBrief): void {
    this.#keep(id, Math.max(this.#done.get(id) ?? 0, total - counts.pending))
  }

  noticed({ run, done }: RunNotice): void {
    // One that nobody knew is new: all that has ended of it has ended just now.
    const before = this.#done.get(run) ?? 0
    if (done <= before) return
    this.#ended += done - before
    this.#keep(run, done)
  }

  /** The time since it was last asked. */
  take(now: number, monotonicMs: number): Point {
    const seconds = Math.max(0.001, (monotonicMs - this.#at) / 1000)
    const waits = this.#waitsNow()
    const fresh = waits.map((count, index) => count - (this.#waits[index] ?? 0))
    const hasWaits = fresh.slice(0, -1).some((count) => count > 0)
    const { buckets } = metrics[waitName]
    const lag = this.#counted?.lag.summary()?.quantiles.get(0.99)
    const point: Point = {
      at: now,
      rate: round(this.#ended / seconds),
      waitMs: hasWaits ? round(quantileOf(0.95, buckets, fresh) * 1000) : null,
      lagMs: lag === undefined ? null : round(lag * 1000),
    }
    this.#ended = 0
    this.#waits = waits
    this.#at = monotonicMs
    this.points.push(point)
    if (this.points.length > pointsMax) this.points.shift()
    return point
  }

  #keep(run: string, done: number): void {
    this.#done.delete(run)
    this.#done.set(run, done)
    if (this.#done.size <= runsMax) return
    for (const oldest of this.#done.keys()) {
      this.#done.delete(oldest)
      return
    }
  }

  #waitsNow(): number[] {
    return [...(this.#counted?.tally.seriesOf(waitName)[0]?.numbers ?? [])]
  }
}

/** To three digits or so: nobody sees more in a chart. */
function round(value: number): number {
  return value >= 100 ? Math.round(value) : Math.round(value * 100) / 100
}
