/**
 * The tasks of an envelope side by side, as many as there are slots. Where the executor takes tasks
 * ahead, one may follow another in its slot, as long as nobody else is next for it.
 */
import {
  type AttemptOptions,
  contextOf,
  followTask,
  heldBack,
  isExpired,
  type Job,
  runTask,
  tokenFor,
  type Work,
} from './attempt.ts'
import type { Limiter } from './limits.ts'
import type { ExecuteContext } from './ports.ts'
import type { Ending } from './settlement.ts'

/** Work without a pause may hold the event loop this long, ms. */
const breathAfterMs = 10
/** Tasks that end at once between two looks at the clock. */
const looksApart = 8

export type TogetherOptions = AttemptOptions & { limiter: Limiter }

/** @returns those that wait until their run goes on */
export async function runTogether(
  options: TogetherOptions,
  work: Work,
  jobs: readonly Job[],
): Promise<Job[]> {
  const { clock } = options
  const { hand } = work
  const side = new SideBySide(options, work)
  let breathed = clock.monotonic()
  let begun = 0
  for (const job of jobs) {
    const token = tokenFor(options, work, job)
    if (token !== undefined) await side.waitFor(token)
    if (side.isHeldBack(job)) continue
    const place = side.place(job)
    const isFollowing = place !== undefined && (await side.waitFor(place)) === 'follows'
    const state = isFollowing ? 'runs' : side.begin(job, place !== undefined)
    if (state === 'aborted') break
    if (state === 'held') continue
    begun += 1
    // To look at the clock takes as long as the smallest of tasks.
    if (begun % looksApart !== 0 && state === 'ended') continue
    const now = clock.monotonic()
    hand.progress(now)
    if (now - breathed > breathAfterMs) {
      await clock.breathe()
      breathed = clock.monotonic()
    }
  }
  await side.end()
  // Those that were given back come later than the ones behind them.
  return side.parked.toSorted((one, other) => one.seq - other.seq)
}

/** A slot that is had. */
interface Seat {
  /** In it: one that runs, and maybe one that follows. */
  tasks: number
  running: ExecuteContext
  /** It was tried to let one follow. */
  isTried: boolean
  next?: ExecuteContext
}

class SideBySide {
  readonly parked: Job[] = []
  readonly #options: TogetherOptions
  readonly #work: Work
  readonly #isFollowed: boolean
  readonly #running: Promise<void>[] = []
  /** Those that one may follow in, now or later. */
  readonly #seats = new Set<Seat>()
  #busy = 0
  #waiting = 0
  /** A slot was asked for, and did not come yet. */
  #hasAsked = false
  /** Whoever waits for it, or for somebody whom it may follow. */
  #wake: ((what: 'slot' | 'look') => void) | undefined

  constructor(options: TogetherOptions, work: Work) {
    this.#options = options
    this.#work = work
    this.#isFollowed = options.kind.executor.follow !== undefined
  }

  /** For something that others have now. */
  async waitFor<T>(something: Promise<T>): Promise<T> {
    this.#waiting += 1
    this.#watch()
    const got = await something
    this.#waiting -= 1
    this.#watch()
    return got
  }

