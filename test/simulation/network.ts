/**
 * The way between a computer and a server: messages are late, overtake each other, get lost on the
 * way there or back, and arrive twice.
 */
import { UnavailableError } from '../../actors/errors.ts'
import type { Random } from '../kit/random.ts'
import type { Computer } from './computer.ts'
import type { Timeline } from './timeline.ts'

/** Shares, 0…1, of all messages. */
export interface NetworkFaults {
  lost: number
  doubled: number
  /** Refused at once, and known to be. */
  refused: number
  /** Noticeably late. */
  late: number
  lateMaxMs: number
}

export const healthyMaxMs = 5

export class Network {
  /** Undefined: everything arrives, within `healthyMaxMs`. */
  faults: NetworkFaults | undefined
  /** Those who can neither send nor receive. */
  readonly cutOff = new Set<Computer>()
  readonly #timeline: Timeline
  readonly #random: Random
  #heals = 0

  constructor(timeline: Timeline, random: Random) {
    this.#timeline = timeline
    this.#random = random
  }

  /** From now on everything arrives; what was on its way never does. */
  heal(): void {
    this.faults = undefined
    this.cutOff.clear()
    this.#heals += 1
  }

  /** Asks the server, which answers by what `serve` does there and then. */
  call<T>(from: Computer, serve: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    if (this.#happens('refused')) {
      reject(new UnavailableError('connection refused'))
      return promise
    }
    const answer = (settle: () => void) => this.#carry(from, from.inThisLife(settle))
    const arrive = () => {
      serve().then(
        (value) => answer(() => resolve(value)),
        (error: unknown) => answer(() => reject(error)),
      )
    }
    for (let copies = this.#happens('doubled') ? 2 : 1; copies > 0; copies -= 1) {
      this.#carry(from, arrive)
    }
    return promise
  }

  /** Tells a computer something. */
  tell(to: Computer, hear: () => void): void {
    this.#carry(to, hear)
  }

  #carry(computer: Computer, arrive: () => void): void {
    if (this.cutOff.has(computer) || this.#happens('lost')) return
    const delayMs =
      this.faults !== undefined && this.#happens('late')
        ? this.#random.next() * this.faults.lateMaxMs
        : 1 + this.#random.next() * (healthyMaxMs - 1)
    const heals = this.#heals
    this.#timeline.after(delayMs, () => {
      if (heals === this.#heals) arrive()
    })
  }

  #happens(fault: 'lost' | 'doubled' | 'refused' | 'late'): boolean {
    return this.faults !== undefined && this.#random.chance(this.faults[fault])
  }
}
