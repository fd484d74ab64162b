/**
 * Requests go out together, at the end of a turn of the event loop: one that goes out by itself
 * wakes whoever is to answer it, and to wake somebody takes longer than to write.
 */

/** So many do not wait for the end of the turn. */
const togetherMax = 32

export class Departures {
  #waiting: (() => void)[] = []

  add(send: () => void): void {
    const count = this.#waiting.push(send)
    if (count === 1) setImmediate(this.#flush)
    else if (count === togetherMax) this.#flush()
  }

  readonly #flush = () => {
    const leaving = this.#waiting
    this.#waiting = []
    for (const send of leaving) sendOne(send)
  }
}

/** What one of them throws keeps none of the others here. */
function sendOne(send: () => void): void {
  try {
    send()
  } catch (error) {
    reportError(error)
  }
}
