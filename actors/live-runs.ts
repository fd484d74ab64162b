/**
 * The live runs of a dispatcher: opens and resumes them, has an actor started for each, and hears
 * from the accounting what was settled, on whichever node.
 */
import type { AnyActorRef } from 'xstate'
import type { SupervisorPolicy } from '../machines/supervision.ts'
import { describeError, NotAcceptingError, UnavailableError } from './errors.ts'
import type { Paces } from './paces.ts'
import type { Run, RunNotice, RunProgress } from './ports.ts'
import type { FencingToken } from './ports-fleet.ts'
import { MailboxRoom, SpoolRoom } from './room.ts'
import { interrupted, type LiveRun, type RunOptions, runLogic } from './run.ts'
import type { Source } from './source.ts'
import { type ChildSpec, hasChild, planOf } from './supervisor.ts'
import { Turns } from './turns.ts'

export interface LiveRunsOptions
  extends Omit<RunOptions, 'admit' | 'release' | 'roomIn' | 'takeSpoolRoom' | 'giveSpoolRoom'> {
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
  /** Of the supervisor of the runs' actors: dynamic, with places enough for `runsMax`. */
  runsPolicy: SupervisorPolicy
}

export interface Submission {
  source: Source
  /** Hash of the source's lines, where it is known before they are read. */
  content?: string
  reason?: string
  /** In whose name its tasks run; refused by the workers once somebody else leads. */
  fence?: FencingToken
  /** Tasks in the source, where that is known: refused at once when there is no room for all. */
  tasks?: number
  /** Called as soon as the run has a name; reading its source may go on for ever. */
  onOpen?(run: string): void
}

export interface Submitted {
  run: Run
  resumed: boolean
}

/** One life of the dispatcher: everything its actor holds beside its machine's context. */
export class LiveRuns {
  readonly #runs = new Map<string, LiveRun>()
  /** By the name of their actors. */
  readonly #actors = new Map<string, LiveRun>()
  readonly #runOptions: RunOptions
  readonly turns: Turns
  accepting = true
  readonly #options: LiveRunsOptions
  readonly #self: AnyActorRef
  /** The supervisor of the runs' actors. */
  readonly #supervisor: AnyActorRef
  readonly #ended = new AbortController()
  readonly #spool: SpoolRoom
  readonly #room: MailboxRoom
  #unwatch: (() => Promise<void>) | undefined
  /** Content of the runs that were unfinished when this life began. */
  readonly #leftovers = new Map<string, string>()

