/** What one node counts of itself, its worker processes included, and shows at `GET /metrics`. */
import { Alarms } from '../../actors/alarms.ts'
import type { LeaseObserver } from '../../actors/failovers.ts'
import { freshOutcomes } from '../../actors/fresh-outcomes.ts'
import { reasonOf } from '../../actors/letters.ts'
import type { Meter } from '../../actors/meter.ts'
import { mailboxLabel } from '../../actors/place.ts'
import type { LogLevel, Mailboxes } from '../../actors/ports.ts'
import type { LogMeter } from '../../actors/ports-log.ts'
import type { Settled, Settlement } from '../../actors/ports-runs.ts'
import type { Outcome } from '../../machines/outcome.ts'
import type { PoolCounts } from '../../machines/pool-steps.ts'
import { systemClock } from '../clock.ts'
import { Blame } from './blame.ts'
import { ContainerMeter } from './containers.ts'
import { LoopLag } from './loop-lag.ts'
import type { MetricName } from './names.ts'
import type { Readings } from './readings.ts'
import { type Series, Tally } from './tally.ts'
import { VitalsWindow } from './vitals.ts'

/** What a worker process has counted since it last told its node. */
export interface Counted {
  series: Series[]
  lagsMs: number[]
  /** What it holds of the memory of the machine. */
  rssBytes?: number
  /** Its containers, as they are now. */
  containers?: PoolCounts
}

/** Takes what one life of a worker process has counted. */
export interface Inlet {
  merge(counted: Counted): void
  /** It is gone, and what it had at hand with it. */
  end(): void
}

const begunName = 'threadpool_tasks_started_total'
const doneName = 'threadpool_tasks_completed_total'

