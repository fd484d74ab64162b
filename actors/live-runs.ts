/** The live runs of a dispatcher: their actors, and what the accounting says of them. */
import type { AnyActorRef } from 'xstate'
import type { SupervisorPolicy } from '../machines/supervision.ts'
import { isTakenElsewhere } from './elsewhere.ts'
import { describeError, UnavailableError } from './errors.ts'
import { Gate, type GateOptions } from './gate.ts'
import { isStopped } from './holds.ts'
import { type KeyedHost, submitUnderKey } from './keyed-submission.ts'
import {
  inFlightOf,
  type LiveRun,
  loseRun,
  newLiveRun,
  setHold,
  tellNews,
  untilStopped,
} from './live-run.ts'
import type { Paces } from './paces.ts'
import type { FencingToken } from './ports-fleet.ts'
import type { Headroom } from './ports-limits.ts'
import type { Hold, Run, RunNotice, RunProgress } from './ports-runs.ts'
import { MailboxRoom, SpoolRoom } from './room.ts'
import { interrupted, type RunOptions, runLogic } from './run.ts'
import type { Source } from './source.ts'
import { hastenOnceStopped } from './spool.ts'
import { openingOf, type Submission, type Submitted } from './submission.ts'
import { type ChildSpec, findChild, freeName, planOf } from './supervisor.ts'
import { Turns } from './turns.ts'

export interface LiveRunsOptions
  extends Omit<
      RunOptions,
      'admit' | 'count' | 'release' | 'roomIn' | 'takeSpoolRoom' | 'giveSpoolRoom' | 'letGo'
    >,
    Pick<GateOptions, 'spoolMax' | 'runsMax' | 'whenFull'> {
  /** Whether the driver of an unfinished run is gone, so that its run is to be taken over. */
  isGone(driver: string): boolean
  rate: number
  burst: number
  inFlightMax: number
  /**
   * This process was started to go on with what it finds: a run that was unfinished then is resumed
   * by its content even when it has finished since.
   */
  resumesLeftovers: boolean
  /** @param twin by what a run is found that is the same: a key, or the content of its source */
  newRunId(twin?: string): string
  headroom: Headroom
  paces: Paces
  /** Of the supervisor of the runs' actors: dynamic, with places enough for `runsMax`. */
  runsPolicy: SupervisorPolicy
}

/** One life of the dispatcher: everything its actor holds beside its machine's context. */
export class LiveRuns {
  readonly #runs = new Map<string, LiveRun>()
  /** By the name of their actors. */
  readonly #actors = new Map<string, LiveRun>()
  readonly #runOptions: RunOptions
  readonly #runLogic: ReturnType<typeof runLogic>
  readonly turns: Turns
  accepting = true
  readonly #options: LiveRunsOptions
  readonly #self: AnyActorRef
  /** The supervisor of the runs' actors. */
  readonly #supervisor: AnyActorRef
  readonly #ended = new AbortController()
  readonly #spool: SpoolRoom
  readonly #gate: Gate
  readonly #room: MailboxRoom
  #unwatch: (() => Promise<void>) | undefined
  /** Content of the runs that were unfinished when this life began. */
  readonly #leftovers = new Map<string, string>()
  readonly #keyed: KeyedHost

