/** When leaderships ended, as far as one node hears of it, and so how long nobody led. */
import type { LostReason } from '../machines/lease.ts'
import type { Clock } from './ports.ts'
import type { Leases } from './ports-fleet.ts'

/** Whoever counts leaderships. Called in the middle of things: it must not throw, and not wait. */
export interface LeaseObserver {
  /** The lease is held from now on; `lost` follows in any case. */
  held(name: string, epoch: number): void
  /**
   * The work has started.
   * @param failoverMs time since the leadership before ended, by release, loss or the end of its
   *   ttl; undefined when this node knows of none before
   */
  led(name: string, epoch: number, failoverMs: number | undefined): void
  lost(name: string, reason: LostReason): void
}

/**
 * One for a node: it outlives the actors that contend, so that a leadership that comes back to the
 * same node after a failure counts as well.
 */
export class Failovers {
  readonly #clock: Pick<Clock, 'monotonic'>
  /** Monotonic ms at which the latest leadership ends, or ended. Of those this node leads: none. */
  readonly #ends = new Map<string, number>()
  readonly #leading = new Set<string>()

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  /** The same port, listened to. */
  listen(name: string, leases: Leases): Leases {
    return {
      ...leases,
      acquire: async (...args) => {
        const acquired = await leases.acquire(...args)
        // It ends then, unless it is renewed; whoever waits will have asked again by then.
        if (!acquired.granted) this.#ends.set(name, this.#now() + acquired.heldForMs)
        return acquired
      },
      watch: (listener) =>
        leases.watch((freed) => {
          if (freed === name) this.#freed(name)
          listener(freed)
        }),
    }
  }

  /** This node no longer holds it. */
  ended(name: string): void {
    // Whoever never came to lead has ended nothing: nobody has led since the end before.
    if (this.#leading.delete(name) || !this.#ends.has(name)) this.#ends.set(name, this.#now())
  }

  /** This node leads from now on. How long nobody did, where a leadership before is known. */
  takenOver(name: string): number | undefined {
    const end = this.#ends.get(name)
    this.#ends.delete(name)
    this.#leading.add(name)
    return end === undefined ? undefined : Math.max(0, this.#now() - end)
  }

  #freed(name: string): void {
    // If it is this node's, its own loss follows, and counts.
    this.#ends.set(name, Math.min(this.#ends.get(name) ?? Number.POSITIVE_INFINITY, this.#now()))
  }

  #now(): number {
    return this.#clock.monotonic()
  }
}
