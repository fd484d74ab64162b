/**
 * Binds the state of the system to the world: what operators said is heeded on every node, what the
 * node sees of itself changes its own state, each change is kept, and the throttle follows.
 *
 * A change by the node itself is made first and noted when Redis takes it, for Redis may be what is
 * away; one that an operator wants for the whole system is noted first, or it is not made.
 */
import { type AnyActorRef, fromPromise, type SnapshotFrom } from 'xstate'
import type { Owned } from '../machines/service.ts'
import {
  type SystemDiagnosed,
  type SystemEvent,
  type SystemInput,
  type SystemMove,
  type SystemOpened,
  systemMachine,
} from '../machines/system.ts'
import {
  type Diagnosis,
  isSystemState,
  type SystemFacts,
  type SystemPolicy,
  type SystemState,
  shares,
  successorsOf,
} from '../machines/system-rules.ts'
import { isLive, type Tell } from './dead-letters.ts'
import {
  ConflictError,
  describeError,
  NotAcceptingError,
  UnavailableError,
  UsageError,
} from './errors.ts'
import type { Clock, Log } from './ports.ts'
import type { SystemLog, SystemOrder, SystemSnapshot } from './ports-system.ts'
import { type Asked, Outbox, type SystemView, viewOf } from './system-record.ts'
import type { Throttle } from './throttle.ts'
import { watch } from './watch.ts'

/** Hears of each change of state, after it. What it throws is logged, and undoes nothing. */
export type SystemHook = (move: SystemMove) => void

export interface SystemOptions {
  node: string
  /** Asked for at each use: it is made anew when Redis was opened anew. */
  systemLog(): SystemLog
  /** One JSON line, for the audit log. */
  audit(line: string): Promise<void>
  facts(): SystemFacts
  diagnose(signal: AbortSignal): Promise<Diagnosis>
  /** Beside a DEGRADED or other slow state: what it is like now, if that can be told. */
  feels?(): string | undefined
  throttle: Throttle
  hooks: readonly SystemHook[]
  /** False: nobody but this process can find this node, and what it does by itself is not noted. */
  isPublic: boolean
  newId(): string
  policy: SystemPolicy
  clock: Clock
  log: Log
  tell: Tell
}

/** The state of the system as others of this node use it. */
export interface System {
  spec(): ChildSpecOfSystem
  readonly view: SystemView
  /** Ms in each state since the node was started. */
  spentMs(): Record<SystemState, number>
  /**
   * Changes the state: PAUSED, and whatever ends it, on all nodes, everything else here.
   * @throws UsageError without a reason; ConflictError ILLEGAL_TRANSITION; UnavailableError when
   * Redis cannot be told what holds for all nodes, and then nothing is changed
   */
  ask(asked: Asked): Promise<SystemView & { noop?: true }>
  /** Everything of this node has come up. */
  up(): void
  /** Why no work is taken now. */
  refusal(): NotAcceptingError | undefined
}

interface ChildSpecOfSystem {
  logic: typeof systemMachine
  input: SystemInput
}

/** Between two looks at itself. */
const lookMs = 1000
/** What operators said is asked for again after so many looks, should their word be lost. */
const looksApart = 5
const retryAfterMs = 5000
/** Diagnostics that take longer have failed. */
const diagnoseMs = 10_000

export function system(options: SystemOptions): System {
  return new BoundSystem(options)
}

class BoundSystem implements System {
  readonly #options: SystemOptions
  readonly #outbox: Outbox
  #self: AnyActorRef | undefined
  #isUp = false
  /** Operators that are being answered: meanwhile nothing changes by itself. */
  #asking = 0
  /** The id under which the change that is being made was noted already. */
  #noted: string | undefined
  #asked: Promise<unknown> = Promise.resolve()
  #isHeeding = false

  constructor(options: SystemOptions) {
    this.#options = options
    this.#outbox = new Outbox(options)
  }

