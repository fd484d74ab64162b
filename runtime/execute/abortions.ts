/**
 * Who wants to hear when a signal aborts, with one listener for each signal: of a thousand on one,
 * as the requests of an envelope would be, each new one is compared with all that are there.
 */
export class Abortions {
  readonly #listening = new WeakMap<AbortSignal, Set<() => void>>()

  /** Told at once where it is aborted already. */
  listen(signal: AbortSignal, told: () => void): void {
    if (signal.aborted) {
      told()
      return
    }
    let all = this.#listening.get(signal)
    if (all === undefined) {
      const those = new Set<() => void>()
      all = those
      this.#listening.set(signal, those)
      const tellAll = () => {
        for (const tell of those) tellOne(tell)
      }
      signal.addEventListener('abort', tellAll, { once: true })
    }
    all.add(told)
  }

  leave(signal: AbortSignal, told: () => void): void {
    this.#listening.get(signal)?.delete(told)
  }
}

/** What one of them throws keeps none of the others from hearing of it. */
function tellOne(told: () => void): void {
  try {
    told()
  } catch (error) {
    reportError(error)
  }
}
