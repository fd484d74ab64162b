/**
 * What is counted: plain numbers, so that counting costs next to nothing, and that what a worker
 * process has counted can be told to its node and added to what that counts itself.
 */
import { type Labels, type MetricName, metrics } from './names.ts'

export type TalliedName = MetricName<'counter' | 'histogram'>

/** One label set of a metric. */
export interface Series {
  name: TalliedName
  labels: readonly string[]
  /**
   * Of a counter: its value. Of a histogram: observations in each bucket, in the one above all, and
   * their sum.
   */
  numbers: number[]
}

export class Tally {
  readonly #series = new Map<string, Series>()

  add<Name extends MetricName<'counter'>>(name: Name, labels: Labels<Name>, more = 1): void {
    const { numbers } = this.#find(name, labels)
    numbers[0] = (numbers[0] ?? 0) + more
  }

  /** The same observation, so many times. */
  observe<Name extends MetricName<'histogram'>>(
    name: Name,
    labels: Labels<Name>,
    seconds: number,
    times = 1,
  ): void {
    observeIn(this.#find(name, labels), metrics[name].buckets, seconds, times)
  }

  /** For many observations in a row: the series is looked up once. */
  observer<Name extends MetricName<'histogram'>>(
    name: Name,
    labels: Labels<Name>,
  ): (seconds: number) => void {
    const series = this.#find(name, labels)
    const { buckets } = metrics[name]
    return (seconds) => observeIn(series, buckets, seconds, 1)
  }

  /** What is there of a metric; of one without labels always something. */
  seriesOf(name: TalliedName): Series[] {
    if (metrics[name].labels.length === 0) this.#find(name, [])
    return [...this.#series.values()].filter((series) => series.name === name)
  }

  /** Everything since it was last taken. */
  take(): Series[] {
    const taken = [...this.#series.values()]
    this.#series.clear()
    return taken
  }

  /** Adds what somebody else has counted. */
  merge(counted: readonly Series[]): void {
    for (const { name, labels, numbers } of counted) {
      const own = this.#find(name, labels).numbers
      numbers.forEach((more, index) => {
        own[index] = (own[index] ?? 0) + more
      })
    }
  }

  #find(name: TalliedName, labels: readonly string[]): Series {
    const key = labels.length === 0 ? name : `${name}\n${labels.join('\n')}`
    const known = this.#series.get(key)
    if (known !== undefined) return known
    const metric = metrics[name]
    const length = metric.type === 'counter' ? 1 : metric.buckets.length + 2
    const series: Series = { name, labels, numbers: Array.from({ length }, () => 0) }
    this.#series.set(key, series)
    return series
  }
}

function observeIn(
  { numbers }: Series,
  buckets: readonly number[],
  seconds: number,
  times: number,
): void {
  let bucket = 0
  while (bucket < buckets.length && seconds > (buckets[bucket] ?? 0)) bucket += 1
  const sum = buckets.length + 1
  numbers[bucket] = (numbers[bucket] ?? 0) + times
  numbers[sum] = (numbers[sum] ?? 0) + seconds * times
}
