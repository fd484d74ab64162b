/**
 * Who may run beside whom in this process: envelopes share it, and a task that is suspected of
 * having taken its worker down has it to itself. So if it does so again, nobody else is blamed.
 */
import type { Hand } from './at-hand.ts'

/** One of a process. Suspects come first: whoever else arrives waits until there is none. */
export class Quarantine {
  readonly #told: (isSuspected: boolean) => void
  #sharing = 0
  #isAlone = false
  readonly #waitingAlone: (() => void)[] = []
  readonly #waiting: (() => void)[] = []
  #suspects = 0

  /** @param told whether suspects run now; before the first of them runs, and after the last */
  constructor(told: (isSuspected: boolean) => void = () => undefined) {
    this.#told = told
  }

  /** A share at once (undefined), or a promise of one. */
  share(): Promise<void> | undefined {
    if (!this.#isAlone && this.#waitingAlone.length === 0) {
      this.#sharing += 1
      return undefined
    }
    return place(this.#waiting)
  }

  giveShare(): void {
    this.#sharing -= 1
    this.#next()
  }

  /** Everything, when the shares that are out have been given back. */
  takeAll(): Promise<void> {
    const wait = place(this.#waitingAlone)
    this.#next()
    return wait
  }

  giveAll(): void {
    this.#isAlone = false
    this.#next()
  }

  suspect(): void {
    this.#suspects += 1
    if (this.#suspects === 1) this.#told(true)
  }

  acquit(): void {
    this.#suspects -= 1
    if (this.#suspects === 0) this.#told(false)
  }

  #next(): void {
    if (this.#isAlone) return
    if (this.#waitingAlone.length === 0) {
      for (const enter of this.#waiting.splice(0)) {
        this.#sharing += 1
        enter()
      }
    } else if (this.#sharing === 0) {
      this.#isAlone = true
      this.#waitingAlone.shift()?.()
    }
  }
}

function place(queue: (() => void)[]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  queue.push(resolve)
  return promise
}

/** What one envelope has of its process. */
export class Stay {
  readonly #quarantine: Quarantine
  readonly #hand: Hand
  readonly #taken: AbortSignal
  #has: 'nothing' | 'share' | 'all' = 'nothing'
  #isSuspected = false

  /** @param taken aborted when the envelope is taken away: nobody waits for what is left of it */
  constructor(quarantine: Quarantine, hand: Hand, taken: AbortSignal) {
    this.#quarantine = quarantine
    this.#hand = hand
    this.#taken = taken
    taken.addEventListener('abort', () => this.end(), { once: true })
  }

  get isAlone(): boolean {
    return this.#has === 'all'
  }

  /** Waits until it may run beside others. */
  async together(): Promise<void> {
    if (this.#has === 'share') return
    this.#leave()
    const wait = this.#quarantine.share()
    if (wait !== undefined) await this.#await(wait)
    this.#entered('share')
  }

  /** Waits until nobody else runs; its own share would keep it from that for ever. */
  async alone(): Promise<void> {
    if (this.#has === 'all') return
    this.#leave()
    await this.#await(this.#quarantine.takeAll())
    this.#entered('all')
  }

  /** One of its tasks may have taken its worker down before. */
  suspect(): void {
    if (this.#isSuspected || this.#taken.aborted) return
    this.#isSuspected = true
    this.#quarantine.suspect()
  }

  end(): void {
    if (this.#isSuspected) this.#quarantine.acquit()
    this.#isSuspected = false
    this.#leave()
  }

  /** That others do not end is their fault. */
  async #await(wait: Promise<void>): Promise<void> {
    this.#hand.pause()
    await wait
    this.#hand.resume()
  }

  #entered(has: 'share' | 'all'): void {
    this.#has = has
    if (this.#taken.aborted) this.#leave()
  }

  #leave(): void {
    const had = this.#has
    this.#has = 'nothing'
    if (had === 'share') this.#quarantine.giveShare()
    else if (had === 'all') this.#quarantine.giveAll()
  }
}
