/**
 * Binds the dispatcher: opens runs, keeps one actor for each live run, gives out turns, and hears
 * from the accounting what was settled, on whichever node.
 */
import { type AnyActorRef, assign, fromPromise, stopChild } from 'xstate'
import { dispatcherMachine } from '../machines/dispatcher.ts'
import type { Owned } from '../machines/service.ts'
import { describeError, NotAcceptingError } from './errors.ts'
import type { Paces } from './paces.ts'
import type { Run, RunNotice, RunProgress } from './ports.ts'
import { type LiveRun, type RunOptions, runLogic } from './run.ts'
import type { Source } from './source.ts'
import type { ChildSpec } from './supervisor.ts'

export interface DispatcherOptions
  extends Omit<RunOptions, 'admit' | 'release' | 'roomIn' | 'roomInSpool' | 'spooled'> {
  /** Names this node and boot in the runs it drives. */
  driver: string
  /** Whether the driver of an unfinished run is gone, so that its run is to be taken over. */
  isGone(driver: string): boolean
  rate: number
  burst: number
  inFlightMax: number
  /** Most tasks all runs together may have in their spools. */
  spoolMax: number
  /** Live runs at a time. */
  runsMax: number
  /** What a new run meets when there is no room. */
  whenFull: 'refuse' | 'wait'
  /**
   * This process was started to go on with what it finds: a run that was unfinished then is resumed
   * by its content even when it has finished since.
   */
  resumesLeftovers: boolean
  newRunId(): string
  paces: Paces
}

export interface Submission {
  source: Source
  /** Hash of the source's lines, where it is known before they are read. */
  content?: string
  reason?: string
  /** Tasks in the source, where that is known: refused at once when there is no room for all. */
  tasks?: number
  /** Called as soon as the run has a name; reading its source may go on for ever. */
  onOpen?(run: string): void
}

export interface Submitted {
  run: Run
  resumed: boolean
}

/** The dispatcher as others of this node use it. */
export interface Dispatcher {
  spec(): ChildSpec
  /**
   * Resolves when every line of the source is durable.
   * @throws NotAcceptingError when draining, or full and set to refuse
   */
  submit(submission: Submission): Promise<Submitted>
  /** Take no new runs from now on. */
  closeIntake(): void
  readonly accepting: boolean
}

/** When the mailbox's notice of room is lost, this is how soon it is looked at again, ms. */
const roomCheckMs = 1000

export function dispatcher(options: DispatcherOptions): Dispatcher {
  let life: Life | undefined

  const spec = (): ChildSpec => ({
    input: {
      bucket: { rate: options.rate, burst: options.burst },
      inFlightMax: options.inFlightMax,
      at: options.clock.monotonic(),
    },
    logic: dispatcherMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input }) => {
          life = new Life(options, input.owner)
          await life.open()
        }),
        close: fromPromise<void, Owned>(async () => life?.close()),
      },
      actions: {
        grant: (_, { id }) => life?.granted(id),
        awaitTokens: (_, { ms }) => life?.awaitTokens(ms),
        startRun: assign(({ spawn }, { run }) => {
          const live = life?.runs.get(run)
          if (life === undefined || live === undefined) return {}
          const child = spawn(
            runLogic(life.runOptions, live) as never,
            {
              id: run,
              input: {
                id: run,
                hasSource: live.source !== undefined,
                spooled: live.spooled > 0,
              },
            } as never,
          ) as unknown as AnyActorRef
          life.actors.set(run, child)
          child.subscribe({
            error: (error: unknown) =>
              options.log.error({ run, ...describeError(error) }, 'the actor of a run failed'),
          })
          return {}
        }),
        removeRun: stopChild((_, params) => params.run),
      },
    }),
  })

  return {
    spec,
    async submit(submission) {
      if (life === undefined || !life.accepting) {
        throw new NotAcceptingError('draining', 'this node is draining; try another one', 5000)
      }
      return life.submit(submission)
    },
    closeIntake: () => life?.closeIntake(),
    get accepting() {
      return life?.accepting ?? false
    },
  }
}

/** One life of the dispatcher: everything its actor holds beside its machine's context. */
class Life {
  readonly runs = new Map<string, LiveRun>()
  readonly actors = new Map<string, AnyActorRef>()
  readonly runOptions: RunOptions
  accepting = true
  readonly #options: DispatcherOptions
  readonly #self: AnyActorRef
  readonly #grants = new Map<number, (granted: boolean) => void>()
  readonly #room = new Map<string, Set<() => void>>()
  readonly #ended = new AbortController()
  #unwatch: (() => Promise<void>) | undefined
  #offers = 0
  /** Content of the runs that were unfinished when this life began. */
  readonly #leftovers = new Map<string, string>()
  readonly #spoolWaiters: (() => void)[] = []
  #spooled = 0
  #tokens = 0

