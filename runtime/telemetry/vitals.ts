/**
 * What the audit's default queries would say of this node, without a Prometheus: the same windows
 * over the same numbers, from samples that are taken as often as one would scrape.
 */
import type { Measured } from '../../machines/health.ts'
import type { LoopLag } from './loop-lag.ts'
import { type MetricName, metrics } from './names.ts'
import type { Tally } from './tally.ts'

export const sampleMs = 15_000
const windowMs = 15 * 60_000
/** Of the latency. */
const shortWindowMs = 5 * 60_000
/** Worker processes speak once a second. */
const wordMs = 1000
/** So long without a word, and the event loop of a worker process stands. */
const silentMs = 2000

const histograms = [
  'http_request_duration_seconds',
  'blocking_duration_seconds',
  'threadpool_queue_wait_seconds',
] as const satisfies readonly MetricName<'histogram'>[]
type Sampled = (typeof histograms)[number]

interface Sample {
  /** Monotonic ms. */
  at: number
  /** The largest lag of the minute before. */
  lagSeconds: number | undefined
  /** Most requests at a time since the sample before. */
  activeRequests: number
  numbers: Record<Sampled, readonly number[]>
}

export interface VitalsOptions {
  tally: Tally
  lag: LoopLag
  /** Most requests at a time since it was last asked so; `isLast`: from now on anew. */
  peakRequests(isLast: boolean): number
  monotonic(): number
}

export class VitalsWindow {
  readonly #options: VitalsOptions
  #samples: Sample[] = []
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(options: VitalsOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer ??= setInterval(() => this.sample(), sampleMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Takes the next sample; those that no window reaches any more go. */
  sample(): void {
    const now = this.#now(true)
    this.#samples.push(now)
    // The last one before the window is what its first counts are compared with.
    while ((this.#samples[1]?.at ?? Number.POSITIVE_INFINITY) <= now.at - windowMs) {
      this.#samples.shift()
    }
  }

  /** @param heardMs how long ago the most silent of its worker processes spoke */
  measure(heardMs = 0): Measured {
    const now = this.#now(false)
    const blocks = sumAndCount(this.#since('blocking_duration_seconds', windowMs, now))
    const waits = sumAndCount(this.#since('threadpool_queue_wait_seconds', windowMs, now))
    const requests = this.#since('http_request_duration_seconds', shortWindowMs, now)
    const recent = [...this.#samples.filter(({ at }) => at > now.at - windowMs), now]
    const lags = recent.flatMap(({ lagSeconds }) => (lagSeconds === undefined ? [] : [lagSeconds]))
    // It cannot tell that it stands, but only its event loop would keep it silent.
    if (heardMs > silentMs && lags.length > 0) lags.push((heardMs - wordMs) / 1000)
    return {
      p99LatencySeconds: quantileOf(0.99, metrics.http_request_duration_seconds.buckets, requests),
      // Without any, nobody measures.
      eventLoopLagSeconds: lags.length === 0 ? undefined : Math.max(...lags),
      blockingEvents: this.#total('blocking_events_total'),
      blockingSeconds: blocks.count === 0 ? 0 : blocks.sum / blocks.count,
      activeRequests: Math.max(...recent.map(({ activeRequests }) => activeRequests)),
      queueWaitSeconds: waits.count === 0 ? 0 : waits.sum / waits.count,
      tasksStarted: this.#total('threadpool_tasks_started_total'),
      tasksCompleted: this.#total('threadpool_tasks_completed_total'),
    }
  }

  #now(isSample: boolean): Sample {
    const { lag, peakRequests, monotonic } = this.#options
    return {
      at: monotonic(),
      lagSeconds: lag.summary()?.quantiles.get(1),
      activeRequests: peakRequests(isSample),
      numbers: Object.fromEntries(histograms.map((name) => [name, this.#numbers(name)])) as {
        [Name in Sampled]: number[]
      },
    }
  }

  #numbers(name: MetricName<'histogram' | 'counter'>): number[] {
    return [...(this.#options.tally.seriesOf(name)[0]?.numbers ?? [])]
  }

  #total(name: MetricName<'counter'>): number {
    return this.#numbers(name)[0] ?? 0
  }

  /** What came to a histogram in the last so many ms; of a younger node, all of it. */
  #since(name: Sampled, ms: number, now: Sample): number[] {
    const before = this.#samples.findLast(({ at }) => at <= now.at - ms)?.numbers[name]
    return now.numbers[name].map((number, index) => number - (before?.[index] ?? 0))
  }
}

/** Of a tally's numbers: buckets, the one above all, the sum. */
function sumAndCount(numbers: readonly number[]): { sum: number; count: number } {
  const count = numbers.slice(0, -1).reduce((all, one) => all + one, 0)
  return { sum: numbers.at(-1) ?? 0, count }
}

/** As Prometheus estimates it: evenly spread within a bucket. 0 when there is nothing. */
export function quantileOf(
  quantile: number,
  bounds: readonly number[],
  numbers: readonly number[],
): number {
  const rank = quantile * sumAndCount(numbers).count
  let below = 0
  for (const [index, upper] of bounds.entries()) {
    const inside = numbers[index] ?? 0
    if (inside > 0 && below + inside >= rank) {
      const lower = bounds[index - 1] ?? 0
      return lower + (upper - lower) * ((rank - below) / inside)
    }
    below += inside
  }
  return rank === 0 ? 0 : (bounds.at(-1) ?? 0)
}
