/**
 * What lets the tasks of live runs into the mailboxes, each run within its window and all of them
 * in turn, and those that must wait into the spools.
 */
import { NotAcceptingError } from './errors.ts'
import { fitsWindow, inFlightOf, type LiveRun } from './live-run.ts'
import type { Clock } from './ports.ts'
import type { Headroom } from './ports-limits.ts'
import type { SpoolRoom } from './room.ts'
import type { Turns } from './turns.ts'

/** Window and hold of a run are looked at again after this long, should a word be lost, ms. */
const lookAgainMs = 1000

export interface GateOptions {
  clock: Clock
  headroom: Headroom
  turns: Turns
  spool: SpoolRoom
  /** Live runs at a time. */
  runsMax: number
  /** Most tasks all runs together may have in their spools. */
  spoolMax: number
  /** What a new run meets when there is no room. */
  whenFull: 'refuse' | 'wait'
  /** Aborted with this life of the dispatcher. */
  ended: AbortSignal
  /** Not ended, and not begun anew since. */
  isLive(live: LiveRun): boolean
  /** So many fewer tasks are in flight, over all runs. */
  settle(tasks: number): void
}

export class Gate {
  readonly #options: GateOptions

  constructor(options: GateOptions) {
    this.#options = options
  }

  /**
   * A new run with so many tasks, as far as that is known, beside those that are live.
   * @throws NotAcceptingError
   */
  refuseWhenFull(live: number, tasks = 1): void {
    const { runsMax, spoolMax, whenFull, headroom, spool } = this.#options
    // The answer is there when its first task is to be admitted.
    void headroom.look()
    if (live >= runsMax) {
      const message = `${runsMax} runs are live here, and that is the limit; try again later`
      throw new NotAcceptingError('full', message, 5000)
    }
    const shortage = headroom.shortage()
    if (whenFull === 'refuse' && shortage !== undefined) {
      throw new NotAcceptingError('full', `${shortage}; try again later`, 5000)
    }
    if (whenFull === 'refuse' && !spool.hasRoomFor(Math.max(tasks, 1))) {
      const waiting = `${spool.used} of at most ${spoolMax}`
      const message = `too many accepted tasks wait for their turn (${waiting}); try again later`
      throw new NotAcceptingError('full', message, 2000)
    }
  }

  /** What is new waits, and is not even spooled, while memory is short. */
  async admit(live: LiveRun, tasks: number, patienceMs?: number): Promise<boolean> {
    if (patienceMs !== undefined) await this.#options.headroom.look()
    if (patienceMs !== undefined && this.#options.headroom.shortage() !== undefined) return false
    const { clock } = this.#options
    const until = clock.monotonic() + (patienceMs ?? Number.POSITIVE_INFINITY)
    for (;;) {
      if (live.hold !== undefined || !this.#options.isLive(live)) return false
      const leftMs = Math.max(0, until - clock.monotonic())
      if (fitsWindow(live, tasks)) {
        const patience = patienceMs === undefined ? {} : { patienceMs: leftMs }
        const wanted = { ...patience, unwanted: live.stopped.signal }
        if (await this.#options.turns.offer(tasks, wanted, () => this.#takeTurn(live, tasks)))
          return true
        // Others of this very run may have filled its window meanwhile.
        if (fitsWindow(live, tasks)) return false
      } else {
        if (leftMs <= 0 || this.#options.ended.aborted) return false
        await this.#newsOf(live, leftMs)
      }
    }
  }

  async #newsOf(live: LiveRun, waitMs: number): Promise<void> {
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, live.ended.signal, this.#options.ended])
    await Promise.race([
      live.news.promise,
      this.#options.clock.wait(Math.min(waitMs, lookAgainMs), signal),
    ])
    over.abort()
  }

  /** A run's turn has come: its tasks count as dispatched, if they may still go out. */
  #takeTurn(live: LiveRun, tasks: number): boolean {
    const isLive = this.#options.isLive(live) && live.hold === undefined && fitsWindow(live, tasks)
    const before = inFlightOf(live)
    if (isLive) live.dispatched += tasks
    // With the turn they count as in flight already; some may be done long since.
    this.#options.settle(before + tasks - inFlightOf(live))
    return isLive
  }

  /** So many more tasks of a run, or fewer, are in flight, without a turn. */
  count(live: LiveRun, tasks: number): void {
    // A run that ended has given back all its turns.
    if (!this.#options.isLive(live)) return
    const before = inFlightOf(live)
    live.dispatched += tasks
    this.#options.settle(before - inFlightOf(live))
  }

  async takeSpoolRoom(live: LiveRun, tasks: number, signal: AbortSignal): Promise<void> {
    await this.#options.headroom.look()
    while (!this.#options.spool.hasRoomFor(tasks)) await this.#options.spool.fewer(signal)
    // In the same breath, or two that waited would take the same room.
    if (!this.#options.isLive(live)) return
    live.spooled += tasks
    this.#options.spool.count(tasks)
  }

  giveSpoolRoom(live: LiveRun, tasks: number): void {
    // A run that ended has given back all its room.
    if (!this.#options.isLive(live)) return
    live.spooled -= tasks
    this.#options.spool.count(-tasks)
  }
}