  constructor(options: DispatcherOptions, self: AnyActorRef) {
    this.#options = options
    this.#self = self
    this.runOptions = {
      ...options,
      admit: (tasks, patienceMs) => this.#admit(tasks, patienceMs),
      release: (tasks) => this.#settle(tasks),
      roomIn: (mailbox) => this.#roomIn(mailbox),
      roomInSpool: (tasks, signal) => this.#roomInSpool(tasks, signal),
      spooled: (tasks) => this.#countSpooled(tasks),
    }
  }

  async open(): Promise<void> {
    this.#unwatch = await this.#options.accounting.watch((notice) => this.#notice(notice))
    for (const run of await this.#options.accounting.unfinished()) {
      const progress = await this.#options.accounting.get(run)
      if (progress?.content !== undefined && this.#options.resumesLeftovers) {
        this.#leftovers.set(progress.content, run)
      }
      if (progress === undefined || !this.#options.isGone(progress.driver)) continue
      const adopted = await this.#options.accounting.adopt(run, this.#options.driver)
      if (adopted !== undefined) this.#begin(adopted, undefined)
    }
  }

  async close(): Promise<void> {
    this.accepting = false
    this.#ended.abort(new NotAcceptingError('draining', 'this node is stopping', 5000))
    for (const resolve of this.#grants.values()) resolve(false)
    for (const waiters of this.#room.values()) for (const resolve of waiters) resolve()
    for (const [run, actor] of this.actors) {
      actor.send({ type: 'stop' })
      this.#self.send({ type: 'run.ended', run })
    }
    await this.#unwatch?.()
  }

  closeIntake(): void {
    this.accepting = false
    this.#self.send({ type: 'intake.closed' })
  }

  async submit(submission: Submission): Promise<Submitted> {
    const leftover = await this.#finishedLeftover(submission)
    if (leftover !== undefined) return { run: leftover, resumed: true }
    this.#refuseWhenFull(submission)
    await this.#options.paces.load()
    const { accounting, clock, driver, newRunId } = this.#options
    const opened = await accounting.open({
      id: newRunId(),
      createdAt: clock.now(),
      driver,
      ...(submission.content === undefined ? {} : { content: submission.content }),
      ...(submission.reason === undefined ? {} : { reason: submission.reason }),
    })
    const id = opened.progress.run.id
    submission.onOpen?.(id)
    const live = this.runs.get(id)
    if (live?.source !== undefined) {
      // Its first source is still being read here: this one adds nothing.
      await live.taken.promise
    } else if (!opened.progress.closed) {
      const progress = opened.resumed
        ? ((await accounting.adopt(id, driver)) ?? opened.progress)
        : opened.progress
      if (live !== undefined) this.#end(id)
      await this.#begin(progress, submission.source).taken.promise
    } else if (live === undefined && opened.progress.spooled > 0) {
      this.#begin((await accounting.adopt(id, driver)) ?? opened.progress, undefined)
    }
    const progress = (await accounting.get(id)) ?? opened.progress
    return { run: progress.run, resumed: opened.resumed }
  }

  async #finishedLeftover({ content, onOpen }: Submission): Promise<Run | undefined> {
    const id = content === undefined ? undefined : this.#leftovers.get(content)
    if (content === undefined || id === undefined) return undefined
    this.#leftovers.delete(content)
    const progress = await this.#options.accounting.get(id)
    if (progress?.run.finishedAt === undefined) return undefined
    onOpen?.(id)
    return progress.run
  }

  #refuseWhenFull({ tasks }: Submission): void {
    const { runsMax, spoolMax, whenFull } = this.#options
    if (this.runs.size >= runsMax) {
      const message = `${runsMax} runs are live on this node, and that is its limit; try again later`
      throw new NotAcceptingError('full', message, 5000)
    }
    const more = Math.max(tasks ?? 1, 1)
    if (whenFull === 'refuse' && this.#spooled > 0 && this.#spooled + more > spoolMax) {
      const message = `${this.#spooled} accepted tasks wait for their turn already, of at most ${spoolMax}; try again later`
      throw new NotAcceptingError('full', message, 2000)
    }
  }

  #begin(progress: RunProgress, source: Source | undefined): LiveRun {
    const { run } = progress
    const live: LiveRun = {
      id: run.id,
      lines: progress.lines,
      accepted: progress.accepted,
      spooled: progress.spooled,
      dispatched: progress.accepted - progress.spooled,
      done: run.total - run.counts.pending,
      taken: Promise.withResolvers<void>(),
      ...(source === undefined ? {} : { source: this.#until(source) }),
    }
    live.taken.promise.catch(() => undefined)
    this.runs.set(run.id, live)
    this.#countSpooled(live.spooled)
    this.#settle(live.done - live.dispatched)
    this.#self.send({ type: 'run.opened', run: run.id })
    return live
  }

  /** A source that ends in error when this life ends. */
  #until(source: Source): Source {
    const { signal } = this.#ended
    return async function* (afterLine) {
      for await (const piece of source(afterLine)) {
        signal.throwIfAborted()
        yield piece
      }
    }
  }

  #end(run: string): void {
    const live = this.runs.get(run)
    if (live === undefined) return
    this.runs.delete(run)
    this.#countSpooled(-live.spooled)
    this.#settle(live.dispatched - live.done)
    this.actors.get(run)?.send({ type: 'run.finished' })
    this.actors.delete(run)
    this.#self.send({ type: 'run.ended', run })
  }

