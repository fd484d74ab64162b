/**
 * Since when a worker could have taken one more envelope. What waits while all hands are full waits
 * for want of workers, which is load; what waits beside a free hand says that its node is slow.
 */
import type { Clock } from './ports.ts'

export class FreeHands {
  readonly #hands: number
  readonly #clock: Pick<Clock, 'now'>
  #busy = 0
  /** Epoch ms, since when one has been free. */
  #freeSince: number

  constructor(hands: number, clock: Pick<Clock, 'now'>) {
    this.#hands = hands
    this.#clock = clock
    this.#freeSince = clock.now()
  }

  /** For how long something that was ready then has waited beside a free hand, ms. */
  idleMs(readyAt: number): number {
    if (this.#busy >= this.#hands) return 0
    return Math.max(0, this.#clock.now() - Math.max(readyAt, this.#freeSince))
  }

  take(): void {
    this.#busy += 1
  }

  give(): void {
    if (this.#busy === this.#hands) this.#freeSince = this.#clock.now()
    this.#busy -= 1
  }

  /** What was before does not count: it was not to take any. */
  anew(): void {
    this.#freeSince = this.#clock.now()
  }
}
