/**
 * Counts bad outcomes by kind in windows that all nodes share, and opens and closes escalations by
 * them. Counting is a few additions here, once for a results envelope; what was counted goes to the
 * windows once a second. While they cannot be reached it is kept, each count with its time, looked
 * at for itself, and added to the windows later: in one step and once, whatever replies are lost.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import {
  type Escalation,
  type EscalationEvent,
  type EscalationPolicy,
  escalate,
  escalationMachine,
} from '../machines/escalation.ts'
import type { Outcome } from '../machines/outcome.ts'
import type { Owned } from '../machines/service.ts'
import { bucketOf, bucketsAt, sumOf, type WindowShape, widthOf } from '../machines/window.ts'
import type { Breaker } from './breaker.ts'
import { isLive, type Tell } from './dead-letters.ts'
import { describeError, UnavailableError } from './errors.ts'
import { freshOutcomes } from './fresh-outcomes.ts'
import type { Clock, Log } from './ports.ts'
import type { CountBatch, Escalations, WindowsReading } from './ports-escalations.ts'
import type { Settled, Settlement } from './ports-runs.ts'
import { resultsMetric } from './storm.ts'
import type { ChildSpec } from './supervisor.ts'

const failPrefix = 'fail:'
const badOutcomes: readonly Outcome[] = ['failed', 'timeout', 'dead']
/** What was counted goes to the windows so often, and they are looked at. */
const lookMs = 1000
/** Slots of a bucket by which a count is put in its place later. */
const slotsEach = 5

/** The metric of the bad outcomes of a kind. */
export function metricOf(kind: string): string {
  return failPrefix + kind
}

/** The kind whose bad outcomes a metric counts; undefined where it is none of those. */
export function kindOf(metric: string): string | undefined {
  return metric.startsWith(failPrefix) ? metric.slice(failPrefix.length) : undefined
}

export interface EscalationOptions {
  /** Nobody else ever counts under the same name. */
  source: string
  shape: WindowShape
  policy: EscalationPolicy
  /** Asked for at each use: the port is made anew when Redis was opened anew. */
  escalations(): Escalations
  breaker: Breaker
  /** An escalation was opened, by this node alone. */
  opened(metric: string): void
  /** Told after each look; undefined when the windows cannot be had. */
  looked?(reading: WindowsReading | undefined): void
  clock: Clock
  tell: Tell
  log: Log
}

/** So many, counted in a moment or soon after. */
interface Slot {
  metric: string
  /** Monotonic ms. */
  at: number
  count: number
}

/** With what was put since. */
type KnownWindows = WindowsReading & { escalations: Map<string, Escalation> }

interface SealedBatch extends Omit<CountBatch, 'counts'> {
  slots: Slot[]
}

export class EscalationCounter {
  readonly #options: EscalationOptions
  /** Not sealed yet, by metric and time. */
  #slots = new Map<string, Slot>()
  /** Sent, and not known to be counted. */
  #sealed: SealedBatch | undefined
  #batches = 0
  /** The windows when they were last known, and when that was by the monotonic clock. */
  #known: { reading: KnownWindows; since: number } | undefined
  /** Opened here while the others could not be told. */
  readonly #alone = new Map<string, Escalation>()
  #life = new AbortController()
  #looking = Promise.resolve()

  constructor(options: EscalationOptions) {
    this.#options = options
  }

  /**
   * The accounting has taken a settlement, and its rows are stored. For the middle of things: it
   * neither throws nor waits.
   */
  counted(kind: string, settlement?: Settlement, settled?: Settled): void {
    if (settlement === undefined || settled === undefined || settled.fresh === 0) return
    this.#add(resultsMetric, 1)
    const bad = badIn(settlement, settled)
    if (bad > 0) this.#add(metricOf(kind), bad)
  }

