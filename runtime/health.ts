/** The health of a node: what it measures of itself, and what is made of it. */
import { totalmem } from 'node:os'
import { Health, type HealthView } from '../actors/health.ts'
import type { Kind } from '../actors/kind.ts'
import type { Heartbeat, Log } from '../actors/ports.ts'
import type { Headroom } from '../actors/ports-limits.ts'
import { Shedding } from '../actors/shedding.ts'
import type { ChildSpec } from '../actors/supervisor.ts'
import { silenceOf } from '../actors/tree.ts'
import type { Config } from '../config/schema.ts'
import { defaultThresholds, type HealthThresholds } from '../machines/health.ts'
import { type WaterMarks, waterMarks } from '../machines/health-watch.ts'
import type { Shared } from './assembly.ts'
import { systemClock } from './clock.ts'
import { NodeSensors } from './telemetry/sensors.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { World } from './world.ts'

export interface NodeHealthOptions {
  config: Config
  kinds: ReadonlyMap<string, Kind>
  telemetry: Telemetry
  world: World
  heartbeat(): Heartbeat
  /** Lines that wait to be written to the log files, where there are any. */
  logDepth(): number | undefined
  shared(): Pick<Shared, 'tell'>
  log: Log
}

export class NodeHealth {
  readonly #options: NodeHealthOptions
  readonly #shedding = new Shedding()
  readonly #sensors: NodeSensors
  readonly #health: Health
  #isWatching = false

  constructor(options: NodeHealthOptions) {
    this.#options = options
    const { config, telemetry, log, shared } = options
    const marks = marksOf(config.health)
    this.#sensors = this.#makeSensors(marks)
    this.#health = new Health({
      sensors: this.#sensors,
      thresholds: thresholdsOf(config.health),
      marks,
      shedding: this.#shedding,
      collected: () => telemetry.memoryHigh('collection'),
      pressed: () => telemetry.memoryHigh('high'),
      clock: systemClock,
      log,
      tell: (to, event) => shared().tell(to, event),
    })
  }

  spec(): ChildSpec {
    this.#isWatching = true
    return this.#health.spec()
  }

  /** Undefined while nobody watches: a node that nobody can find. */
  view(): HealthView | undefined {
    return this.#isWatching ? this.#health.view() : undefined
  }

  /** 0 to 1, 1 is best; undefined while that cannot be told. */
  level(): number | undefined {
    return this.#isWatching ? this.#health.level : undefined
  }

  /** What makes it low, as a phrase; undefined where nothing does. */
  because(view = this.view()): string | undefined {
    const because = view?.because ?? []
    if (because.length === 0) return undefined
    const culprit = this.#sensors.culprit()
    const held = culprit === undefined ? [] : [`held by ${culprit[0]} for ${tenths(culprit[1])} s`]
    return [...because, ...held].join(', ')
  }

  /** What it is like now, for people: how long tasks wait, and who holds the loop. */
  feels(): string | undefined {
    const wait = this.#sensors.waitP99()
    const share = this.#sensors.blockedShare()
    const culprit = this.#sensors.culprit()
    const by = culprit === undefined ? '' : `, held by ${culprit[0]}`
    const said = [
      ...(wait === undefined ? [] : [`queue wait p99 ${tenths(wait)} s`]),
      ...(share < 0.01 ? [] : [`event loop stood still ${Math.round(share * 100)} %${by}`]),
    ]
    return said.length === 0 ? undefined : said.join(', ')
  }

  /** What is wrong beside the score, as sentences. */
  ailments(): string[] {
    if (!this.#isWatching) return []
    const { reason } = this.#shedding
    return [...(reason === undefined ? [] : [reason]), ...this.#sensors.ailments()]
  }

  /** There is none while this node holds too much memory itself. */
  over(headroom: Headroom): Headroom {
    return this.#shedding.over(headroom)
  }

  #makeSensors(marks: WaterMarks): NodeSensors {
    const { config, telemetry, world, heartbeat, logDepth } = this.#options
    const { windowMs, blockedShareMax, redisSlowMs, logQueueShareMax } = config.health
    return new NodeSensors({
      telemetry,
      windowMs,
      blockedShareMax,
      redisSlowMs,
      logQueueLimit: Math.floor(config.log.queueMax * logQueueShareMax),
      highWaterBytes: marks.highBytes,
      envelopesMax: this.#envelopesMax(),
      atHand: () => {
        const beat = heartbeat()
        // Without worker processes there is nobody in the tree who could be silent.
        const silentMs = config.worker.processes > 0 ? silenceOf(beat.tree) : 0
        return { tasks: beat.load, silentMs }
      },
      logDepth,
      askRedis: () =>
        world.trouble() === undefined ? world.ports.inspection.latencyMs() : undefined,
      collect: () => Bun.gc(false),
    })
  }

  /** Each kind has a mailbox of its own, and ordered ones of one envelope each. */
  #envelopesMax(): number {
    const { config, kinds } = this.#options
    const processes = Math.max(1, config.worker.processes)
    const own = [...kinds.values()].reduce((sum, { concurrency }) => sum + concurrency, 0)
    return (own + kinds.size * config.mailbox.keyPartitions) * processes
  }
}

function thresholdsOf(health: Config['health']): HealthThresholds {
  const { degradedScore, criticalScore, collapseScore } = health
  return { ...defaultThresholds, degradedScore, criticalScore, collapseScore }
}

function marksOf(health: Config['health']): WaterMarks {
  const { highWaterBytes, highWaterShare, lowWaterShare, collectApartMs } = health
  const high = highWaterBytes > 0 ? highWaterBytes : Math.floor(memoryOfPlace() * highWaterShare)
  return waterMarks(high, lowWaterShare, collectApartMs)
}

/** What this process may have: of the machine, or of the cgroup where that has less. */
function memoryOfPlace(): number {
  const all = totalmem()
  const limit = process.constrainedMemory()
  return limit > 0 ? Math.min(all, limit) : all
}

function tenths(value: number): string {
  return value < 0.1 ? String(Math.round(value * 1000) / 1000) : value.toFixed(1)
}
