/**
 * Which runs are held back (paused, cancelled, halted), as far as this process has heard: what a
 * worker asks before it starts a task. Told by push; asked for once, and again after a gap.
 */
import { ConflictError, describeError } from './errors.ts'
import type { Log } from './ports.ts'
import type { Accounting, Hold, RunAction, RunNotice } from './ports-runs.ts'

/** Whoever may be told of a change; returns nothing and does not throw. */
type Listener = (hold: Hold | undefined) => void

export function isStopped(hold: Hold | undefined): hold is Exclude<Hold, 'paused'> {
  return hold !== undefined && hold !== 'paused'
}

/** What is running is to be aborted. */
export function aborts(hold: Hold | undefined): boolean {
  return hold === 'cancelled' || hold === 'halted-now'
}

/** The action does not fit the state of the run. */
export function illegal(run: string, action: RunAction, state: string): ConflictError {
  const message = `run ${run}: cannot ${action} it, it is ${state}`
  return new ConflictError(message, 'ILLEGAL_TRANSITION')
}

export interface HoldsOptions {
  accounting: Pick<Accounting, 'holds' | 'watch'>
  log: Log
}

export class Holds {
  readonly #options: HoldsOptions
  #holds = new Map<string, Hold>()
  readonly #listeners = new Map<string, Set<Listener>>()
  #watching: Promise<unknown> | undefined
  #opening: Promise<void> | undefined
  /** Counts the questions: only the answer to the last one is believed. */
  #asked = 0
  /** The last question. */
  #asking: Promise<void> = Promise.resolve()
  /** Runs of which something was heard since the last question: the answer may be older. */
  readonly #heard = new Set<string>()

  constructor(options: HoldsOptions) {
    this.#options = options
  }

  /** Resolves when it is known what is held back. Again: at once. */
  async open(): Promise<void> {
    this.#opening ??= this.#openOnce()
    try {
      await this.#opening
    } catch (error) {
      this.#opening = undefined
      throw error
    }
  }

  async #openOnce(): Promise<void> {
    this.#watching ??= this.#options.accounting.watch((notice) => this.#notice(notice))
    try {
      await this.#watching
    } catch (error) {
      this.#watching = undefined
      throw error
    }
    await this.#ask()
  }

  of(run: string): Hold | undefined {
    return this.#holds.size === 0 ? undefined : this.#holds.get(run)
  }

  /** Calls the listener whenever what holds the run back changes; returns how to end that. */
  listen(run: string, listener: Listener): () => void {
    const listeners = this.#listeners.get(run) ?? new Set()
    this.#listeners.set(run, listeners)
    listeners.add(listener)
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.#listeners.get(run) === listeners) {
        this.#listeners.delete(run)
      }
    }
  }

  /** Ask anew: there may be news that have not come. */
  look(): Promise<void> {
    return this.#ask()
  }

  #notice(notice: RunNotice | undefined): void {
    if (notice === undefined) {
      void this.#askAgain()
      return
    }
    this.#heard.add(notice.run)
    const isOver = notice.state !== 'accepting' && notice.state !== 'running'
    this.#set(notice.run, isOver ? undefined : notice.hold)
  }

  #set(run: string, hold: Hold | undefined): void {
    if (this.#holds.get(run) === hold) return
    if (hold === undefined) this.#holds.delete(run)
    else this.#holds.set(run, hold)
    for (const listener of this.#listeners.get(run) ?? []) listener(hold)
  }

  async #askAgain(): Promise<void> {
    try {
      await this.#ask()
    } catch (error) {
      // The connection is lost again: then there is another notice to come.
      this.#options.log.warn(describeError(error), 'cannot ask which runs are held back')
    }
  }

  #ask(): Promise<void> {
    this.#asking = this.#askOnce()
    return this.#asking
  }

  async #askOnce(): Promise<void> {
    this.#asked += 1
    const question = this.#asked
    this.#heard.clear()
    const holds = await this.#options.accounting.holds()
    if (question !== this.#asked) return this.#asking
    const before = this.#holds
    for (const run of this.#heard) holds.delete(run)
    for (const run of before.keys()) {
      if (!holds.has(run) && !this.#heard.has(run)) this.#set(run, undefined)
    }
    for (const [run, hold] of holds) this.#set(run, hold)
  }
}
