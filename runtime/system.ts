/** The state of the system on this node: what it goes by, and what goes by it. */
import type { AnyActorRef } from 'xstate'
import { isLive } from '../actors/dead-letters.ts'
import { Diagnostics } from '../actors/diagnostics.ts'
import type { Log } from '../actors/ports.ts'
import type { BaselineStore } from '../actors/ports-health.ts'
import type { ChildSpec } from '../actors/supervisor.ts'
import { type System, system } from '../actors/system.ts'
import type { Throttle } from '../actors/throttle.ts'
import type { SupervisorContext } from '../machines/supervisor.ts'
import type { SystemMove } from '../machines/system.ts'
import type { SystemFacts, SystemPolicy } from '../machines/system-rules.ts'
import type { Shared } from './assembly.ts'
import { systemClock } from './clock.ts'
import type { NodeHealth } from './health.ts'
import type { SystemRoutesOptions } from './http/system.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { World } from './world.ts'

const hourMs = 3_600_000

export interface NodeSystemOptions {
  id: string
  /** As members know it. */
  memberId: string
  isPublic: boolean
  staleMs: number
  world: World
  /** Why results can neither be stored nor read now, or undefined. */
  storeTrouble(): string | undefined
  throttle: Throttle
  telemetry: Telemetry
  /** Aborted when the node begins to drain: what goes down then is not ill. */
  drain: AbortSignal
  shared(): Pick<Shared, 'tell'>
  /** The supervisor of all, once there is one. */
  root(): AnyActorRef | undefined
  audit(lines: string): Promise<void>
  health: Pick<NodeHealth, 'level' | 'because' | 'feels' | 'ailments' | 'view'>
  /** How long things have to last before the state follows them. */
  policy: SystemPolicy
  baselines: BaselineStore
  log: Log
}

export class NodeSystem {
  readonly #options: NodeSystemOptions
  readonly #diagnostics: Diagnostics
  /** Monotonic ms of the changes of the last hour. */
  readonly #moves: number[] = []
  #made: System | undefined
  #sampling = new AbortController()
  /** Tasks that ended before the last sample: all, and those that were ok. */
  #ended = { all: 0, ok: 0 }

  constructor(options: NodeSystemOptions) {
    this.#options = options
    const { memberId: node, world, telemetry, staleMs, log } = options
    this.#diagnostics = new Diagnostics({
      ports: () => world.ports,
      sensors: () => this.#sensors(),
      health: () => options.health.level(),
      because: () => options.health.because(),
      baselines: options.baselines,
      node,
      held: () => [...telemetry.leases].flatMap(([name, { isHeld }]) => (isHeld ? [name] : [])),
      staleMs,
      clock: systemClock,
      log,
    })
  }

  get system(): System {
    const { id, world, throttle, isPublic, log, audit, shared, policy } = this.#options
    this.#made ??= system({
      node: id,
      systemLog: () => world.ports.systemLog,
      audit,
      facts: () => this.#facts(),
      diagnose: (signal) => this.#diagnostics.diagnose(signal),
      feels: () => this.#options.health.feels(),
      throttle,
      hooks: [(move) => this.#count(move)],
      isPublic,
      newId: () => crypto.randomUUID(),
      policy,
      clock: systemClock,
      log,
      tell: (to, event) => shared().tell(to, event),
    })
    return this.#made
  }

  spec(): ChildSpec {
    // Of an earlier life.
    this.#sampling.abort()
    this.#sampling = new AbortController()
    if (this.#options.isPublic) void this.#diagnostics.watch(this.#sampling.signal)
    this.#options.drain.addEventListener('abort', () => this.#sampling.abort(), { once: true })
    return this.system.spec()
  }

  routes(): SystemRoutesOptions {
    const { world } = this.#options
    return {
      system: this.system,
      history: (query) => world.ports.systemLog.history(query),
      health: () => this.#options.health.view(),
    }
  }

  /** Why this node takes no work for its state. */
  unready(): string[] {
    // A node that drains has no state any more, and says that it drains.
    if (this.#options.drain.aborted) return []
    const { state, reason, actor } = this.system.view
    return state === 'PAUSED' ? [`PAUSED (${actor}: ${reason})`] : []
  }

  #facts(): SystemFacts {
    const { world, storeTrouble, telemetry, drain, health } = this.#options
    const { errors, warnings } = telemetry.alarms
    const trouble = world.trouble()
    const shortage = trouble === undefined ? world.ports.headroom.shortage() : undefined
    const down = drain.aborted ? [] : this.#down()
    const ailments = [trouble, storeTrouble(), shortage, ...health.ailments(), ...down]
    const view = health.view()
    return {
      ailments: ailments.filter((ailment) => ailment !== undefined),
      health: view?.level,
      because: health.because(view),
      errors,
      warnings,
    }
  }

  /** Which of its parts are not up. */
  #down(): string[] {
    const root = this.#options.root()
    if (root === undefined || !isLive(root)) return []
    const { context } = root.getSnapshot() as { context: SupervisorContext }
    return context.children
      .filter(({ id, status }) => id !== 'system' && status !== 'ready')
      .map(({ id, status }) => `${id} is ${status}`)
  }

  #count({ from, to }: SystemMove): void {
    const { tally, alarms } = this.#options.telemetry
    tally.add('muster_system_transitions_total', [from, to])
    alarms.clear()
    this.#moves.push(systemClock.monotonic())
  }

  #sensors() {
    const { telemetry } = this.#options
    const lag = telemetry.lag.summary()?.quantiles.get(0.99)
    const { queueWaitSeconds } = telemetry.vitals.measure()
    const from = systemClock.monotonic() - hourMs
    while ((this.#moves[0] ?? from) < from) this.#moves.shift()
    return {
      loopLagMs: lag === undefined ? undefined : lag * 1000,
      queueWaitMs: queueWaitSeconds === undefined ? undefined : queueWaitSeconds * 1000,
      transitionsPerHour: this.#moves.length,
      taskSuccess: this.#taskSuccess(),
    }
  }

  /** Of the tasks that ended since this was last asked; undefined when there were few. */
  #taskSuccess(): number | undefined {
    const now = { all: 0, ok: 0 }
    for (const { labels, numbers } of this.#options.telemetry.tally.seriesOf(
      'muster_tasks_total',
    )) {
      const [count = 0] = numbers
      now.all += count
      if (labels[1] === 'ok') now.ok += count
    }
    const all = now.all - this.#ended.all
    const ok = now.ok - this.#ended.ok
    if (all < 20) return undefined
    this.#ended = now
    return ok / all
  }
}
