/**
 * Which kind of tasks held the event loop. What a handler does before it first waits is timed where
 * it is called; what it does later shows only as a block, and is laid to a kind, with a `?` behind
 * it, when nothing else was at hand.
 */
import { mailboxKind } from '../../actors/place.ts'
import { systemClock } from '../clock.ts'

/** Whom a block is laid to that nobody, or more than one, may have caused. */
export const unknownKind = 'unknown'
/** Timers tell of a block so long after its end, at most, ms. */
const slackMs = 40

export class Blame {
  readonly #lay: (kind: string, ms: number) => void
  readonly #monotonic: () => number
  /** Envelopes at hand, by kind. */
  readonly #atHand = new Map<string, number>()
  /** Monotonic ms of the end of the last one that is known. */
  #heldAt = Number.NEGATIVE_INFINITY

  constructor(
    lay: (kind: string, ms: number) => void,
    monotonic: () => number = () => systemClock.monotonic(),
  ) {
    this.#lay = lay
    this.#monotonic = monotonic
  }

  taken(mailbox: string): void {
    this.#count(mailbox, 1)
  }

  released(mailbox: string): void {
    this.#count(mailbox, -1)
  }

  /** It was seen who held the loop. */
  held(kind: string, ms: number): void {
    this.#heldAt = this.#monotonic()
    this.#lay(kind, ms)
  }

  /** The loop stood still until now. */
  blocked(ms: number): void {
    if (this.#heldAt >= this.#monotonic() - ms - slackMs) return
    const [only, ...others] = this.#atHand.keys()
    this.#lay(only !== undefined && others.length === 0 ? `${only}?` : unknownKind, ms)
  }

  #count(mailbox: string, more: number): void {
    const kind = mailboxKind(mailbox)?.kind ?? mailbox
    const count = (this.#atHand.get(kind) ?? 0) + more
    if (count > 0) this.#atHand.set(kind, count)
    else this.#atHand.delete(kind)
  }
}
