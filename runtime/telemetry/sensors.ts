/** What a node measures of itself to tell how well it is: the last seconds of it, and no longer. */
import { performance as nodePerformance } from 'node:perf_hooks'
import type { HealthSensors } from '../../actors/ports-health.ts'
import type { Measured } from '../../machines/health.ts'
import type { HealthSeen, Sensor } from '../../machines/health-level.ts'
import type { SelfTest } from '../../machines/health-watch.ts'
import { systemClock } from '../clock.ts'
import { unknownKind } from './blame.ts'
import { blockMs } from './loop-lag.ts'
import { type MetricName, metrics } from './names.ts'
import type { Telemetry } from './telemetry.ts'
import { quantileOf } from './vitals.ts'

export interface SensorOptions {
  telemetry: Telemetry
  windowMs: number
  /** Share of the window that the event loop may stand still before its delays count. */
  blockedShareMax: number
  /** Envelopes that its workers may have at hand. */
  envelopesMax: number
  /** High-water mark of memory; 0: none. */
  highWaterBytes: number
  redisSlowMs: number
  logQueueLimit: number
  /** Tasks at hand, and how long the most silent of its worker processes has said nothing, ms. */
  atHand(): { tasks: number; silentMs: number }
  /** Lines that wait to be written; undefined where there are no log files. */
  logDepth(): number | undefined
  /** How long Redis takes to answer, ms. Undefined: there is none, or it cannot be asked now. */
  askRedis(): Promise<number> | undefined
  collect(): void
}

/** Of cumulative counts at one time. */
interface Counts {
  /** Monotonic ms. */
  at: number
  started: number
  completed: number
  idle: readonly number[]
  wait: readonly number[]
  /** Seconds by kind. */
  held: ReadonlyMap<string, number>
}

const redisApartMs = 5000
const silentMs = 2000

export class NodeSensors implements HealthSensors {
  readonly #options: SensorOptions
  #counts: Counts[] = []
  #isProved = false
  #isBlockSeen = false
  #isUtilizationReal = false
  #redisMs: number | undefined
  #redisAt = Number.NEGATIVE_INFINITY
  #isAsking = false
  /** Most requests at a time since the look before this one. */
  #requests: { at: number; peak: number }[] = []

  constructor(options: SensorOptions) {
    this.#options = options
  }

  async prove(): Promise<SelfTest> {
    const before = utilization()
    const at = systemClock.now()
    const proof = await this.#options.telemetry.lag.prove()
    const after = utilization()
    this.#isUtilizationReal = before !== undefined && after !== undefined && after > before
    // The sensor is late by the block, less the time until its next look was due.
    this.#isProved = proof !== undefined && proof.sawMs >= proof.blockedMs / 2
    this.#isBlockSeen = proof !== undefined && proof.sawMs >= blockMs
    this.look()
    return { at, blockedMs: proof?.blockedMs ?? 0, sawMs: proof?.sawMs }
  }