  constructor(options: LiveRunsOptions, self: AnyActorRef, supervisor: AnyActorRef) {
    this.#options = options
    this.#self = self
    this.#supervisor = supervisor
    this.turns = new Turns(self, options.tell, options.clock, this.#ended.signal)
    this.#spool = new SpoolRoom(options.spoolMax, () => this.#isShort())
    this.#room = new MailboxRoom(options.clock, this.#ended.signal)
    this.#keyed = {
      ...options,
      atWork: new Set(),
      ended: this.#ended.signal,
      take: (run, feeder, source) => this.#take(run, feeder, source),
    }
    const gate = new Gate({
      ...options,
      turns: this.turns,
      spool: this.#spool,
      ended: this.#ended.signal,
      isLive: (live) => this.#isLive(live),
      settle: (tasks) => this.#settle(tasks),
    })
    this.#gate = gate
    this.#runOptions = {
      ...options,
      admit: (live, tasks, patienceMs) => gate.admit(live, tasks, patienceMs),
      count: (live, tasks) => gate.count(live, tasks),
      release: (live, tasks) => gate.count(live, -tasks),
      roomIn: (mailbox) => this.#room.more(mailbox),
      takeSpoolRoom: (live, tasks, signal) => gate.takeSpoolRoom(live, tasks, signal),
      giveSpoolRoom: (live, tasks) => gate.giveSpoolRoom(live, tasks),
      letGo: (live) => {
        if (this.#isLive(live)) this.#end(live.id)
      },
    }
    this.#runLogic = runLogic(this.#runOptions, (actor) => this.#actors.get(actor))
  }

  async open(): Promise<void> {
    const unwatch = this.#options.headroom.watch(() => this.#headroomChanged())
    this.#ended.signal.addEventListener('abort', unwatch, { once: true })
    this.#headroomChanged()
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
    const { id, source, spooled, hold } = live
    return {
      logic: this.#runLogic,
      // Where it is stopped, there is something to be done even without a task in the spool.
      input: {
        id,
        actor,
        hasSource: source !== undefined,
        spooled: spooled > 0 || isStopped(hold),
      },
    }
  }

