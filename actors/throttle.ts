/** With what share of its rate and its concurrency this process works: 0 is not at all. */
export class Throttle {
  readonly #listeners = new Set<(share: number) => void>()
  #share = 1

  get share(): number {
    return this.#share
  }

  set(share: number): void {
    if (share === this.#share) return
    this.#share = share
    for (const listener of this.#listeners) listener(share)
  }

  /** Called with each new share. Returns a function that ends it. */
  listen(listener: (share: number) => void): () => void {
    // Each its own, though the same function be given twice.
    const own = (share: number) => listener(share)
    this.#listeners.add(own)
    return () => {
      this.#listeners.delete(own)
    }
  }

  /** So many of that many, at least one unless nothing is to be done. */
  of(most: number): number {
    return this.#share === 0 ? 0 : Math.max(1, Math.floor(most * this.#share))
  }
}