  look(): void {
    const now = this.#now()
    const { windowMs, telemetry } = this.#options
    this.#counts.push(now)
    // The last one before the window is what is compared with.
    while ((this.#counts[1]?.at ?? Number.POSITIVE_INFINITY) <= now.at - windowMs) {
      this.#counts.shift()
    }
    this.#requests.push({ at: now.at, peak: telemetry.activeRequests })
    this.#requests = this.#requests.filter(({ at }) => at > now.at - windowMs)
    if (now.at - this.#redisAt >= redisApartMs) void this.#askRedis()
  }

  memoryBytes(): number {
    return process.memoryUsage.rss() + this.#options.telemetry.workersRssBytes
  }

  collect(): void {
    this.#options.collect()
  }

  /** Why Redis or the log are too slow, as sentences. */
  ailments(): string[] {
    const { redisSlowMs, logQueueLimit, logDepth } = this.#options
    const depth = logDepth() ?? 0
    const redisMs = this.#redisMs ?? 0
    return [
      ...(redisMs > redisSlowMs ? [`Redis takes ${(redisMs / 1000).toFixed(1)} s to answer`] : []),
      ...(depth > logQueueLimit ? [`${depth} lines wait to be written to the log`] : []),
    ]
  }

  read(): HealthSeen {
    const now = this.#now()
    const before = this.#counts[0] ?? now
    const { telemetry, windowMs, atHand } = this.#options
    const { tasks, silentMs: silence } = atHand()
    const standstill = this.#standing(silence, Math.min(windowMs, now.at - before.at))
    const idle = minus(now.idle, before.idle)
    const idleCount = countOf(idle)
    const measured: Measured = {
      eventLoopLagSeconds: standstill?.lagSeconds,
      blockingSeconds: standstill?.blockSeconds,
      blockingEvents: standstill?.count,
      queueWaitSeconds: idleCount === 0 ? 0 : (idle.at(-1) ?? 0) / idleCount,
      activeRequests: Math.max(telemetry.activeRequests, ...this.#requests.map(({ peak }) => peak)),
      // What its workers may have at hand is work; what is begun beyond that is a backlog.
      tasksStarted: Math.max(0, now.started - now.completed - this.#options.envelopesMax),
      tasksCompleted: 0,
    }
    const sensors = this.#sensors(now, before, standstill, tasks)
    return { measured: this.#isProved ? measured : withoutLoop(measured), sensors }
  }

  /** Who held the event loop in the window, the longest first. */
  culprits(): [kind: string, seconds: number][] {
    const now = this.#now()
    const before = this.#counts[0]?.held
    return [...now.held]
      .map(([kind, all]): [string, number] => [kind, all - (before?.get(kind) ?? 0)])
      .filter(([, seconds]) => seconds > 0)
      .toSorted(([, one], [, other]) => other - one)
  }

  /** Who held it longest and for how many seconds; undefined where that is not known. */
  culprit(): [kind: string, seconds: number] | undefined {
    const [first] = this.culprits()
    return first?.[0] === unknownKind ? undefined : first
  }

  /** How long tasks waited in the window: the 99th percentile, seconds. Undefined: none did. */
  waitP99(): number | undefined {
    const wait = minus(this.#now().wait, this.#counts[0]?.wait ?? [])
    if (countOf(wait) === 0) return undefined
    return quantileOf(0.99, metrics.muster_queue_wait_seconds.buckets, wait)
  }

  /** Share of the window in which an event loop of the node stood still. */
  blockedShare(): number {
    return this.#standing(this.#options.atHand().silentMs, this.#options.windowMs)?.share ?? 0
  }

  #standing(silence: number, ms: number): Standing | undefined {
    const { telemetry, blockedShareMax, windowMs } = this.#options
    const stood = telemetry.lag.standstill(ms)
    if (stood === undefined) return undefined
    let { count, sumMs, maxMs } = stood
    // A worker process that says nothing stands; only its event loop would keep it silent.
    if (silence > silentMs) {
      count += 1
      sumMs += silence
      maxMs = Math.max(maxMs, silence)
    }
    const share = Math.min(1, sumMs / windowMs)
    const counts = share >= blockedShareMax
    return {
      share,
      count,
      maxMs,
      lagSeconds: counts ? maxMs / 1000 : 0,
      blockSeconds: counts && count > 0 ? sumMs / count / 1000 : 0,
    }
  }

  #sensors(now: Counts, before: Counts, standing: Standing | undefined, tasks: number): Sensor[] {
    const { telemetry, highWaterBytes, redisSlowMs, logQueueLimit, logDepth } = this.#options
    const { blockedShareMax } = this.#options
    const seen = standing !== undefined
    const lagMs = (telemetry.lag.summary()?.quantiles.get(0.99) ?? 0) * 1000
    const depth = logDepth()
    const wait = this.waitP99() ?? 0
    const culprit = this.culprit()
    const blame = culprit === undefined ? {} : { note: `held by ${culprit[0]}` }
    const unproved = { state: 'blind', note: 'it did not see the block at the start' } as const
    return [
      seen && this.#isProved
        ? { name: 'loopDelay', state: 'proved', value: rounded(lagMs), unit: 'ms' }
        : { name: 'loopDelay', ...unproved },
      seen && this.#isBlockSeen
        ? {
            name: 'blocking',
            state: 'proved',
            value: rounded(standing.share),
            unit: 'share',
            limit: blockedShareMax,
            ...blame,
          }
        : { name: 'blocking', ...unproved },
      this.#isUtilizationReal
        ? { name: 'loopUtilization', state: 'proved' }
        : { name: 'loopUtilization', state: 'off', note: 'a stub on this runtime' },
      { name: 'queueWait', state: 'measuring', value: rounded(wait * 1000), unit: 'ms' },
      {
        name: 'backlog',
        state: 'measuring',
        value: Math.max(0, now.started - now.completed),
        unit: 'count',
        note: `${now.completed - before.completed} envelopes done in the window`,
      },
      { name: 'activeWork', state: 'measuring', value: tasks, unit: 'count' },
      { name: 'requests', state: 'measuring', value: telemetry.activeRequests, unit: 'count' },
      {
        name: 'memory',
        state: 'measuring',
        value: this.memoryBytes(),
        unit: 'bytes',
        ...(highWaterBytes > 0 ? { limit: highWaterBytes } : {}),
      },
      this.#redisMs === undefined
        ? { name: 'redisLatency', state: 'blind', note: 'Redis has not answered yet' }
        : {
            name: 'redisLatency',
            state: 'measuring',
            value: rounded(this.#redisMs),
            unit: 'ms',
            limit: redisSlowMs,
          },
      depth === undefined
        ? { name: 'logQueue', state: 'off', note: 'there are no log files' }
        : {
            name: 'logQueue',
            state: 'measuring',
            value: depth,
            unit: 'count',
            limit: logQueueLimit,
          },
    ]
  }

  async #askRedis(): Promise<void> {
    if (this.#isAsking) return
    const asked = this.#options.askRedis()
    if (asked === undefined) {
      this.#redisMs = undefined
      return
    }
    this.#isAsking = true
    try {
      this.#redisMs = await asked
    } catch {
      // That Redis is away is told by others; there is no latency to be had.
      this.#redisMs = undefined
    } finally {
      this.#isAsking = false
      this.#redisAt = systemClock.monotonic()
    }
  }

  #now(): Counts {
    const { tally } = this.#options.telemetry
    const total = (name: MetricName<'counter'>) => tally.seriesOf(name)[0]?.numbers[0] ?? 0
    const wait: number[] = []
    for (const { numbers } of tally.seriesOf('muster_queue_wait_seconds')) {
      numbers.forEach((number, index) => {
        wait[index] = (wait[index] ?? 0) + number
      })
    }
    return {
      at: systemClock.monotonic(),
      started: total('threadpool_tasks_started_total'),
      completed: total('threadpool_tasks_completed_total'),
      idle: [...(tally.seriesOf('muster_idle_wait_seconds')[0]?.numbers ?? [])],
      wait,
      held: new Map(
        tally
          .seriesOf('muster_loop_held_seconds')
          .map(({ labels, numbers }): [string, number] => [labels[0] ?? '', numbers.at(-1) ?? 0]),
      ),
    }
  }
}

interface Standing {
  share: number
  count: number
  maxMs: number
  lagSeconds: number
  blockSeconds: number
}

/** Of a sensor that was not proved nothing is believed. */
function withoutLoop(measured: Measured): Measured {
  return { ...measured, eventLoopLagSeconds: undefined, blockingSeconds: undefined }
}

function minus(now: readonly number[], before: readonly number[]): number[] {
  return now.map((number, index) => number - (before[index] ?? 0))
}

/** Of a tally's histogram: its last number is the sum. */
function countOf(numbers: readonly number[]): number {
  return numbers.slice(0, -1).reduce((all, one) => all + one, 0)
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}

/** How much the event loop has worked, as the runtime tells it; some only pretend to. */
function utilization(): number | undefined {
  try {
    return nodePerformance.eventLoopUtilization().active
  } catch {
    return undefined
  }
}
