/** Progress of runs by push: one subscription to the accounting, any number of watchers. */
import type { Clock } from '../../actors/ports.ts'
import type { Accounting, Run, RunState } from '../../actors/ports-runs.ts'

/** A watcher hears of progress at most this often, ms; the end is told at once. */
const progressMs = 250

const finalStates: ReadonlySet<RunState> = new Set(['completed', 'cancelled', 'halted'])

export function isFinished(run: Run): boolean {
  return run.finishedAt !== undefined
}

export class RunFeed {
  readonly #accounting: Accounting
  readonly #clock: Clock
  readonly #watchers = new Map<string, Set<(isOver: boolean) => void>>()
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
      const isOver = notice !== undefined && finalStates.has(notice.state)
      for (const run of runs) for (const wake of this.#watchers.get(run) ?? []) wake(isOver)
    })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#unwatch?.()
    for (const watchers of this.#watchers.values()) for (const wake of watchers) wake(true)
  }

  /** The run now, then whenever it changed, until it is finished or the signal aborts. */
  async *follow(run: string, signal: AbortSignal): AsyncGenerator<Run> {
    let changed = Promise.withResolvers<void>()
    let over = new AbortController()
    const wake = (isOver: boolean) => {
      if (isOver) over.abort()
      changed.resolve()
    }
    const leave = () => wake(true)
    const watchers = this.#watchers.get(run) ?? new Set()
    this.#watchers.set(run, watchers)
    watchers.add(wake)
    signal.addEventListener('abort', leave, { once: true })
    try {
      while (!signal.aborted) {
        changed = Promise.withResolvers<void>()
        over = new AbortController()
        const progress = await this.#accounting.get(run)
        if (progress === undefined) return
        yield progress.run
        if (isFinished(progress.run)) return
        await changed.promise
        await this.#clock.wait(progressMs, over.signal)
      }
    } finally {
      watchers.delete(wake)
      if (watchers.size === 0) this.#watchers.delete(run)
    }
  }
}
