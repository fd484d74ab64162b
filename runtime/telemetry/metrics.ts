/**
 * What a node counts and reads, in the words of Prometheus. Numbers are kept by the tally; the
 * registry is made anew for each answer, so that what cannot be read now is missing and not old.
 */
import { Counter, Gauge, Histogram, type Metric, Registry, Summary } from 'prom-client'
import type { LagSummary } from './loop-lag.ts'
import { type MetricName, metrics } from './names.ts'
import type { Readings } from './readings.ts'
import type { Series, TalliedName } from './tally.ts'
import type { Telemetry } from './telemetry.ts'

/** The exposition text. */
export function metricsText(telemetry: Telemetry, readings: Readings): Promise<string> {
  const registry = new Registry()
  for (const name of Object.keys(metrics) as MetricName[]) {
    const metric = metricOf(name, telemetry, readings)
    if (metric !== undefined) registry.registerMetric(metric)
  }
  return registry.metrics()
}

interface Settings {
  name: MetricName
  help: string
  labelNames: readonly string[]
  registers: []
}

/**
 * Undefined when it cannot be read now. What has not happened yet is declared all the same, so that
 * a scraper knows of it beforehand.
 */
function metricOf(name: MetricName, telemetry: Telemetry, readings: Readings): Metric | undefined {
  const { type, help, labels } = metrics[name]
  const settings: Settings = { name, help, labelNames: labels, registers: [] }
  if (type === 'gauge') {
    const values = readings[name as MetricName<'gauge'>]
    return values === undefined ? undefined : fill(new Gauge(settings), settings, values)
  }
  if (type === 'summary') {
    const lag = telemetry.lag.summary()
    return lag === undefined ? undefined : new ReadySummary(settings, lag)
  }
  const series = telemetry.tally.seriesOf(name as TalliedName)
  if (type === 'histogram') return new ReadyHistogram(settings, series)
  const values = series.map((one) => [one.labels, one.numbers[0] ?? 0] as const)
  return fill(new Counter(settings), settings, values)
}

function fill<Filled extends Counter | Gauge>(
  metric: Filled,
  settings: Settings,
  values: readonly (readonly [labels: readonly string[], value: number])[],
): Filled {
  for (const [labels, value] of values) metric.inc(labelled(settings, labels), value)
  return metric
}

function labelled({ labelNames }: Settings, labels: readonly string[]): Record<string, string> {
  return Object.fromEntries(labelNames.map((name, index) => [name, labels[index] ?? '']))
}

/** One whose buckets are filled already: the library would have every observation one by one. */
class ReadyHistogram extends Histogram {
  readonly #settings: Settings
  readonly #series: readonly Series[]

  constructor(settings: Settings, series: readonly Series[]) {
    super(settings)
    this.#settings = settings
    this.#series = series
  }

  override async get(): ReturnType<Histogram['get']> {
    const empty = await new Histogram(this.#settings).get()
    return { ...empty, values: this.#series.flatMap((one) => this.#valuesOf(one)) }
  }

  /** What the library asks for instead where there is such a method. */
  getForPromString(): ReturnType<Histogram['get']> {
    return this.get()
  }

  #valuesOf({ name, labels, numbers }: Series) {
    const metric = metrics[name]
    const buckets: readonly number[] = metric.type === 'histogram' ? metric.buckets : []
    const own = labelled(this.#settings, labels)
    let count = 0
    const values = [...buckets.map(String), '+Inf'].map((le, index) => {
      count += numbers[index] ?? 0
      return { metricName: `${name}_bucket`, labels: { ...own, le }, value: count }
    })
    return [
      ...values,
      { metricName: `${name}_sum`, labels: own, value: numbers[buckets.length + 1] ?? 0 },
      { metricName: `${name}_count`, labels: own, value: count },
    ]
  }
}

/** One whose quantiles are known already, over all processes of the node. */
class ReadySummary extends Summary {
  readonly #lag: LagSummary

  constructor(settings: Settings, lag: LagSummary) {
    super(settings)
    this.#lag = lag
  }

  override async get(): ReturnType<Summary['get']> {
    const own = await super.get()
    const { quantiles, count, sumSeconds } = this.#lag
    const values = [...quantiles].map(([quantile, value]) => ({ labels: { quantile }, value }))
    return {
      ...own,
      values: [
        ...values,
        { metricName: `${own.name}_sum`, labels: {}, value: sumSeconds },
        { metricName: `${own.name}_count`, labels: {}, value: count },
      ],
    }
  }
}