  spec(): ChildSpecOfSystem {
    const { policy } = this.#options
    return {
      input: { policy, isUp: this.#isUp },
      logic: systemMachine.provide({
        actors: {
          open: fromPromise<SystemOpened, Owned>(({ input }) => this.#open(input.owner)),
          close: fromPromise<void, Owned>(() => this.#outbox.flushSoon()),
          diagnose: fromPromise<SystemDiagnosed, Owned>(async ({ signal }) => {
            const diagnosis = await this.#diagnose(signal)
            return { diagnosis, ...this.#time() }
          }),
        },
        actions: {
          act: (_, { to }) => this.#options.throttle.set(shares[to]),
          tellMove: (_, move) => this.#moved(move),
          failDiagnosis: ({ self }, { error }) => {
            // A loop that is held fails every question that has a time limit: the cause goes first.
            const { because } = this.#options.facts()
            const failed = `reflecting failed: ${describeError(error).message}`
            const reason = because === undefined ? failed : `${because}; ${failed}`
            this.#change(self, { to: 'DEGRADED', reason, actor: 'system' }, false)
          },
        },
      }),
    }
  }

  get view(): SystemView {
    const { feels, clock } = this.#options
    return viewOf(this.#snapshot(), clock.now(), feels?.call(this.#options))
  }

  spentMs(): Record<SystemState, number> {
    const { state } = this.view
    const context = this.#snapshot()?.context
    const spent = { PAUSED: 0, RECOVERY: 0, OPERATIONAL: 0, DEGRADED: 0, REFLECTIVE: 0 }
    if (context === undefined || context.since === 0) return spent
    Object.assign(spent, context.spentMs)
    spent[state] += this.#options.clock.monotonic() - context.sinceAt
    return spent
  }

  ask(asked: Asked): Promise<SystemView & { noop?: true }> {
    this.#asking += 1
    const answer = this.#asked.then(() => this.#answer(asked))
    this.#asked = answer
      .catch(() => undefined)
      .then(() => {
        this.#asking -= 1
      })
    return answer
  }

  up(): void {
    this.#isUp = true
    this.#tell({ type: 'up', facts: this.#options.facts(), ...this.#time() })
  }

  refusal(): NotAcceptingError | undefined {
    // Asked with every submission: how the node feels is worked out for those alone who read it.
    const now = this.#options.clock.now()
    const { state, since, reason, actor } = viewOf(this.#snapshot(), now, undefined)
    if (state !== 'PAUSED') return undefined
    const at = new Date(since).toISOString()
    const message =
      `the system is PAUSED since ${at} (${actor}: ${reason}) and takes no work; ` +
      '`muster resume` lets it go on'
    return new NotAcceptingError('paused', message, retryAfterMs)
  }

  async #answer({ to, reason, actor }: Asked): Promise<SystemView & { noop?: true }> {
    const self = this.#self
    if (self === undefined || !isLive(self)) {
      throw new UnavailableError('this node does not know its state yet; try again')
    }
    if (reason.trim() === '') {
      throw new UsageError('reason: expected why the state is changed, got none: {"reason": "…"}')
    }
    await this.#heed(self).catch((error: unknown) => {
      // Where it has to be told, that shows again below.
      if (!(error instanceof UnavailableError)) throw error
    })
    const { state: from } = this.view
    if (from !== to && !successorsOf(from).includes(to)) throw illegal(from, to)
    const isNoop = from === to
    const order = isNoop ? undefined : orderOf(from, to, reason, actor, this.#options.clock.now())
    if (order !== undefined) {
      const move: SystemMove = { from, to, reason, actor, isAsked: true, isNoop, now: order.at }
      this.#noted = await this.#outbox.note(move, this.#snapshotAfter(move), order)
    }
    this.#change(self, { to, reason, actor }, true)
    this.#noted = undefined
    // Whoever asks for the history next finds it there, as far as Redis can be told.
    await this.#outbox.flush()
    return isNoop ? { ...this.view, noop: true } : this.view
  }

  #time(): { at: number; now: number } {
    const { clock } = this.#options
    return { at: clock.monotonic(), now: clock.now() }
  }

  #change(self: AnyActorRef, asked: Asked, isAsked: boolean): void {
    const change = { type: 'state.change', ...asked, isAsked, ...this.#time() } as const
    this.#options.tell(self, change satisfies SystemEvent)
  }

  #tell(event: SystemEvent): void {
    if (this.#self !== undefined && isLive(this.#self)) this.#options.tell(this.#self, event)
  }

  #moved(move: SystemMove): void {
    const { log, hooks, isPublic } = this.#options
    const { from, to, reason, actor, isNoop } = move
    const wasNoted = this.#noted !== undefined
    if (!wasNoted && (isPublic || move.isAsked)) {
      this.#outbox.add(move, this.#snapshotAfter(move))
    }
    if (isNoop) return
    log.info({ from, to, reason, actor }, `the state of the system is ${to}`)
    for (const hook of hooks) {
      try {
        hook(move)
      } catch (error) {
        log.warn({ to, ...describeError(error) }, 'somebody who hears of the state has failed')
      }
    }
  }

  #snapshotAfter({ to, now, reason, actor, isNoop }: SystemMove): SystemSnapshot {
    const before = this.#snapshot()?.context
    if (isNoop && before !== undefined) {
      return {
        state: to,
        since: before.since,
        changedAt: now,
        reason: before.reason,
        actor: before.actor,
      }
    }
    return { state: to, since: now, changedAt: now, reason, actor }
  }

  #snapshot(): SnapshotFrom<typeof systemMachine> | undefined {
    return this.#self?.getSnapshot() as SnapshotFrom<typeof systemMachine> | undefined
  }

