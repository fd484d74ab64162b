/** Nothing new is let in while this node itself has too little memory, whatever Redis has. */
import type { Headroom } from './ports-limits.ts'

export class Shedding {
  readonly #listeners = new Set<() => void>()
  #reason: string | undefined

  /** Why, while it is so. */
  get reason(): string | undefined {
    return this.#reason
  }

  set(reason: string | undefined): void {
    if (reason === this.#reason) return
    this.#reason = reason
    for (const listener of this.#listeners) listener()
  }

  /** The same headroom, which there is none of meanwhile. What was let in goes on as before. */
  over(headroom: Headroom): Headroom {
    return {
      shortage: () => this.#reason ?? headroom.shortage(),
      isScarce: () => headroom.isScarce(),
      look: () => headroom.look(),
      watch: (listener) => {
        // Each its own, though the same function be given twice.
        const own = () => listener()
        this.#listeners.add(own)
        const unwatch = headroom.watch(listener)
        return () => {
          this.#listeners.delete(own)
          unwatch()
        }
      },
    }
  }
}
