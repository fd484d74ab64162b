/** Progress of runs by push: one subscription to the accounting, any number of watchers. */
import type { Clock } from '../../actors/ports.ts'
import type { Accounting, Run } from '../../actors/ports-runs.ts'

/** A watcher hears of progress at most this often, ms; the end is told at once. */
const progressMs = 250

export function isFinished(run: Run): boolean {
  return run.finishedAt !== undefined
}

export class RunFeed {
  readonly #accounting: Accounting
  readonly #clock: Clock
  readonly #watchers = new Map<string, Set<() => void>>()
  readonly #closing = new AbortController()
  #unwatch: (() => Promise<void>) | undefined

  constructor(accounting: Accounting, clock: Clock) {
    this.#accounting = accounting
    this.#clock = clock
  }

  /** Aborted when nobody is told anything any more. */
  get closed(): AbortSignal {
    return this.#closing.signal
  }

  async open(): Promise<void> {
    this.#unwatch = await this.#accounting.watch((notice) => {
      const runs = notice === undefined ? [...this.#watchers.keys()] : [notice.run]
      for (const run of runs) for (const wake of this.#watchers.get(run) ?? []) wake()
    })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#unwatch?.()
    for (const watchers of this.#watchers.values()) for (const wake of watchers) wake()
  }

  /** The run now, then whenever it changed, until it is finished or the signal aborts. */
  async *follow(run: string, signal: AbortSignal): AsyncGenerator<Run> {
    let changed = Promise.withResolvers<void>()
    const wake = () => changed.resolve()
    const watchers = this.#watchers.get(run) ?? new Set()
    this.#watchers.set(run, watchers)
    watchers.add(wake)
    signal.addEventListener('abort', wake, { once: true })
    try {
      while (!signal.aborted) {
        changed = Promise.withResolvers<void>()
        const progress = await this.#accounting.get(run)
        if (progress === undefined) return
        yield progress.run
        if (isFinished(progress.run)) return
        await changed.promise
        await this.#clock.wait(progressMs, signal)
      }
    } finally {
      watchers.delete(wake)
      if (watchers.size === 0) this.#watchers.delete(run)
    }
  }
}
