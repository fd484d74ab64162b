/** So many at a time: a counting semaphore, first come first served. */
export class Slots {
  #size: number
  #taken = 0
  /** Ends of waits, in the order in which they began. */
  readonly #waiting = new Set<() => void>()

  constructor(size: number) {
    this.#size = size
  }

  /**
   * A slot at once (undefined), or a promise of one. Whoever waits when the signal aborts gets one
   * beyond the size: to see that it is not wanted any more, and give it back.
   */
  take(signal?: AbortSignal): Promise<void> | undefined {
    if (this.#taken < this.#size || signal?.aborted === true) {
      this.#taken += 1
      return undefined
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    const end = () => {
      if (!this.#waiting.delete(end)) return
      signal?.removeEventListener('abort', end)
      this.#taken += 1
      resolve()
    }
    this.#waiting.add(end)
    signal?.addEventListener('abort', end, { once: true })
    return promise
  }

  give(): void {
    this.#taken -= 1
    this.#handOut()
  }

  /** Those that have one beyond a smaller size keep it until they give it back. */
  resize(size: number): void {
    this.#size = size
    this.#handOut()
  }

  #handOut(): void {
    for (const end of this.#waiting) {
      if (this.#taken >= this.#size) return
      end()
    }
  }
}
