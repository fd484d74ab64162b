/**
 * The messages that an actor has received and not acknowledged yet, and whether they get on. One
 * that makes no progress for longer than its limit is overdue: whoever has it is hung.
 */
import { HungError } from './errors.ts'
import type { Clock } from './ports.ts'

/** A message that has made no progress within its limit. */
export interface Overdue {
  id: string
  limitMs: number
  /** Since it was received. */
  ageMs: number
  /** Since its last progress, pauses left out. */
  quietMs: number
}

export interface AtHandOptions {
  clock: Clock
  /** Told once; nothing is watched from then on. */
  onOverdue(overdue: Overdue): void
  /**
   * Whether something that messages need is away now: nothing is overdue then, and every limit is
   * counted anew from the look that found it away.
   */
  isAway?(): boolean
}

/**
 * Waking so much later than asked means that the whole process stood still: it was stopped, or
 * something blocked its event loop.
 */
const standstillMs = 1000

export class AtHand {
  readonly #options: AtHandOptions
  /** In order of arrival. */
  readonly #hands = new Set<Hand>()
  #wait: AbortController | undefined
  /** When the pending wait ends, on the monotonic clock; Infinity without one. */
  #wakeAt = Infinity
  #isOver = false

  constructor(options: AtHandOptions) {
    this.#options = options
  }

  /** When the oldest of them was received, in ms of the monotonic clock. */
  get oldestAt(): number | undefined {
    for (const hand of this.#hands) return hand.receivedAt
    return undefined
  }

  /**
   * A message was received.
   * @param limitMs how long it may be without progress
   */
  begin(id: string, limitMs: number): Hand {
    const hand = new Hand(id, limitMs, this.#options.clock, {
      resumed: () => this.#watch(hand),
      ended: () => this.#hands.delete(hand),
    })
    this.#hands.add(hand)
    this.#watch(hand)
    return hand
  }

  /** All of them got on: they are worked off together. */
  progress(): void {
    const now = this.#options.clock.monotonic()
    for (const hand of this.#hands) hand.progress(now)
  }

  /** Watch no longer. */
  close(): void {
    this.#isOver = true
    this.#wait?.abort()
  }

  // Progress only moves a deadline out, and an end leaves the wait as it is: one look at most in
  // the shortest limit, instead of a timer for each message.
  #watch(hand: Hand): void {
    if (hand.dueAt < this.#wakeAt) this.#wakeUpAt(hand.dueAt)
  }

  #wakeUpAt(dueAt: number): void {
    if (this.#isOver) return
    this.#wait?.abort()
    const wait = new AbortController()
    this.#wait = wait
    this.#wakeAt = dueAt
    const { clock } = this.#options
    void clock.wait(dueAt - clock.monotonic(), wait.signal).then(() => {
      if (!wait.signal.aborted) this.#look()
    })
  }

  #look(): void {
    const { clock, isAway, onOverdue } = this.#options
    const now = clock.monotonic()
    const stoodStill = now - this.#wakeAt > standstillMs
    this.#wakeAt = Infinity
    const overdue = this.#firstDueBy(now)
    if (overdue !== undefined) {
      // After a standstill nobody could get on, and what has come meanwhile is not read yet.
      if (!stoodStill && isAway?.() !== true) {
        this.close()
        onOverdue(overdue.overdueAt(now))
        return
      }
      this.progress()
    }
    let next = Infinity
    for (const hand of this.#hands) next = Math.min(next, hand.dueAt)
    if (next < Infinity) this.#wakeUpAt(next)
  }

  #firstDueBy(now: number): Hand | undefined {
    for (const hand of this.#hands) if (hand.dueAt <= now) return hand
    return undefined
  }
}

/** One message at hand. */
export class Hand {
  readonly id: string
  /** In ms of the monotonic clock. */
  readonly receivedAt: number
  readonly #limitMs: number
  readonly #clock: Clock
  readonly #told: { resumed(): void; ended(): void }
  /** From when on its limit is counted: its last progress, moved on by the pauses since. */
  #quietSince: number
  #pausedAt: number | undefined

  constructor(id: string, limitMs: number, clock: Clock, told: { resumed(): void; ended(): void }) {
    this.id = id
    this.#limitMs = limitMs
    this.#clock = clock
    this.#told = told
    this.receivedAt = clock.monotonic()
    this.#quietSince = this.receivedAt
  }

  /** When it is overdue unless it gets on; Infinity while its clock stands still. */
  get dueAt(): number {
    return this.#pausedAt === undefined ? this.#quietSince + this.#limitMs : Infinity
  }

  /**
   * Its limit is counted anew.
   * @param now the monotonic clock, for those who have just read it
   */
  progress(now: number = this.#clock.monotonic()): void {
    this.#quietSince = now
  }

  /** Its clock stands still: it waits for what is not its own. */
  pause(): void {
    this.#pausedAt ??= this.#clock.monotonic()
  }

  resume(): void {
    if (this.#pausedAt === undefined) return
    const now = this.#clock.monotonic()
    // It may have got on since it was paused.
    this.#quietSince = Math.min(now, this.#quietSince + now - this.#pausedAt)
    this.#pausedAt = undefined
    this.#told.resumed()
  }

  /** It is acknowledged, or given back. */
  end(): void {
    this.#told.ended()
  }

  overdueAt(now: number): Overdue {
    return {
      id: this.id,
      limitMs: this.#limitMs,
      ageMs: now - this.receivedAt,
      quietMs: now - this.#quietSince,
    }
  }
}

/** What an actor fails with that has an overdue message of this mailbox. */
export function hungError(mailbox: string, { id, limitMs, ageMs, quietMs }: Overdue): HungError {
  const [limit, age, quiet] = [limitMs, ageMs, quietMs].map((ms) => `${Math.round(ms)} ms`)
  return new HungError(
    `${mailbox}: message ${id}, received ${age} ago, has made no progress for ${quiet}, ` +
      `expected some within ${limit}; it is delivered again by a new life of its receiver`,
  )
}
