/** What of a node watches for too many bad outcomes, and for floods of results. */
import { Breaker } from '../actors/breaker.ts'
import { EscalationCounter } from '../actors/escalation.ts'
import type { EscalationListOptions } from '../actors/escalation-list.ts'
import { Storm, type StormSignal } from '../actors/storm.ts'
import { type ChildSpec, type NamedChild, supervisor } from '../actors/supervisor.ts'
import type { Config } from '../config/schema.ts'
import { stormPolicyFor } from '../machines/storm.ts'
import type { Shared } from './assembly.ts'
import { systemClock } from './clock.ts'
import type { World } from './world.ts'

/**
 * Results that may wait before that is a flood: as many as there are tasks in flight by default.
 * It does not go by `dispatcher.queueMax`, or a small one would make a flood of a trickle.
 */
const places = 20_000

export interface NodeEscalationOptions {
  /** Nobody else ever has the same. */
  source: string
  config: Config
  world: World
  shared(): Shared
  /** Whether work is let in here, and less of it in a storm. */
  leads: boolean
  /** An escalation was opened, by this node alone. */
  opened(metric: string): void
}

interface Parts {
  breaker: Breaker
  storm: Storm
  counter: EscalationCounter
}

export class NodeEscalation {
  readonly #options: NodeEscalationOptions
  /** Made with the first life, for it outlives all of them. */
  #parts: Parts | undefined

  constructor(options: NodeEscalationOptions) {
    this.#options = options
  }

  /** Counts what the collector has counted. */
  get counter(): EscalationCounter {
    return this.#partsOnce().counter
  }

  get storm(): StormSignal {
    return this.#partsOnce().storm
  }

  spec(): ChildSpec {
    const { breaker, storm, counter } = this.#partsOnce()
    const storms: NamedChild[] = [{ id: 'storm', spec: () => storm.spec() }]
    return supervisor({
      ...this.#options.shared(),
      id: 'escalation',
      children: [
        { id: 'breaker', spec: () => breaker.spec() },
        ...(this.#options.leads ? storms : []),
        { id: 'windows', spec: () => counter.spec() },
      ],
    })
  }

  /** For those who ask for escalations, which need no life of this. */
  list(): EscalationListOptions {
    const { config, world, shared } = this.#options
    const { windowMs, buckets, threshold } = config.escalation
    return {
      escalations: world.ports.escalations,
      ...(this.#parts === undefined ? {} : { counter: this.#parts.counter }),
      threshold,
      shape: { windowMs, buckets },
      log: shared().log,
    }
  }

  #partsOnce(): Parts {
    if (this.#parts !== undefined) return this.#parts
    const { source, config, world, shared, leads, opened } = this.#options
    const { windowMs, buckets, threshold } = config.escalation
    const { tell, random, log } = shared()
    const shape = { windowMs, buckets }
    const given = { shape, clock: systemClock, tell, log }
    const breaker = new Breaker({ name: 'the windows of escalations', random, tell })
    const storm = new Storm({
      ...given,
      policy: stormPolicyFor(places),
      places,
      mailboxes: () => world.ports.mailboxes,
    })
    const counter = new EscalationCounter({
      ...given,
      source,
      policy: { threshold, calmMs: windowMs / 2 },
      escalations: () => world.ports.escalations,
      breaker,
      opened,
      looked: (reading) => {
        if (leads) void storm.sample(reading)
      },
    })
    this.#parts = { breaker, storm, counter }
    return this.#parts
  }
}