  constructor(options: LiveRunsOptions, self: AnyActorRef, supervisor: AnyActorRef) {
    this.#options = options
    this.#self = self
    this.#supervisor = supervisor
    this.turns = new Turns(self, options.tell, options.clock, this.#ended.signal)
    this.#spool = new SpoolRoom(options.spoolMax)
    this.#room = new MailboxRoom(options.clock, this.#ended.signal)
    this.#runOptions = {
      ...options,
      admit: (live, tasks, patienceMs) =>
        this.turns.offer(tasks, patienceMs, () => this.#takeTurn(live, tasks)),
      release: (live, tasks) => this.#release(live, tasks),
      roomIn: (mailbox) => this.#room.more(mailbox),
      takeSpoolRoom: (live, tasks, signal) => this.#takeSpoolRoom(live, tasks, signal),
      giveSpoolRoom: (live, tasks) => this.#giveSpoolRoom(live, tasks),
    }
  }

  async open(): Promise<void> {
    this.#unwatch = await this.#options.accounting.watch((notice) => this.#notice(notice))
    if (this.#ended.signal.aborted) await this.#unwatch()
    for (const run of await this.#options.accounting.unfinished()) {
      if (this.#ended.signal.aborted) return
      const progress = await this.#options.accounting.get(run)
      if (progress?.content !== undefined && this.#options.resumesLeftovers) {
        this.#leftovers.set(progress.content, run)
      }
      const { driver, isGone } = this.#options
      // What this very node drove was driven by an earlier life.
      if (progress === undefined || !(progress.driver === driver || isGone(progress.driver)))
        continue
      const adopted = await this.#options.accounting.adopt(run, driver)
      if (this.#ended.signal.aborted) return
      if (adopted !== undefined) this.#begin(adopted, undefined)
    }
  }

  /** @param reason told to whoever waits for this life */
  async close(reason: Error): Promise<void> {
    this.accepting = false
    this.#ended.abort(reason)
    // Whoever waits for the end of a source that says nothing would wait for ever.
    for (const { taken } of this.#runs.values()) taken.reject(reason)
    this.turns.refuseAll()
    this.#room.wakeAll()
    await this.#unwatch?.()
  }

  /** @throws the reason why it was closed */
  refuseWhenClosed(): void {
    this.#ended.signal.throwIfAborted()
  }

  closeIntake(): void {
    this.accepting = false
    this.#options.tell(this.#self, { type: 'intake.closed' })
  }

  /** How the actor of a live run comes to life. */
  specOf(actor: string): ChildSpec {
    const live = this.#actors.get(actor)
    if (live === undefined) throw new Error(`expected the actor of a live run, got ${actor}`)
    if (live.begun && live.source !== undefined) {
      // Nobody can tell how much of it the earlier life has read.
      delete live.source
      live.taken.reject(new UnavailableError(`run ${live.id}: ${interrupted}`))
    }
    live.begun = true
    const { id, source, spooled } = live
    return {
      logic: runLogic(this.#runOptions, live),
      input: { id, hasSource: source !== undefined, spooled: spooled > 0 },
    }
  }

  async submit(submission: Submission): Promise<Submitted> {
    const leftover = await this.#finishedLeftover(submission)
    if (leftover !== undefined) return { run: leftover, resumed: true }
    if (!this.#isLiveContent(submission.content)) this.#refuseWhenFull(submission)
    await this.#options.paces.load()
    const { accounting, clock, driver, newRunId } = this.#options
    const opened = await accounting.open({
      id: newRunId(),
      createdAt: clock.now(),
      driver,
      ...(submission.content === undefined ? {} : { content: submission.content }),
      ...(submission.reason === undefined ? {} : { reason: submission.reason }),
      ...(submission.fence === undefined ? {} : { fence: submission.fence }),
    })
    const id = opened.progress.run.id
    submission.onOpen?.(id)
    await this.#takeUp(opened, submission.source)
    const progress = (await accounting.get(id)) ?? opened.progress
    return { run: progress.run, resumed: opened.resumed }
  }

  /** Take up a run that nobody drives, unless there are too many here already. */
  async adopt(run: string, fence: FencingToken): Promise<void> {
    const { accounting, driver, runsMax } = this.#options
    if (!this.accepting || this.#runs.has(run) || this.#runs.size >= runsMax) return
    const adopted = await accounting.adopt(run, driver, fence)
    if (adopted === undefined || adopted.run.finishedAt !== undefined) return
    // Submitted again meanwhile.
    if (this.#runs.has(run) || !this.accepting) return
    this.#options.log.info({ run }, 'goes on with a run that nobody drove')
    this.#begin(adopted, undefined)
  }

  /** Go on with a run that was opened. Resolves when its source has been taken. */
  async #takeUp(
    { progress: opened, resumed }: { progress: RunProgress; resumed: boolean },
    source: Source,
  ): Promise<void> {
    const { accounting, driver } = this.#options
    const { id } = opened.run
    const live = this.#runs.get(id)
    if (live?.source !== undefined) {
      // Its first source is still being read here: this one adds nothing, unless that breaks off.
      const isTaken = await live.taken.promise.then(
        () => true,
        () => false,
      )
      if (isTaken) return
      this.refuseWhenClosed()
    }
    if (opened.closed && (live !== undefined || opened.spooled === 0)) return
    // Before it is asked how far it is: from then on nobody else moves its spool.
    if (live !== undefined) this.#end(id)
    const progress = resumed ? ((await accounting.adopt(id, driver)) ?? opened) : opened
    // Nobody would bring its actor to life any more, nor tell who waits.
    this.refuseWhenClosed()
    // Taken up by somebody else, or over, while it was asked.
    const other = this.#runs.get(id)
    if (other?.source !== undefined) return other.taken.promise
    if (other !== undefined || progress.run.finishedAt !== undefined) return
    if (progress.closed) this.#begin(progress, undefined)
    else await this.#begin(progress, source).taken.promise
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

  /** It adds nothing to a run that is live already. */
  #isLiveContent(content: string | undefined): boolean {
    if (content === undefined) return false
    return [...this.#runs.values()].some((live) => live.content === content)
  }

  #refuseWhenFull({ tasks }: Submission): void {
    const { runsMax, spoolMax, whenFull } = this.#options
    if (this.#runs.size >= runsMax) {
      const message = `${runsMax} runs are live here, and that is the limit; try again later`
      throw new NotAcceptingError('full', message, 5000)
    }
    if (whenFull === 'refuse' && !this.#spool.hasRoomFor(Math.max(tasks ?? 1, 1))) {
      const waiting = `${this.#spool.used} of at most ${spoolMax}`
      const message = `too many accepted tasks wait for their turn (${waiting}); try again later`
      throw new NotAcceptingError('full', message, 2000)
    }
  }

  #begin(progress: RunProgress, source: Source | undefined): LiveRun {
    const { run } = progress
    const live: LiveRun = {
      id: run.id,
      actor: this.#actorName(run.id),
      begun: false,
      ended: new AbortController(),
      lines: progress.lines,
      accepted: progress.accepted,
      spooled: progress.spooled,
      dispatched: progress.accepted - progress.spooled,
      done: run.total - run.counts.pending,
      taken: Promise.withResolvers<void>(),
      ...(progress.content === undefined ? {} : { content: progress.content }),
      ...(progress.fence === undefined ? {} : { fence: progress.fence }),
      ...(source === undefined ? {} : { source: this.#until(source) }),
    }
    live.taken.promise.catch(() => undefined)
    this.#runs.set(run.id, live)
    this.#spool.count(live.spooled)
    this.#settle(live.done - live.dispatched)
    this.#actors.set(live.actor, live)
    const child = planOf({ id: live.actor, restart: 'transient' }, this.#options.runsPolicy)
    this.#options.tell(this.#supervisor, { type: 'child.add', child })
    return live
  }

  /** An earlier actor of the same run may still be on its way out. */
  #actorName(run: string): string {
    let name = run
    for (let number = 2; hasChild(this.#supervisor, name); number += 1) name = `${run}.${number}`
    return name
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
    const live = this.#runs.get(run)
    if (live === undefined) return
    this.#runs.delete(run)
    this.#spool.count(-live.spooled)
    this.#settle(live.dispatched - live.done)
    this.#actors.delete(live.actor)
    // At once: whoever takes its place must not find its spool on the move.
    live.ended.abort()
    this.#options.tell(this.#supervisor, { type: 'child.remove', id: live.actor })
  }

  #notice(notice: RunNotice | undefined): void {
    if (notice === undefined) {
      // Notices may have been lost with the connection: ask for every live run.
      for (const run of this.#runs.keys()) void this.#refresh(run)
      this.#room.wakeAll()
      return
    }
    if (notice.mailbox !== undefined) this.#room.wake(notice.mailbox)
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
    const live = this.#runs.get(run)
    if (live === undefined) return
    if (done > live.done) {
      this.#settle(done - live.done)
      live.done = done
    }
    if (state === 'completed' || state === 'cancelled' || state === 'halted') this.#end(run)
  }

  #settle(tasks: number): void {
    if (tasks === 0) return
    const at = this.#options.clock.monotonic()
    this.#options.tell(this.#self, { type: 'tasks.settled', tasks, at })
  }

  /** A run's turn has come: its tasks count as dispatched, if it is still live. */
  #takeTurn(live: LiveRun, tasks: number): boolean {
    const isLive = this.#isLive(live)
    if (isLive) live.dispatched += tasks
    else this.#settle(tasks)
    return isLive
  }

  #release(live: LiveRun, tasks: number): void {
    // A run that ended has given back all its turns.
    if (!this.#isLive(live)) return
    live.dispatched -= tasks
    this.#settle(tasks)
  }

  /** Not ended, and not begun anew since. */
  #isLive(live: LiveRun): boolean {
    return this.#runs.get(live.id) === live
  }

  async #takeSpoolRoom(live: LiveRun, tasks: number, signal: AbortSignal): Promise<void> {
    while (!this.#spool.hasRoomFor(tasks)) await this.#spool.fewer(signal)
    // In the same breath, or two that waited would take the same room.
    if (!this.#isLive(live)) return
    live.spooled += tasks
    this.#spool.count(tasks)
  }

  #giveSpoolRoom(live: LiveRun, tasks: number): void {
    // A run that ended has given back all its room.
    if (!this.#isLive(live)) return
    live.spooled -= tasks
    this.#spool.count(-tasks)
  }
}