  isHeldBack(job: Job): boolean {
    const { held: waits, delivery } = this.#work
    // Its run went on before all had heard that it is paused: nobody waits for a slot any more.
    const isAnew = waits.signal.aborted && !delivery.signal.aborted
    const held = heldBack(this.#options, this.#work, job) ?? (isAnew ? 'park' : undefined)
    if (held === 'park') this.parked.push(job)
    else if (held !== undefined) this.#work.settling.add(held)
    return held !== undefined
  }

  /** A slot at once (undefined), or a promise of one, or of a place behind one that runs. */
  place(job: Job): Promise<'slot' | 'follows'> | undefined {
    if (this.#isFollowed) return this.#asks() ? this.#placeOf(job) : undefined
    return this.#slot()?.then(() => 'slot')
  }

  /** It has its slot. */
  begin(job: Job, hasWaited: boolean): 'aborted' | 'held' | 'ended' | 'runs' {
    const state = this.#begin(job, hasWaited)
    if (!(state instanceof Promise)) return state
    this.#running.push(state)
    return 'runs'
  }

  async end(): Promise<void> {
    await Promise.all(this.#running)
  }

  #begin(job: Job, hasWaited: boolean): 'aborted' | 'held' | 'ended' | Promise<void> {
    const { delivery, slots, settling, envelope } = this.#work
    if (delivery.signal.aborted) {
      slots.give()
      return 'aborted'
    }
    if (hasWaited && this.isHeldBack(job)) {
      slots.give()
      return 'held'
    }
    const context = contextOf(this.#options, this.#work, job, envelope.attempt)
    const ending = runTask(this.#options, this.#work, job, context)
    if (!(ending instanceof Promise)) {
      settling.add(ending)
      slots.give()
      return 'ended'
    }
    const seat: Seat = { tasks: 1, running: context, isTried: false }
    if (this.#isFollowed) this.#seats.add(seat)
    this.#busy += 1
    this.#watch()
    return this.#settle(ending, seat)
  }

  #slot(stand = this.#work.stand): Promise<void> | undefined {
    return this.#work.slots.take(this.#work.held.signal, stand)
  }

  /** @returns false when it has one at once */
  #asks(): boolean {
    if (this.#hasAsked) return true
    const slot = this.#slot()
    if (slot === undefined) return false
    this.#hasAsked = true
    void slot.then(() => {
      this.#hasAsked = false
      // Whoever asked may follow somebody by now.
      if (!this.#tell('slot')) this.#work.slots.give()
    })
    return true
  }

  async #placeOf(job: Job): Promise<'slot' | 'follows'> {
    while (this.#asks()) {
      if (this.#follow(job)) return 'follows'
      const { promise, resolve } = Promise.withResolvers<'slot' | 'look'>()
      this.#wake = resolve
      if ((await promise) === 'slot') break
    }
    return 'slot'
  }

  /** @returns whether anybody waited for it */
  #tell(what: 'slot' | 'look'): boolean {
    const wake = this.#wake
    this.#wake = undefined
    wake?.(what)
    return wake !== undefined
  }

  async #settle(running: Promise<Ending>, seat: Seat): Promise<void> {
    this.#ended(await running)
    this.#leave(seat)
  }

  #ended(ending: Ending): void {
    this.#work.settling.add(ending)
    this.#busy -= 1
    this.#work.hand.progress()
    this.#watch()
  }

  #follow(job: Job): boolean {
    const { slots, stand, envelope } = this.#work
    if (!slots.goesTo(stand)) return false
    if (isExpired(this.#options, this.#work, job)) return false
    for (const seat of this.#seats) {
      if (seat.isTried) continue
      seat.isTried = true
      const context = contextOf(this.#options, this.#work, job, envelope.attempt)
      const ending = followTask(this.#options, this.#work, job, context, seat.running)
      if (ending === undefined) continue
      seat.tasks += 1
      seat.next = context
      this.#busy += 1
      this.#running.push(this.#settleFollowing(job, ending, seat))
      return true
    }
    return false
  }

  async #settleFollowing(
    job: Job,
    running: Promise<Ending | undefined>,
    seat: Seat,
  ): Promise<void> {
    const context = seat.next
    const ending = await running
    if (ending !== undefined) {
      this.#ended(ending)
      this.#leave(seat)
      return
    }
    this.#busy -= 1
    if (seat.next === context) delete seat.next
    this.#leave(seat)
    const { lane, rank } = this.#work.stand
    // Before all behind it in its envelope, and behind the envelopes before.
    const slot = this.#slot({ lane, rank: rank - 0.5 })
    if (slot !== undefined) await this.waitFor(slot)
    const begun = this.#begin(job, true)
    this.#tell('look')
    await begun
  }

  /** One in it has ended, or does not follow any more. */
  #leave(seat: Seat): void {
    seat.tasks -= 1
    if (seat.tasks === 0) {
      this.#seats.delete(seat)
      this.#work.slots.give()
    } else if (seat.next !== undefined) {
      seat.running = seat.next
      seat.isTried = false
      delete seat.next
      this.#tell('look')
    }
  }

  /** While none of its own tasks runs, others have the slots: that none is free is their fault. */
  #watch(): void {
    if (this.#waiting > 0 && this.#busy === 0) this.#work.hand.pause()
    else this.#work.hand.resume()
  }
}