export class Telemetry implements Meter, LeaseObserver, LogMeter {
  readonly tally = new Tally()
  readonly containers = new ContainerMeter(this.tally)
  readonly lag = new LoopLag(
    () => systemClock.monotonic(),
    (ms) => this.#blocked(ms),
  )
  /** Of the log of this node, and of its worker processes. */
  readonly alarms = new Alarms(systemClock)
  /** By name: whether it is held, and its newest epoch here. */
  readonly leases = new Map<string, { isHeld: boolean; epoch?: number }>()
  readonly vitals = new VitalsWindow({
    tally: this.tally,
    lag: this.lag,
    peakRequests: (isLast) => this.#takePeak(isLast),
    monotonic: () => systemClock.monotonic(),
  })
  readonly #blame = new Blame((kind, ms) => {
    this.tally.observe('muster_loop_held_seconds', [kind], ms / 1000)
  })
  /** Of each living worker process. */
  readonly #rssBytes = new Map<Inlet, number>()
  #activeRequests = 0
  #peakRequests = 0

  /** What the worker processes of this node hold of the memory of the machine. */
  get workersRssBytes(): number {
    return [...this.#rssBytes.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  get activeRequests(): number {
    return this.#activeRequests
  }

  /** @param isTold what is counted is for the node of this worker process, which sums up */
  start(isTold: boolean): void {
    this.lag.start({ collects: isTold })
    if (!isTold) this.vitals.start()
  }

  stop(): void {
    this.lag.stop()
    this.vitals.stop()
  }

  /** The exposition text. The library is loaded when it is first asked for. */
  async text(readings: Readings): Promise<string> {
    const { metricsText } = await import('./metrics.ts')
    return metricsText(this, readings)
  }

  /** What was counted since this was last asked: for a process whose node counts for it. */
  take(): Counted {
    const rssBytes = process.memoryUsage.rss()
    const containers = this.containers.counts()
    return {
      series: this.tally.take(),
      lagsMs: this.lag.take(),
      rssBytes,
      ...(containers && { containers }),
    }
  }

  /** For one life of a worker process. */
  inlet(): Inlet {
    let atHand = 0
    let isOver = false
    const inlet: Inlet = {
      merge: ({ series, lagsMs, rssBytes, containers }) => {
        if (!isOver) this.containers.told(inlet, containers)
        if (rssBytes !== undefined && !isOver) this.#rssBytes.set(inlet, rssBytes)
        const begun = totalOf(series, begunName)
        atHand += begun - totalOf(series, doneName)
        // Its last word came after its end: what was at hand then is done with already.
        this.tally.merge(isOver ? series.filter(({ name }) => name !== doneName) : series)
        if (isOver) this.tally.add(doneName, [], begun)
        this.lag.merge(lagsMs)
      },
      end: () => {
        isOver = true
        // Else it would count as a backlog for ever.
        this.tally.add(doneName, [], atHand)
        this.#rssBytes.delete(inlet)
        this.containers.told(inlet, undefined)
      },
    }
    return inlet
  }

  taken(mailbox: string, tasks: number, waitedMs: number | undefined, idleMs?: number): void {
    this.tally.add(begunName, [])
    this.#blame.taken(mailbox)
    this.lag.taken()
    if (idleMs !== undefined) this.tally.observe('muster_idle_wait_seconds', [], idleMs / 1000)
    if (waitedMs === undefined) return
    const waited = Math.max(0, waitedMs) / 1000
    this.tally.observe('threadpool_queue_wait_seconds', [], waited)
    this.tally.observe('muster_queue_wait_seconds', [mailboxLabel(mailbox)], waited, tasks)
  }

  released(mailbox: string): void {
    this.tally.add(doneName, [])
    this.#blame.released(mailbox)
    this.lag.released()
  }

  heldLoop(kind: string, ms: number): void {
    this.#blame.held(kind, ms)
  }

  /** Memory of this node was too much, or a collection was asked for because of that. */
  memoryHigh(what: 'high' | 'collection'): void {
    const name =
      what === 'high' ? 'muster_memory_high_water_total' : 'muster_memory_collections_total'
    this.tally.add(name, [])
  }

  settled(...[mailbox, kind, endings, retried]: Parameters<Meter['settled']>): void {
    const observe = this.tally.observer('muster_task_duration_seconds', [kind])
    const attempts = { ok: 0, failed: 0, timeout: 0 }
    for (const { outcome, durationMs, execution } of endings) {
      if (hasRun(outcome)) {
        observe(durationMs / 1000)
        attempts[outcome] += 1
      } else if (outcome === 'dead') {
        const reason = reasonOf(execution.error?.code)
        this.tally.add('muster_deadletters_total', [mailboxLabel(mailbox), reason])
      }
    }
    for (const [outcome, count] of Object.entries(attempts)) {
      if (count > 0) this.tally.add('muster_attempts_total', [kind, outcome], count)
    }
    if (retried > 0) this.tally.add('muster_retries_total', [kind], retried)
  }

  counted(kind: string, settlement?: Settlement, settled?: Settled): void {
    if (settlement === undefined || settled === undefined) return
    for (const [outcome, tasks] of freshOutcomes(settlement, settled)) {
      if (tasks > 0) this.tally.add('muster_tasks_total', [kind, outcome], tasks)
    }
  }

  /** Too many bad outcomes: an escalation was opened. */
  escalated(metric: string): void {
    this.tally.add('muster_escalations_total', [metric])
  }

  routed(ms: number): void {
    this.tally.observe('muster_placement_seconds', [], ms / 1000)
  }

  aggregated(ms: number): void {
    this.tally.observe('muster_aggregation_seconds', [], ms / 1000)
  }

  refused(reason: string): void {
    this.tally.add('muster_admission_rejected_total', [reason])
  }

  restarted(supervisor: string, child: string): void {
    this.tally.add('muster_restarts_total', [supervisor === 'runs' ? 'run' : nameOf(child)])
  }

  undelivered(to: string, reason: string): void {
    this.tally.add('muster_deadletters_total', [nameOf(to), reason])
  }

  /** A line was left out of the log. */
  dropped(level: LogLevel): void {
    this.tally.add('muster_log_dropped_total', [level])
  }

  /** The lock on a message ended. */
  stalled(mailbox: string): void {
    this.tally.add('muster_stalled_total', [mailboxLabel(mailbox)])
  }

  /** This node is out for the lease. */
  contends(name: string): void {
    if (!this.leases.has(name)) this.leases.set(name, { isHeld: false })
  }

  held(name: string, epoch: number): void {
    this.leases.set(name, { isHeld: true, epoch })
  }

  led(name: string, _epoch: number, failoverMs: number | undefined): void {
    if (failoverMs === undefined) return
    this.tally.add('muster_failovers_total', [name])
    this.tally.observe('muster_failover_seconds', [], failoverMs / 1000)
  }

  lost(name: string): void {
    this.leases.set(name, { ...this.leases.get(name), isHeld: false })
  }

  /** Times a request until its answer begins. */
  async request(answer: () => Response | Promise<Response>): Promise<Response> {
    const began = systemClock.monotonic()
    this.#activeRequests += 1
    this.#peakRequests = Math.max(this.#peakRequests, this.#activeRequests)
    this.lag.taken()
    try {
      return await answer()
    } finally {
      this.#activeRequests -= 1
      this.lag.answered()
      const seconds = (systemClock.monotonic() - began) / 1000
      this.tally.observe('http_request_duration_seconds', [], seconds)
    }
  }

  /** The same port, with the time that sending takes. */
  timing(mailboxes: Mailboxes): Mailboxes {
    return {
      ...mailboxes,
      send: async (messages) => {
        const began = systemClock.monotonic()
        await mailboxes.send(messages)
        const seconds = (systemClock.monotonic() - began) / 1000
        this.tally.observe('muster_routing_seconds', [], seconds, messages.length)
      },
    }
  }

  #takePeak(isLast: boolean): number {
    const peak = this.#peakRequests
    if (isLast) this.#peakRequests = this.#activeRequests
    return peak
  }

  #blocked(ms: number): void {
    this.#blame.blocked(ms)
    this.tally.observe('muster_blocking_seconds', [], ms / 1000)
    this.tally.observe('blocking_duration_seconds', [], ms / 1000)
    this.tally.add('blocking_events_total', [])
  }
}

function totalOf(series: readonly Series[], name: MetricName<'counter'>): number {
  const of = series.filter((one) => one.name === name)
  return of.reduce((sum, { numbers }) => sum + (numbers[0] ?? 0), 0)
}

function hasRun(outcome: Outcome): outcome is 'ok' | 'failed' | 'timeout' {
  return outcome === 'ok' || outcome === 'failed' || outcome === 'timeout'
}

/** The name of an actor without what is new in each of its lives, runs and grants. */
function nameOf(actor: string): string {
  const id = actor.replace(/:\d+$/, '')
  if (/^r-[0-9a-z]{8,26}(\.\d+)?$/.test(id)) return 'run'
  return /^epoch-\d+$/.test(id) ? 'epoch' : id
}
