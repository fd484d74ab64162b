/**
 * So many at a time: a counting semaphore. Those who wait stand in lanes, which take turns; within
 * a lane whoever ranks first is first, whenever it came.
 */

/** Where somebody waits. */
export interface Stand {
  lane: string
  /** The lowest of a lane goes first. */
  rank: number
}

interface Waiting {
  rank: number
  end(): void
}

export class Slots {
  #size: number
  #taken = 0
  #ranks = 0
  /** By rank each, none of them empty; the first lane is the next. */
  readonly #lanes = new Map<string, Waiting[]>()

  constructor(size: number) {
    this.#size = size
  }

  /** A place in a lane behind all that were given out before. */
  stand(lane: string): Stand {
    this.#ranks += 1
    return { lane, rank: this.#ranks }
  }

  /**
   * A slot at once (undefined), or a promise of one. Whoever waits when the signal aborts gets one
   * beyond the size: to see that it is not wanted any more, and give it back.
   * @param stand where it waits; without one, behind all others that have none
   */
  take(signal?: AbortSignal, { lane, rank }: Stand = this.stand('')): Promise<void> | undefined {
    if (this.#taken < this.#size || signal?.aborted === true) {
      this.#taken += 1
      return undefined
    }
    return this.#wait(lane, rank, signal)
  }

  // Apart, so that whoever gets one at once pays nothing for those who wait.
  #wait(lane: string, rank: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const onAbort = () => {
      this.#leave(lane, waiting)
      waiting.end()
    }
    const waiting: Waiting = {
      rank,
      end: () => {
        signal?.removeEventListener('abort', onAbort)
        this.#taken += 1
        resolve()
      },
    }
    this.#enter(lane, waiting)
    signal?.addEventListener('abort', onAbort, { once: true })
    return promise
  }

  give(): void {
    this.#taken -= 1
    this.#handOut()
  }

  /** Whether one that is given back now would go to whoever stands there. */
  goesTo({ lane, rank }: Stand): boolean {
    if (this.#taken > this.#size) return false
    if (this.#lanes.size === 0) return true
    const first = this.#lanes.size === 1 ? this.#lanes.get(lane)?.[0] : undefined
    return first !== undefined && first.rank >= rank
  }

  /** Those that have one beyond a smaller size keep it until they give it back. */
  resize(size: number): void {
    this.#size = size
    this.#handOut()
  }

  #enter(lane: string, waiting: Waiting): void {
    const others = this.#lanes.get(lane)
    if (others === undefined) {
      this.#lanes.set(lane, [waiting])
      return
    }
    const at = others.findIndex(({ rank }) => rank > waiting.rank)
    others.splice(at < 0 ? others.length : at, 0, waiting)
  }

  #leave(lane: string, waiting: Waiting): void {
    const left = this.#lanes.get(lane)?.filter((other) => other !== waiting) ?? []
    if (left.length === 0) this.#lanes.delete(lane)
    else this.#lanes.set(lane, left)
  }

  #handOut(): void {
    while (this.#taken < this.#size) {
      const [next] = this.#lanes
      if (next === undefined) return
      const [lane, waiting] = next
      this.#lanes.delete(lane)
      const first = waiting.shift()
      // Behind the other lanes.
      if (waiting.length > 0) this.#lanes.set(lane, waiting)
      first?.end()
    }
  }
}