  /** Windows and escalations as they were last known, and what is known to be in them since. */
  last(): { reading: WindowsReading; atLeast: ReadonlyMap<string, number> } | undefined {
    if (this.#known === undefined && this.#alone.size === 0) return undefined
    const { reading } = this.#known ?? { reading: nothing }
    const escalations = new Map([...reading.escalations, ...this.#alone])
    const at = this.#now()
    return { reading: { at, windows: reading.windows, escalations }, atLeast: this.#atLeast(at) }
  }

  spec(): ChildSpec {
    return {
      logic: escalationMachine.provide({
        actors: {
          open: fromPromise<void, Owned>(async ({ input: { owner } }) => {
            this.#life = new AbortController()
            this.#looking = this.#lookAgainAndAgain(owner, this.#life.signal)
          }),
          close: fromPromise<void, Owned>(async () => {
            this.#life.abort()
            await this.#looking
            // What the collector counted last. Without an answer it is as lost as this process.
            await this.#look().catch(() => undefined)
          }),
        },
      }),
    }
  }

  async #lookAgainAndAgain(owner: AnyActorRef, signal: AbortSignal): Promise<void> {
    const { clock, tell, log } = this.#options
    const say = (event: EscalationEvent) => {
      if (isLive(owner)) tell(owner, event)
    }
    for (;;) {
      await clock.tick(lookMs, signal)
      // Taken out with its supervisor, nobody closes it.
      if (signal.aborted || !isLive(owner)) return
      try {
        const reading = await this.#look()
        say({ type: 'windows.known' })
        this.#options.looked?.(reading)
      } catch (error) {
        if (!(error instanceof UnavailableError)) {
          say({ type: 'service.failed', error })
          return
        }
        log.debug(describeError(error), 'the windows of escalations cannot be reached')
        say({ type: 'windows.unknown' })
        this.#options.looked?.(undefined)
        this.#decideAlone()
      }
    }
  }

  /** Takes to the windows what was counted here, and decides by what they hold. */
  async #look(): Promise<WindowsReading> {
    const { breaker, clock, escalations } = this.#options
    const sealed = this.#seal()
    const reading = await breaker.call(() => {
      const now = clock.monotonic()
      const counts = sealed.slots.map(({ metric, count, at }) => ({
        metric,
        count,
        ageMs: now - at,
      }))
      return escalations().count({ source: sealed.source, number: sealed.number, counts })
    })
    this.#sealed = undefined
    const own = { ...reading, escalations: new Map(reading.escalations) }
    this.#known = { reading: own, since: clock.monotonic() }
    const metrics = [
      ...reading.windows.keys(),
      ...reading.escalations.keys(),
      ...this.#alone.keys(),
    ]
    for (const metric of new Set(metrics)) await this.#decide(metric, reading)
    return reading
  }

  async #decide(metric: string, { at, windows, escalations }: WindowsReading): Promise<void> {
    if (kindOf(metric) === undefined) return
    const before = escalations.get(metric)
    const window = { at, count: sumOf(windows.get(metric) ?? []), isWhole: true }
    const own = this.#alone.get(metric)
    const isOpen = before !== undefined && before.state !== 'closed'
    // What was opened alone is told now, even when it is over already.
    const next =
      own !== undefined && !isOpen
        ? { ...own, version: (before?.version ?? 0) + 1 }
        : escalate(metric, before, window, this.#options.policy)
    if (next !== undefined) {
      const port = this.#options.escalations()
      if (!(await this.#options.breaker.call(() => port.put(next, before)))) return
      this.#known?.reading.escalations.set(metric, next)
      if (own === undefined) this.#tellChange(next, before)
    }
    this.#alone.delete(metric)
  }

  /** By what is surely in the windows: enough to open an escalation, never to close one. */
  #decideAlone(): void {
    const at = this.#now()
    for (const [metric, count] of this.#atLeast(at)) {
      if (kindOf(metric) === undefined) continue
      const before = this.#alone.get(metric) ?? this.#known?.reading.escalations.get(metric)
      const next = escalate(metric, before, { at, count, isWhole: false }, this.#options.policy)
      if (next === undefined) continue
      const isNew = before === undefined || before.state === 'closed'
      if (isNew || this.#alone.has(metric)) this.#alone.set(metric, next)
      if (isNew) this.#tellChange(next, before)
    }
  }

  #tellChange(next: Escalation, before: Escalation | undefined): void {
    const { log, opened, policy, shape } = this.#options
    const { metric, peak } = next
    if (next.state === 'closed') {
      log.info({ metric, peak }, 'an escalation is closed: its window has held little for a while')
    } else if (before === undefined || before.state === 'closed') {
      const fields = { metric, window: peak, threshold: policy.threshold, windowMs: shape.windowMs }
      log.warn(fields, `ESCALATION THRESHOLD BREACHED: window=${peak}; see: muster escalations`)
      opened(metric)
    }
  }

  #add(metric: string, count: number): void {
    const { clock, shape } = this.#options
    const at = clock.monotonic()
    const key = `${Math.floor((at * slotsEach) / widthOf(shape))} ${metric}`
    const slot = this.#slots.get(key)
    if (slot === undefined) this.#slots.set(key, { metric, at, count })
    else slot.count += count
  }

  /** A batch keeps its number until it is counted: one that was counted unheard counts once. */
  #seal(): SealedBatch {
    const { source, clock, shape } = this.#options
    if (this.#sealed !== undefined) return this.#sealed
    this.#batches += 1
    const inWindow = clock.monotonic() - shape.windowMs
    const slots = [...this.#slots.values()].filter(({ at }) => at > inWindow)
    this.#sealed = { source, number: this.#batches, slots }
    this.#slots = new Map()
    return this.#sealed
  }

  /** The time of the windows, as far as it is known here. */
  #now(): number {
    const { clock } = this.#options
    if (this.#known === undefined) return clock.now()
    return this.#known.reading.at + clock.monotonic() - this.#known.since
  }

  /** What the windows hold by now at least: what they held, and what was counted here since. */
  #atLeast(now: number): Map<string, number> {
    const { clock, shape } = this.#options
    const counts = new Map<string, Map<number, number>>()
    const add = (metric: string, at: number, count: number) => {
      const buckets = counts.get(metric) ?? new Map<number, number>()
      counts.set(metric, buckets)
      const bucket = bucketOf(shape, at)
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + count)
    }
    const { windows, at } = this.#known?.reading ?? nothing
    for (const [metric, buckets] of windows) {
      for (const [index, count] of buckets.entries()) {
        add(metric, at - (buckets.length - 1 - index) * widthOf(shape), count)
      }
    }
    const nowMonotonic = clock.monotonic()
    this.#forget(nowMonotonic - shape.windowMs)
    for (const slot of [...(this.#sealed?.slots ?? []), ...this.#slots.values()]) {
      add(slot.metric, now - (nowMonotonic - slot.at), slot.count)
    }
    return new Map(
      [...counts].map(([metric, each]) => [metric, sumOf(bucketsAt(shape, each, now))]),
    )
  }

  /** What has left every window need not be kept for it. */
  #forget(before: number): void {
    for (const [key, { at }] of this.#slots) if (at <= before) this.#slots.delete(key)
  }
}

const nothing: WindowsReading = { at: 0, windows: new Map(), escalations: new Map() }

/** Failed, timed out and died: what `--halt fail=X` counts. */
function badIn(settlement: Settlement, settled: Settled): number {
  const { outcomes } = settlement
  if (settled.outcomes !== undefined || settled.fresh !== outcomes.length) {
    const fresh = freshOutcomes(settlement, settled)
    return badOutcomes.reduce((sum, outcome) => sum + (fresh.get(outcome) ?? 0), 0)
  }
  // Nearly always all of them are fresh, and most are well.
  let bad = 0
  for (const outcome of outcomes) {
    if (outcome !== 'ok' && badOutcomes.includes(outcome)) bad += 1
  }
  return bad
}
