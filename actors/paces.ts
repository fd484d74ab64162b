/** How long one task of each kind takes: a moving average, so that envelopes get the right size. */
import type { Admission, Clock } from './ports.ts'

/** Weight of the newest measurement. */
const alpha = 0.3
/** What is measured here is told to the other nodes this often. */
const publishMs = 1000

export class Paces {
  readonly #ms = new Map<string, number>()
  readonly #changed = new Map<string, number>()
  readonly #admission: Admission
  readonly #clock: Clock
  #publishedAt = Number.NEGATIVE_INFINITY

  constructor(admission: Admission, clock: Clock) {
    this.#admission = admission
    this.#clock = clock
  }

  /** Take over what other nodes have measured, where nothing was measured here. */
  async load(): Promise<void> {
    for (const [kind, ms] of Object.entries(await this.#admission.paces())) {
      if (!this.#changed.has(kind)) this.#ms.set(kind, ms)
    }
  }

  /** The same beside something else, which is not to fail for it. */
  async loadSoon(): Promise<void> {
    try {
      await this.load()
    } catch {
      // What is known already, or assumed, will do: envelopes are a little larger or smaller.
    }
  }

  /** Milliseconds of work in one task; `assumedMs` while nobody has measured it. */
  of(kind: string, assumedMs: number): number {
    return this.#ms.get(kind) ?? assumedMs
  }

  /** One envelope took `ms` of work a task. Publishes now and then; the promise is that. */
  async record(kind: string, ms: number): Promise<void> {
    const known = this.#ms.get(kind)
    const average = known === undefined ? ms : known * (1 - alpha) + ms * alpha
    this.#ms.set(kind, average)
    this.#changed.set(kind, average)
    const now = this.#clock.monotonic()
    if (now - this.#publishedAt < publishMs) return
    this.#publishedAt = now
    await this.#admission.recordPaces(Object.fromEntries(this.#changed))
  }
}