  async submit(submission: Submission): Promise<Submitted> {
    if (submission.key !== undefined) return this.#submitUnderKey(submission, submission.key)
    const leftover = await this.#finishedLeftover(submission)
    if (leftover !== undefined) return { run: leftover, resumed: true }
    if (!this.#isLiveContent(submission.content))
      this.#gate.refuseWhenFull(this.#runs.size, submission.tasks)
    const { accounting, clock, driver, newRunId, paces } = this.#options
    const run = { id: newRunId(submission.content), createdAt: clock.now(), driver }
    const opening = accounting.open(openingOf(submission, run))
    const [opened] = await Promise.all([opening, paces.loadSoon()])
    const id = opened.progress.run.id
    submission.onOpen?.(id, opened.resumed)
    await this.#takeUp(opened, submission.source)
    const progress = (await accounting.get(id)) ?? opened.progress
    return { run: progress.run, resumed: opened.resumed }
  }

  async #submitUnderKey(submission: Submission, key: string): Promise<Submitted> {
    const { accounting, clock, driver, newRunId, paces } = this.#options
    try {
      this.#gate.refuseWhenFull(this.#runs.size, submission.tasks)
    } catch (error) {
      // What there is already needs no room.
      if ((await accounting.runOfKey(key)) === undefined) throw error
    }
    await paces.load()
    const { content: _, ...about } = submission
    const record = openingOf(about, { id: newRunId(key), createdAt: clock.now(), driver })
    const { progress, resumed } = await submitUnderKey(this.#keyed, record, { ...submission, key })
    return { run: progress.run, resumed }
  }

  /** Read a source for a run that this very submission feeds. */
  async #take(run: string, feeder: string, source: Source): Promise<void> {
    // Before it is asked how far it is: from then on nobody else moves its spool.
    this.#end(run)
    const progress = await this.#options.accounting.get(run)
    this.refuseWhenClosed()
    if (progress === undefined || progress.closed) return
    // Taken up anew while it was asked.
    this.#end(run)
    await this.#begin({ ...progress, feeder }, source).taken.promise
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
    const isOthers = resumed && live === undefined
    if (isOthers && (await isTakenElsewhere(this.#options, id, this.#ended.signal))) return
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
    onOpen?.(id, true)
    return progress.run
  }

  /** It adds nothing to a run that is live already. */
  #isLiveContent(content = ''): boolean {
    return content !== '' && [...this.#runs.values()].some((live) => live.content === content)
  }

  #begin(progress: RunProgress, source: Source | undefined): LiveRun {
    const { run } = progress
    const live = newLiveRun(progress, freeName(this.#supervisor, run.id))
    if (source !== undefined) {
      live.source = untilStopped(source, this.#ended.signal, live.stopped.signal)
    }
    this.#runs.set(run.id, live)
    this.#spool.count(live.spooled)
    this.#settle(-inFlightOf(live))
    this.#actors.set(live.actor, live)
    const child = planOf({ id: live.actor, restart: 'transient' }, this.#options.runsPolicy)
    this.#options.tell(this.#supervisor, { type: 'child.add', child })
    hastenOnceStopped(this.#runOptions, live, this.#ended.signal)
    // What was settled or said between the asking and this moment nobody here has heard of.
    if (live.accepted > 0 || source === undefined) void this.#refresh(run.id)
    return live
  }

  #end(run: string): void {
    const live = this.#runs.get(run)
    if (live === undefined) return
    // Nobody is going to read it: whoever waits for that would wait for ever.
    if (!live.begun) live.taken.reject(new UnavailableError(`run ${run}: ${interrupted}`))
    this.#runs.delete(run)
    this.#spool.count(-live.spooled)
    this.#settle(inFlightOf(live))
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
    const live = this.#runs.get(notice.run)
    if (live === undefined) return
    live.heard += 1
    this.#putBack(live, notice.parked)
    this.#progress(live, notice.done, notice.state, notice.hold)
    if (notice.spoolFilled === true) this.#tellSpoolFilled(live)
  }

  async #refresh(run: string): Promise<void> {
    try {
      const live = this.#runs.get(run)
      const heard = live?.heard
      const progress = await this.#options.accounting.get(run)
      if (live === undefined || !this.#isLive(live)) return
      if (progress === undefined) return loseRun(live, this.#options.log, () => this.#end(run))
      const { total, counts, state } = progress.run
      this.#putBack(live, progress.parked)
      const hold = live.heard === heard ? progress.hold : live.hold
      this.#progress(live, total - counts.pending, state, hold)
      if (progress.spooled > 0) this.#tellSpoolFilled(live)
    } catch (error) {
      this.#options.log.warn({ run, ...describeError(error) }, 'cannot ask how a run stands')
    }
  }

  #progress(live: LiveRun, done: number, state: Run['state'], hold: Hold | undefined): void {
    if (done > live.done) {
      const before = inFlightOf(live)
      live.done = done
      this.#settle(before - inFlightOf(live))
    }
    const isNew = hold !== live.hold
    setHold(live, hold)
    tellNews(live)
    if (state === 'completed' || state === 'cancelled' || state === 'halted') this.#end(live.id)
    else if (isNew) this.#tellSpoolFilled(live)
  }

  /** Tasks went back from their mailbox into the spool: so many by now, since the run began. */
  #putBack(live: LiveRun, parked = 0): void {
    const tasks = parked - live.parked
    if (tasks <= 0) return
    live.parked = parked
    this.#gate.count(live, -tasks)
    live.spooled += tasks
    this.#spool.count(tasks)
  }

  /** There may be something to be moved, or ended, in its spool. */
  #tellSpoolFilled({ actor }: LiveRun): void {
    const child = findChild(this.#supervisor, actor)
    if (child !== undefined) this.#options.tell(child, { type: 'spool.filled' })
  }

  #settle(tasks: number): void {
    if (tasks === 0) return
    const at = this.#options.clock.monotonic()
    this.#options.tell(this.#self, { type: 'tasks.settled', tasks, at })
  }

  #isShort(): boolean {
    return this.#options.headroom.shortage() !== undefined
  }

  #headroomChanged(): void {
    const isScarce = this.#options.headroom.isScarce()
    const at = this.#options.clock.monotonic()
    this.#options.tell(this.#self, { type: 'headroom.changed', isScarce, at })
    if (!this.#isShort()) this.#spool.wakeAll()
  }

  /** Not ended, and not begun anew since. */
  #isLive(live: LiveRun): boolean {
    return this.#runs.get(live.id) === live
  }
}
