/** What is usual: samples of a metric in windows of time, and how far from the usual one is. */

export interface Deviation {
  metric: string
  window: string
  value: number
  mean: number
  /** Standard deviations from the mean. */
  z: number
  severity: 'warning' | 'error'
}

interface Watched {
  /** Which side is bad. */
  bad: 'low' | 'high'
  /** What is bad where too little is known for a z-score. */
  fallback: number
}

/** Metrics with a baseline, in the units of their names. */
export const watched = {
  taskSuccess: { bad: 'low', fallback: 0.8 },
  queueWaitMs: { bad: 'high', fallback: 5000 },
  redisMs: { bad: 'high', fallback: 5000 },
  loopLagMs: { bad: 'high', fallback: 5000 },
  transitionsPerHour: { bad: 'high', fallback: 10 },
} as const satisfies Record<string, Watched>

export type WatchedMetric = keyof typeof watched
export type Sample = { readonly [Metric in WatchedMetric]?: number | undefined }

const hourMs = 3_600_000
const windows = [
  ['1h', hourMs],
  ['24h', 24 * hourMs],
  ['7d', 7 * 24 * hourMs],
] as const
const lowZ = -2.5
const highZ = 3
/** Beyond the limit by so much it is an error. */
const errorZ = 1.5
const samplesMin = 5
const samplesMax = 20_000

/** What is kept of a baseline. */
export interface KeptBaseline {
  version: 1
  metrics: { [metric: string]: number[] }
}

function isKept(kept: unknown): kept is KeptBaseline {
  if (typeof kept !== 'object' || kept === null) return false
  const { version, metrics } = kept as Partial<KeptBaseline>
  if (version !== 1 || typeof metrics !== 'object' || metrics === null) return false
  return Object.values(metrics).every(
    (numbers) => Array.isArray(numbers) && numbers.every(Number.isFinite),
  )
}

/** Mean and population standard deviation. */
export function spreadOf(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, deviation: Math.sqrt(squares / values.length) }
}

export class Baseline {
  readonly #samples = new Map<WatchedMetric, { at: number; value: number }[]>()

  /** Keeps what there is of a sample; at most 20 000 of a metric, for at most 7 days. */
  add(sample: Sample, at: number): void {
    for (const metric of Object.keys(watched) as WatchedMetric[]) {
      const value = sample[metric]
      if (value === undefined || !Number.isFinite(value)) continue
      const kept = this.#samples.get(metric) ?? []
      this.#samples.set(metric, kept)
      kept.push({ at, value })
      const first = kept[0]
      const isOld = first !== undefined && at - first.at > windows[2][1]
      if (isOld || kept.length > samplesMax) kept.shift()
    }
  }

  /** All of it, as plain data: by metric, the moments and the values in turn. */
  kept(): KeptBaseline {
    const metrics = [...this.#samples].map(([metric, samples]): [string, number[]] => [
      metric,
      samples.flatMap(({ at, value }) => [at, value]),
    ])
    return { version: 1, metrics: Object.fromEntries(metrics) }
  }

  /**
   * Takes in what was kept, before its own samples; what is older than a week, from the future or
   * not to be understood is left out. Moments are those of one clock throughout.
   */
  recall(kept: unknown, at: number): void {
    if (!isKept(kept)) return
    for (const metric of Object.keys(watched) as WatchedMetric[]) {
      const numbers = kept.metrics[metric] ?? []
      const recalled: { at: number; value: number }[] = []
      for (let index = 0; index + 1 < numbers.length; index += 2) {
        const sample = { at: numbers[index] ?? 0, value: numbers[index + 1] ?? 0 }
        if (sample.at <= at && at - sample.at <= windows[2][1]) recalled.push(sample)
      }
      const all = [...recalled, ...(this.#samples.get(metric) ?? [])].slice(-samplesMax)
      if (all.length > 0) this.#samples.set(metric, all)
    }
  }

  /** What of a sample is not as usual; each metric once, by the window it stands out of most. */
  deviations(sample: Sample, at: number): Deviation[] {
    return (Object.keys(watched) as WatchedMetric[]).flatMap((metric) => {
      const value = sample[metric]
      if (value === undefined || !Number.isFinite(value)) return []
      const worst = windows
        .map(([window, ms]) => this.#deviation(metric, value, window, at - ms))
        .filter((each) => each !== undefined)
        .sort((a, b) => Math.abs(b.z) - Math.abs(a.z))[0]
      return worst === undefined ? [] : [worst]
    })
  }

  #deviation(
    metric: WatchedMetric,
    value: number,
    window: string,
    from: number,
  ): Deviation | undefined {
    const { bad, fallback } = watched[metric]
    const kept = this.#samples.get(metric) ?? []
    const values = kept.filter(({ at }) => at >= from).map((one) => one.value)
    const { mean, deviation } =
      values.length === 0 ? { mean: value, deviation: 0 } : spreadOf(values)
    if (values.length < samplesMin || deviation === 0) {
      const isBad = bad === 'low' ? value < fallback : value > fallback
      return isBad ? { metric, window, value, mean, z: 0, severity: 'warning' } : undefined
    }
    const z = (value - mean) / deviation
    const limit = bad === 'low' ? lowZ : highZ
    if (bad === 'low' ? z > limit : z < limit) return undefined
    const severity = Math.abs(z) >= Math.abs(limit) + errorZ ? 'error' : 'warning'
    return { metric, window, value, mean, z, severity }
  }
}