  async #open(owner: AnyActorRef): Promise<SystemOpened> {
    this.#self = owner
    const { node, systemLog, log, clock } = this.#options
    const ended = new AbortController()
    watch(owner, () => ended.abort())
    let order: SystemOrder | undefined
    let reason = 'the node starts'
    try {
      const last = await systemLog().snapshot(node)
      if (last !== undefined && last.state !== 'OPERATIONAL') {
        reason = `the node starts; it was ${last.state} when it last ran (${last.reason})`
      }
      order = await systemLog().order()
      void this.#listen(owner, ended.signal)
    } catch (error) {
      // It is looked at again soon; until then there is nothing to be done without Redis anyway.
      log.warn(describeError(error), 'cannot ask whether the system is paused')
    }
    void this.#look(owner, ended.signal)
    const time = { at: clock.monotonic(), now: clock.now() }
    if (order?.isPaused !== true) return { reason, ...time }
    log.info({ reason: order.reason, actor: order.actor }, 'the system is paused, and so it stays')
    return { reason, pause: { reason: order.reason, actor: order.actor }, ...time }
  }

  async #listen(owner: AnyActorRef, ended: AbortSignal): Promise<void> {
    const { systemLog, log } = this.#options
    try {
      const unwatch = await systemLog().watch(() => void this.#heedQuietly(owner))
      if (ended.aborted) await unwatch()
      else ended.addEventListener('abort', () => void unwatch(), { once: true })
    } catch (error) {
      log.debug(describeError(error), 'what operators say is heard only now and then')
    }
  }

  async #look(owner: AnyActorRef, ended: AbortSignal): Promise<void> {
    const { clock, facts } = this.#options
    for (let looks = 1; ; looks += 1) {
      await clock.tick(lookMs, ended)
      if (ended.aborted || !isLive(owner)) return
      if (looks % looksApart === 0) void this.#heedQuietly(owner)
      void this.#outbox.flush()
      if (this.#asking === 0) this.#tell({ type: 'looked', facts: facts(), ...this.#time() })
    }
  }

  async #heedQuietly(owner: AnyActorRef): Promise<void> {
    // Whoever is being answered heeds by himself.
    if (this.#asking > 0 || this.#isHeeding) return
    this.#isHeeding = true
    try {
      await this.#heed(owner)
    } catch (error) {
      // Redis is away: that shows elsewhere, and it is asked again.
      this.#options.log.debug(describeError(error), 'cannot ask what operators said')
    } finally {
      this.#isHeeding = false
    }
  }

  /** What operators last said holds here as well. */
  async #heed(owner: AnyActorRef): Promise<void> {
    const order = await this.#options.systemLog().order()
    if (!isLive(owner)) return
    const { state } = this.view
    const isPaused = order?.isPaused === true
    if (isPaused === (state === 'PAUSED') || this.#isStarting()) return
    const { reason = 'nobody wants it to be paused', actor = 'system' } = order ?? {}
    this.#change(owner, { to: isPaused ? 'PAUSED' : 'RECOVERY', reason, actor }, false)
  }

  #isStarting(): boolean {
    const value = this.#snapshot()?.value
    return value === undefined || !isSystemState(value)
  }

  async #diagnose(signal: AbortSignal): Promise<Diagnosis> {
    const { clock, diagnose } = this.#options
    const over = new AbortController()
    const either = AbortSignal.any([signal, over.signal])
    const late = clock.wait(diagnoseMs, either).then((): Diagnosis => {
      throw new Error(`it took more than ${diagnoseMs / 1000} s`)
    })
    try {
      return await Promise.race([diagnose(either), late])
    } finally {
      late.catch(() => undefined)
      over.abort()
    }
  }
}

/** What an operator says about the whole system by such a change of this node. */
function orderOf(
  from: SystemState,
  to: SystemState,
  reason: string,
  actor: string,
  at: number,
): SystemOrder | undefined {
  if (to !== 'PAUSED' && from !== 'PAUSED') return undefined
  return { isPaused: to === 'PAUSED', at, reason, actor }
}

function illegal(from: SystemState, to: SystemState): ConflictError {
  const allowed = successorsOf(from).join(', ')
  const message = `state: expected one of ${allowed} after ${from}, got ${to}`
  return new ConflictError(message, 'ILLEGAL_TRANSITION')
}
