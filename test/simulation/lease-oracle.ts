/**
 * What must hold of leases at every moment, seen from outside: it knows the true time, what the
 * server did and what every computer believes.
 */
import type { Grant } from '../../actors/ports-fleet.ts'

/** Somebody who would say now, by his own clock, that he holds the lease. */
export interface Belief {
  computer: string
  grant: Grant
}

export class LeaseOracle {
  /** Grants that were made, and how often somebody came to hold the lease. */
  grants = 0
  tenures = 0
  #newest = 0
  #broken: string | undefined
  readonly #ownerOf = new Map<number, string>()
  readonly #ownersHeld = new Set<string>()
  readonly #lost = new Set<string>()
  /** When the server forgot a grant that was valid, or took it away: the holder hears it later. */
  readonly #voided = new Map<number, number>()
  /** The newest grants of times when the server lost its counter. */
  readonly #forgotten = new Set<number>()
  readonly #nowMs: () => number
  readonly #ttlMs: number

  constructor(nowMs: () => number, ttlMs: number) {
    this.#nowMs = nowMs
    this.#ttlMs = ttlMs
  }

  granted({ owner, epoch }: Grant): void {
    const known = this.#ownerOf.get(epoch)
    if (known === owner && epoch === this.#newest) return
    this.#demand(known === undefined, `epoch ${epoch} of ${known} was granted to ${owner} too`)
    const before = this.#newest
    this.#demand(epoch > before, `epoch ${epoch} was granted to ${owner} after ${before}`)
    this.#ownerOf.set(epoch, owner)
    this.#newest = epoch
    this.grants += 1
  }

  /** The server no longer knows of the grant, before its time. */
  voided(epoch: number | undefined): void {
    if (epoch !== undefined) this.#voided.set(epoch, this.#nowMs())
  }

  /** It may no longer know which grant was the newest. */
  forgot(): void {
    this.#forgotten.add(this.#newest)
  }

  held({ owner, epoch }: Grant): void {
    this.#demand(!this.#ownersHeld.has(owner), `${owner} came to hold the lease twice`)
    this.#demand(this.#ownerOf.get(epoch) === owner, `${owner} was never granted epoch ${epoch}`)
    this.#ownersHeld.add(owner)
    this.tenures += 1
  }

  lost({ owner }: Grant): void {
    this.#demand(this.#ownersHeld.has(owner), `${owner} lost a lease that it never held`)
    this.#demand(!this.#lost.has(owner), `${owner} lost a lease twice`)
    this.#lost.add(owner)
  }

  renewing({ owner, epoch }: Grant): void {
    this.#demand(!this.#lost.has(owner), `${owner} renews epoch ${epoch}, which it has lost`)
  }

  wrote(epoch: number): void {
    this.#demand(
      epoch === this.#newest,
      `a write at epoch ${epoch} was taken after ${this.#newest} was granted`,
    )
  }

  wasRefused(epoch: number): void {
    this.#demand(
      epoch !== this.#newest || this.#forgotten.has(epoch),
      `a write at epoch ${epoch}, the newest there is, was refused`,
    )
  }

  /**
   * After everything that happens.
   * @throws Error naming the moment and the first thing that was broken
   */
  look(beliefs: readonly Belief[]): void {
    const sound = beliefs.filter(({ grant }) => !this.#voided.has(grant.epoch))
    if (sound.length > 1) {
      const who = sound.map(({ computer, grant }) => `${computer} (epoch ${grant.epoch})`)
      this.#demand(false, `several hold the lease: ${who.join(' and ')}`)
    }
    for (const { computer, grant } of beliefs) {
      const sinceMs = this.#nowMs() - (this.#voided.get(grant.epoch) ?? this.#nowMs())
      this.#demand(
        sinceMs <= this.#ttlMs,
        `${computer} still believes in epoch ${grant.epoch}, taken from it ${sinceMs} ms ago`,
      )
    }
    this.#verdict()
  }

  leads(beliefs: readonly Belief[], when: string): void {
    this.#demand(beliefs.length === 1, `expected one leader ${when}, got ${beliefs.length}`)
    this.#verdict()
  }

  /** Thrown where it is found, it would be taken for an answer of the server. */
  #demand(holds: boolean, broken: string): void {
    if (!holds) this.#broken ??= `at ${this.#nowMs().toFixed(1)} ms: ${broken}`
  }

  #verdict(): void {
    if (this.#broken !== undefined) throw new Error(this.#broken)
  }
}
