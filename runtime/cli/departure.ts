/** Leaving a run that goes on: Ctrl-C, SIGTERM, or the end of our patience. */
import { exitCodes } from './exit.ts'

/** Thrown through whatever was being waited for. */
class Departed extends Error {
  readonly how: 'timeout' | 'detached'
  constructor(how: 'timeout' | 'detached') {
    super(`left: ${how}`)
    this.how = how
  }
}

/**
 * Under `node muster`, Ctrl-C reaches us twice: from the terminal and from the parent that passes
 * signals on. Only a signal after this long is somebody pressing it again.
 */
export const sameSignalMs = 250

export class Departure {
  readonly #controller = new AbortController()
  readonly #timer: ReturnType<typeof setTimeout> | undefined
  #signalledAt: number | undefined

  /** @param timeoutMs leave after this long */
  constructor(timeoutMs: number | undefined) {
    for (const signal of departureSignals) process.on(signal, this.#onSignal)
    if (timeoutMs !== undefined) {
      this.#timer = setTimeout(() => this.#leave('timeout'), timeoutMs)
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** How we left, when `error` is the departure. */
  static of(error: unknown): 'timeout' | 'detached' | undefined {
    return error instanceof Departed ? error.how : undefined
  }

  dispose(): void {
    clearTimeout(this.#timer)
    for (const signal of departureSignals) process.off(signal, this.#onSignal)
  }

  #leave(how: 'timeout' | 'detached'): void {
    this.#controller.abort(new Departed(how))
  }

  readonly #onSignal = () => {
    const now = performance.now()
    if (this.#signalledAt === undefined) {
      this.#signalledAt = now
      this.#leave('detached')
    } else if (now - this.#signalledAt > sameSignalMs) {
      process.exit(exitCodes.detached)
    }
  }
}

const departureSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
