/** How late the timers of a process run: what all its actors wait for while something blocks. */

/** Time between two looks, ms: a block is measured too short by so much at most. */
const intervalMs = 20
/** What stands still so long, ms, is an event of its own. */
const blockMs = 50
/** How far back quantiles look: longer than anybody lets pass between two scrapes. */
const windowMs = 60_000
const slices = 12
const sliceMs = windowMs / slices

interface Slice {
  until: number
  lagsMs: number[]
}

export interface LagSummary {
  /** Seconds, by quantile: 0.5, 0.9, 0.99 and 1. */
  quantiles: ReadonlyMap<number, number>
  count: number
  sumSeconds: number
}

export class LoopLag {
  readonly #monotonic: () => number
  readonly #onBlocked: (ms: number) => void
  #slices: Slice[] = []
  #count = 0
  #sumMs = 0
  /** Not yet taken by whoever sums them up elsewhere. */
  #fresh: number[] | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param monotonic ms @param onBlocked an event loop stood still for so many ms */
  constructor(monotonic: () => number, onBlocked: (ms: number) => void) {
    this.#monotonic = monotonic
    this.#onBlocked = onBlocked
  }

  /** @param collects whether `take` is going to be called */
  start({ collects }: { collects: boolean }): void {
    if (this.#timer !== undefined) return
    if (collects) this.#fresh = []
    this.#look(this.#monotonic() + intervalMs)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Lags since it was last asked, ms. */
  take(): number[] {
    if (this.#fresh === undefined) return []
    const taken = this.#fresh
    this.#fresh = []
    return taken
  }

  /** Lags that were measured in another process. */
  merge(lagsMs: readonly number[]): void {
    for (const lagMs of lagsMs) this.#keep(lagMs)
  }

  /** Undefined when nobody has measured. */
  summary(): LagSummary | undefined {
    if (this.#count === 0) return undefined
    this.#forget()
    const lags = Float64Array.from(this.#slices.flatMap(({ lagsMs }) => lagsMs)).sort()
    const at = (quantile: number) => {
      const index = Math.max(0, Math.ceil(quantile * lags.length) - 1)
      return (lags[index] ?? 0) / 1000
    }
    const quantiles = new Map([0.5, 0.9, 0.99, 1].map((quantile) => [quantile, at(quantile)]))
    return { quantiles, count: this.#count, sumSeconds: this.#sumMs / 1000 }
  }

  #look(due: number): void {
    this.#timer = setTimeout(() => {
      const now = this.#monotonic()
      const lagMs = Math.max(0, Math.round((now - due) * 1000) / 1000)
      this.#keep(lagMs)
      this.#fresh?.push(lagMs)
      if (lagMs >= blockMs) this.#onBlocked(lagMs)
      this.#look(now + intervalMs)
    }, intervalMs)
    this.#timer.unref()
  }

  #keep(lagMs: number): void {
    this.#count += 1
    this.#sumMs += lagMs
    const now = this.#monotonic()
    let slice = this.#slices.at(-1)
    if (slice === undefined || now >= slice.until) {
      slice = { until: now + sliceMs, lagsMs: [] }
      this.#slices.push(slice)
      this.#forget()
    }
    slice.lagsMs.push(lagMs)
  }

  #forget(): void {
    const now = this.#monotonic()
    this.#slices = this.#slices.filter(({ until }) => until + windowMs > now)
  }
}
