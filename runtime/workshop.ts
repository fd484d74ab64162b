/** What the workers of a process have in common. */
import { Holds } from '../actors/holds.ts'
import { type Limiter, limiter } from '../actors/limits.ts'
import { Paces } from '../actors/paces.ts'
import type { Log } from '../actors/ports.ts'
import { Quarantine } from '../actors/quarantine.ts'
import type { Config } from '../config/schema.ts'
import { systemClock } from './clock.ts'
import type { Ports } from './world.ts'

export interface WorkshopOptions {
  ports: Ports
  config: Config
  /** Told whether tasks run that may have taken their worker down before. */
  suspected(isSuspected: boolean): void
  log: Log
}

/** Of one opening of the world: what is opened anew has ports of its own. */
export class Workshop {
  readonly paces: Paces
  readonly holds: Holds
  readonly limiter: Limiter
  readonly quarantine: Quarantine

  constructor({ ports, config, suspected, log }: WorkshopOptions) {
    const { accounting, admission, limits } = ports
    this.paces = new Paces(admission, systemClock)
    this.holds = new Holds({ accounting, log })
    const policies = config.limits
    this.limiter = limiter({ limits, policies, clock: systemClock, random: Math.random, log })
    this.quarantine = new Quarantine(suspected)
  }
}
