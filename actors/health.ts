/**
 * Binds the watch over a node's health to its sensors: what they see becomes a report, which the
 * state of the system goes by; too much memory closes the intake, and then has a collection made.
 */
import { fromPromise } from 'xstate'
import type { HealthThresholds } from '../machines/health.ts'
import { type HealthReport, reportHealth } from '../machines/health-level.ts'
import {
  type HealthWatchEvent,
  healthWatchMachine,
  type SelfTest,
  type WaterMarks,
} from '../machines/health-watch.ts'
import type { Owned } from '../machines/service.ts'
import { isLive, type Tell } from './dead-letters.ts'
import { describeError } from './errors.ts'
import type { Clock, Log } from './ports.ts'
import type { HealthSensors } from './ports-health.ts'
import type { Shedding } from './shedding.ts'
import type { ChildSpec } from './supervisor.ts'

export interface HealthOptions {
  sensors: HealthSensors
  thresholds: HealthThresholds
  marks: WaterMarks
  shedding: Shedding
  /** A collection was asked for. */
  collected(): void
  /** Memory has become too much. */
  pressed(): void
  clock: Clock
  log: Log
  tell: Tell
}

/** As it is shown: `/v1/system`, field `health`. */
export interface HealthView extends HealthReport {
  /** What the sensors saw of a deliberate block at the start; not there before, or if it failed. */
  selfTest?: SelfTest
}

/** Between two looks. */
const lookMs = 1000
/** A self-test that takes longer has failed. */
const proveMs = 5000

export class Health {
  readonly #options: HealthOptions
  #proof: SelfTest | undefined

  constructor(options: HealthOptions) {
    this.#options = options
  }

  /** 0 to 1, 1 is best; undefined while too little is seen to tell. */
  get level(): number | undefined {
    return this.view().level
  }

  view(): HealthView {
    const { sensors, thresholds } = this.#options
    const { level, ...report } = reportHealth(sensors.read(), thresholds)
    return {
      ...report,
      score: Math.round(report.score * 100) / 100,
      ...(level === undefined ? {} : { level: Math.round(level * 1000) / 1000 }),
      ...(this.#proof === undefined ? {} : { selfTest: this.#proof }),
    }
  }

  spec(): ChildSpec {
    const { marks, sensors, shedding, log } = this.#options
    return {
      input: { marks },
      logic: healthWatchMachine.provide({
        actors: {
          prove: fromPromise<SelfTest, Owned>(({ signal }) => this.#prove(signal)),
          look: fromPromise<void, Owned>(({ input, signal }) => this.#look(input, signal)),
        },
        actions: {
          keepProof: (_, proof) => this.#keepProof(proof),
          shed: ({ event }) => {
            const reason = shortageOf(event, marks)
            shedding.set(reason)
            this.#options.pressed()
            log.warn({ ...marks }, reason)
          },
          letIn: ({ context: { bytes } }) => {
            shedding.set(undefined)
            log.info({ bytes }, 'this node has memory again, and takes work')
          },
          collect: () => {
            sensors.collect()
            this.#options.collected()
          },
        },
      }),
    }
  }

  async #prove(signal: AbortSignal): Promise<SelfTest> {
    const { sensors, clock } = this.#options
    const over = new AbortController()
    const late = clock.wait(proveMs, AbortSignal.any([signal, over.signal])).then((): SelfTest => {
      throw new Error(`it took more than ${proveMs / 1000} s`)
    })
    try {
      return await Promise.race([sensors.prove(), late])
    } catch (error) {
      if (!signal.aborted) {
        this.#options.log.warn(describeError(error), 'the sensors of health could not be tested')
      }
      throw error
    } finally {
      late.catch(() => undefined)
      over.abort()
    }
  }

  #keepProof(proof: SelfTest | undefined): void {
    this.#proof = proof
    if (proof === undefined) return
    const { coverage, sensors } = this.view()
    const blind = sensors.flatMap(({ name, state, note = state }) =>
      state === 'off' || state === 'blind' ? [`${name}: ${note}`] : [],
    )
    const { blockedMs, sawMs } = proof
    const fields = { blockedMs, sawMs, ...coverage, ...(blind.length > 0 ? { blind } : {}) }
    this.#options.log.info(fields, 'the sensors of health were tested by a deliberate block')
  }

  async #look({ owner }: Owned, signal: AbortSignal): Promise<void> {
    const { clock, sensors, tell } = this.#options
    for (;;) {
      await clock.tick(lookMs, signal)
      if (signal.aborted || !isLive(owner)) return
      sensors.look()
      const event: HealthWatchEvent = {
        type: 'health.looked',
        bytes: sensors.memoryBytes(),
        at: clock.monotonic(),
      }
      tell(owner, event)
    }
  }
}

function shortageOf(event: HealthWatchEvent, { highBytes, lowBytes }: WaterMarks): string {
  const bytes = event.type === 'health.looked' ? event.bytes : 0
  return (
    `this node holds ${mebibytes(bytes)} of memory, more than its high-water mark of ` +
    `${mebibytes(highBytes)}; it takes no new work until it holds less than ${mebibytes(lowBytes)}`
  )
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1_048_576)} MiB`
}
