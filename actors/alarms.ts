/** How many errors and warnings there were in the log of late. */
import type { Clock, Log, LogLevel } from './ports.ts'

/** More of them say no more. */
const keptMax = 100

export class Alarms {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #windowMs: number
  /** When each was logged, monotonic ms, oldest first. */
  readonly #times: Record<'warn' | 'error', number[]> = { warn: [], error: [] }

  constructor(clock: Pick<Clock, 'monotonic'>, windowMs = 60_000) {
    this.#clock = clock
    this.#windowMs = windowMs
  }

  count(level: LogLevel): void {
    if (level !== 'warn' && level !== 'error') return
    const times = this.#times[level]
    times.push(this.#clock.monotonic())
    if (times.length > keptMax) times.shift()
  }

  /** The same log, of which everything is counted. */
  counting<Counted extends Log>(log: Counted): Counted {
    const counted =
      (level: LogLevel): Log[LogLevel] =>
      (fields, message) => {
        this.count(level)
        log[level](fields, message)
      }
    return { ...log, warn: counted('warn'), error: counted('error') }
  }

  /** What was before is known, and counts no more. */
  clear(): void {
    this.#times.warn = []
    this.#times.error = []
  }

  get errors(): number {
    return this.#recent('error')
  }

  get warnings(): number {
    return this.#recent('warn')
  }

  #recent(level: 'warn' | 'error'): number {
    const from = this.#clock.monotonic() - this.#windowMs
    return this.#times[level].filter((time) => time > from).length
  }
}