  #notice(notice: RunNotice | undefined): void {
    if (notice === undefined) {
      // Notices may have been lost with the connection: ask for every live run.
      for (const run of this.runs.keys()) void this.#refresh(run)
      for (const mailbox of this.#room.keys()) this.#wake(mailbox)
      return
    }
    if (notice.mailbox !== undefined) this.#wake(notice.mailbox)
    this.#progress(notice.run, notice.done, notice.state)
  }

  async #refresh(run: string): Promise<void> {
    try {
      const progress = await this.#options.accounting.get(run)
      if (progress === undefined) return
      this.#progress(run, progress.run.total - progress.run.counts.pending, progress.run.state)
    } catch (error) {
      this.#options.log.warn({ run, ...describeError(error) }, 'cannot ask how a run stands')
    }
  }

  #progress(run: string, done: number, state: Run['state']): void {
    const live = this.runs.get(run)
    if (live === undefined) return
    if (done > live.done) {
      this.#settle(done - live.done)
      live.done = done
    }
    if (state === 'completed' || state === 'cancelled' || state === 'halted') this.#end(run)
  }

  #settle(tasks: number): void {
    if (tasks === 0) return
    this.#self.send({ type: 'tasks.settled', tasks, at: this.#options.clock.monotonic() })
  }

  #admit(tasks: number, patienceMs?: number): Promise<boolean> {
    if (this.#ended.signal.aborted) return Promise.resolve(false)
    this.#offers += 1
    const id = this.#offers
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#grants.set(id, resolve)
    const { clock } = this.#options
    this.#self.send({ type: 'tasks.offered', offer: { id, tasks }, at: clock.monotonic() })
    if (patienceMs !== undefined && this.#grants.has(id)) void this.#withdraw(id, patienceMs)
    return promise
  }

  async #withdraw(id: number, patienceMs: number): Promise<void> {
    await this.#options.clock.wait(patienceMs)
    const resolve = this.#grants.get(id)
    if (resolve === undefined) return
    this.#grants.delete(id)
    this.#self.send({ type: 'offer.withdrawn', id, at: this.#options.clock.monotonic() })
    resolve(false)
  }

  granted(id: number): void {
    const resolve = this.#grants.get(id)
    this.#grants.delete(id)
    resolve?.(true)
  }

  awaitTokens(ms: number): void {
    if (!Number.isFinite(ms)) return
    this.#tokens += 1
    const turn = this.#tokens
    const { clock } = this.#options
    void clock.wait(ms, this.#ended.signal).then(() => {
      if (turn !== this.#tokens || this.#ended.signal.aborted) return
      this.#self.send({ type: 'tokens.due', at: clock.monotonic() })
    })
  }

  async #roomIn(mailbox: string): Promise<void> {
    const waiters = this.#room.get(mailbox) ?? new Set()
    this.#room.set(mailbox, waiters)
    const { promise, resolve } = Promise.withResolvers<void>()
    waiters.add(resolve)
    await Promise.race([promise, this.#options.clock.wait(roomCheckMs, this.#ended.signal)])
    waiters.delete(resolve)
  }

  #countSpooled(tasks: number): void {
    this.#spooled += tasks
    if (tasks >= 0) return
    for (const wake of this.#spoolWaiters.splice(0)) wake()
  }

  async #roomInSpool(tasks: number, signal: AbortSignal): Promise<void> {
    // An empty spool takes any piece, or one that is larger than the spool would wait for ever.
    while (this.#spooled > 0 && this.#spooled + tasks > this.#options.spoolMax) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#spoolWaiters.push(resolve)
      signal.addEventListener('abort', () => resolve(), { once: true })
      await promise
      signal.throwIfAborted()
    }
  }

  #wake(mailbox: string): void {
    const waiters = this.#room.get(mailbox)
    this.#room.delete(mailbox)
    for (const resolve of waiters ?? []) resolve()
  }
}
