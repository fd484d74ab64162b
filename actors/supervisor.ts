/**
 * Binds the supervisor's machine to XState: children are native XState children of their
 * supervisor, so that an inspector sees the tree that is there.
 */
import {
  type AnyActorLogic,
  type AnyActorRef,
  type AnyEventObject,
  type AnyStateMachine,
  assign,
  stopChild,
} from 'xstate'
import {
  type ChildPlan,
  type Fault,
  flawOf,
  type Restart,
  type SupervisorPolicy,
} from '../machines/supervision.ts'
import { type Child, type SupervisorContext, supervisorMachine } from '../machines/supervisor.ts'
import { flawOfAdded } from '../machines/supervisor-children.ts'
import { isLive, type Tell } from './dead-letters.ts'
import { describeError, MusterError, SpecificationError, UnavailableError } from './errors.ts'
import type { Meter } from './meter.ts'
import type { Clock, Log } from './ports.ts'
import { watch } from './watch.ts'

/** How to bring a child to life. Its snapshots carry the tag `ready` once it can be used. */
export interface ChildSpec {
  logic: AnyActorLogic
  input?: unknown
}

/** A child by name; its specification is asked for anew for each of its lives. */
export interface NamedChild {
  id: string
  spec(supervisor: AnyActorRef): ChildSpec
  /** Default: `permanent`. */
  restart?: Restart
  /** Its end may end the supervisor; default: no. */
  significant?: boolean
  /** Default: that of the supervisor; Infinity waits. */
  startTimeoutMs?: number
  /** Default: that of the supervisor; 0 takes it out at once, Infinity waits. */
  stopTimeoutMs?: number
  /** When all are stopped, it is before those that do not, whenever it was started. */
  leavesFirst?: boolean
}

export interface SupervisorOptions {
  id: string
  policy: SupervisorPolicy
  children: readonly NamedChild[]
  /** The specification of a child that is added later, by `child.add`. */
  specOf?: (id: string) => ChildSpec
  /** Something everybody here stands on is away: what fails now, fails for that. */
  isAway?(): boolean
  clock: Clock
  random(): number
  meter?: Meter
  log: Log
  tell: Tell
}

/** A child as the machine of a supervisor knows it. */
export function planOf(child: Omit<NamedChild, 'spec'>, policy: SupervisorPolicy): ChildPlan {
  return {
    id: child.id,
    restart: child.restart ?? 'permanent',
    significant: child.significant ?? false,
    startTimeoutMs: child.startTimeoutMs ?? policy.startTimeoutMs,
    stopTimeoutMs: child.stopTimeoutMs ?? policy.stopTimeoutMs,
    leavesFirst: child.leavesFirst ?? false,
  }
}

/** What kind of fault an error is, while nothing is known to be away. */
export function faultOf(error: unknown): Fault {
  if (error instanceof MusterError && error.fault !== undefined) return error.fault
  // A supervisor whose start failed for want of something would want for it again.
  return rootCause(error) instanceof UnavailableError ? 'dependency' : 'bug'
}

/**
 * A supervisor as the specification of a child: supervisors nest.
 * @throws SpecificationError naming the child and the field that cannot be used
 */
export function supervisor(options: SupervisorOptions): ChildSpec {
  const { clock, random, log, policy, tell } = options
  const faultNow = (fault: Fault): Fault =>
    fault === 'bug' && options.isAway?.() === true ? 'dependency' : fault
  const failed = (id: string, incarnation: number, cause: unknown) => {
    const at = clock.monotonic()
    const { message } = describeError(cause)
    const fault = faultNow(faultOf(cause))
    const word = { id, incarnation, message, fault, cause, at, random: random() }
    return { type: 'child.failed', ...word } as const
  }
  const plans = options.children.map((child) => planOf(child, policy))
  const flaw = flawOf(policy, plans)
  if (flaw !== undefined) throw new SpecificationError(options.id, flaw)
  const named = new Map(options.children.map((child) => [child.id, child]))

  const specOf = (id: string, self: AnyActorRef): ChildSpec => {
    const spec = named.get(id)?.spec(self) ?? options.specOf?.(id)
    if (spec === undefined) throw new Error(`supervisor ${options.id} has no child "${id}"`)
    return spec
  }

  const machine = supervisorMachine.provide({
    actions: {
      startChild: assign(({ spawn, self }, { id, incarnation }) => {
        let spec: ChildSpec
        try {
          spec = specOf(id, self)
        } catch (error) {
          // Thrown from here it would end the supervisor, and leave its children without one.
          tell(self, failed(id, incarnation, error))
          return {}
        }
        const child = spawn(spec.logic, {
          id: childName(id, incarnation),
          input: spec.input,
        } as never) as AnyActorRef
        let ready = false
        child.subscribe({
          next(snapshot: unknown) {
            if (ready || !isReady(snapshot)) return
            ready = true
            tell(self, { type: 'child.ready', id, incarnation })
          },
          // See hearEnds.
          error: () => undefined,
        })
        // Who came to an end, or failed, tells so itself: see hearEnds. A supervisor that is being
        // taken out takes its children out, and wants no word of it.
        watch(child, ({ reason }) => {
          if (reason !== 'killed' || !isLive(self)) return
          tell(self, { type: 'child.ended', id, incarnation })
        })
        return {}
      }),
      askChildToStop: ({ self }, { id, incarnation }) => {
        // Children that end at once would otherwise keep the event loop until all of them have.
        void clock.breathe().then(() => {
          const child = childOf(self, id, incarnation)
          if (child !== undefined) tell(child, { type: 'stop' })
        })
      },
      removeChild: stopChild(
        // The name of a child that is gone already is not an error to XState.
        (_, params) => childName(params.id, params.incarnation),
      ),
      tellFall: ({ self }, { fall }) =>
        tell(self, fall.type === 'child.failed' ? { ...fall, at: clock.monotonic() } : fall),
      failChild: ({ event, self }) => {
        if (event.type !== 'child.late' && event.type !== 'child.ended') return
        const message = event.type === 'child.late' ? 'was not ready in time' : 'ended unasked'
        const { id, incarnation } = event
        const at = clock.monotonic()
        const word = { id, incarnation, message, fault: faultNow('bug'), at, random: random() }
        tell(self, { type: 'child.failed', ...word })
      },
      refuseChild: (_, { id, flaw: found }) => {
        const error = new SpecificationError(options.id, found)
        log.error({ path: `${options.id}/${id}`, error: error.message }, 'a child was not taken')
      },
      reportFailure: (_, { id, message: error, restartInMs, isHandedUp }) => {
        const path = `${options.id}/${id}`
        if (restartInMs !== undefined) options.meter?.restarted(options.id, id)
        if (isHandedUp !== undefined) {
          const level = isHandedUp === 'later' ? 'error' : 'info'
          log[level]({ path, error }, 'an actor failed, and its supervisor')
        } else if (restartInMs === undefined) log.error({ path, error }, 'an actor failed for good')
        else log.warn({ path, error, restartInMs }, 'an actor failed and will be restarted')
      },
    },
  })

  return {
    logic: hearEnds(machine, failed),
    input: {
      name: options.id,
      policy,
      children: plans,
    },
  }
}

/**
 * XState's own word of a child's end, in the machine's words. The type of it bears the name of the
 * child, which is new in every life, and a machine keeps what it finds for each type of event for
 * ever. A word of our own beside it would come first, and where it ends the supervisor, XState's
 * would find nobody.
 */
function hearEnds<T extends Pick<AnyStateMachine, 'transition'>>(
  machine: T,
  failed: (id: string, incarnation: number, cause: unknown) => AnyEventObject,
): T {
  const transition = machine.transition.bind(machine)
  const translate = (event: AnyEventObject): AnyEventObject => {
    const [, how, id = '', incarnation] = lifeEvent.exec(event.type) ?? []
    if (how === undefined) return event
    return how === 'error'
      ? failed(id, Number(incarnation), event['error'])
      : { type: 'child.ended', id, incarnation: Number(incarnation) }
  }
  machine.transition = (snapshot, event, scope) => transition(snapshot, translate(event), scope)
  return machine
}

/** How, whose, and in which of its lives: see childName. */
const lifeEvent = /^xstate\.(done|error)\.actor\.(.*):(\d+)$/

/** Unique in every life: XState would leak an earlier child of the same name. */
function childName(id: string, incarnation: number): string {
  return `${id}:${incarnation}`
}

/** A child by its name alone, in its present life. */
export function currentChild(parent: AnyActorRef, id: string): AnyActorRef {
  const child = findChild(parent, id)
  if (child === undefined) throw new Error(`expected a child "${id}" that lives`)
  return child
}

export function findChild(parent: AnyActorRef, id: string): AnyActorRef | undefined {
  const known = childrenOf(parent).find((child) => child.id === id)
  return known && childOf(parent, id, known.incarnation)
}

/**
 * Adds a child to a supervisor; resolves with it once it is ready.
 * @throws SpecificationError naming it and the field for which the supervisor does not take it
 * @throws Error when it does not come so far
 */
export async function addChild(
  parent: AnyActorRef,
  plan: ChildPlan,
  tell: Tell,
): Promise<AnyActorRef> {
  const { context } = parent.getSnapshot() as { context: SupervisorContext }
  const flaw = flawOfAdded(context, plan)
  if (flaw !== undefined) throw new SpecificationError(context.name, { child: plan.id, ...flaw })
  const ready = Promise.withResolvers<AnyActorRef>()
  const fail = (why: string) => ready.reject(new Error(`${plan.id} did not start: ${why}`))
  const look = () => {
    const known = childrenOf(parent).find((child) => child.id === plan.id)
    const child = known && childOf(parent, known.id, known.incarnation)
    if (known === undefined) fail('it failed')
    else if (known.status === 'ready' && child !== undefined) ready.resolve(child)
  }
  tell(parent, { type: 'child.add', child: plan })
  look()
  const subscription = parent.subscribe({
    next: look,
    error: () => fail('its supervisor failed'),
    complete: () => fail('its supervisor ended'),
  })
  try {
    return await ready.promise
  } finally {
    // Of a supervisor that fails somebody has to hear, or the process ends with it.
    if (isLive(parent)) subscription.unsubscribe()
  }
}

/** Resolves when the child is gone for good, or its supervisor is. */
export async function removeChild(parent: AnyActorRef, id: string): Promise<void> {
  if (!isLive(parent) || !hasChild(parent, id)) return
  const gone = Promise.withResolvers<void>()
  const look = () => {
    if (!hasChild(parent, id)) gone.resolve()
  }
  const over = () => gone.resolve()
  const subscription = parent.subscribe({ next: look, error: over, complete: over })
  if (isLive(parent)) parent.send({ type: 'child.remove', id })
  await gone.promise
  // Of a supervisor that fails somebody has to hear, or the process ends with it.
  if (isLive(parent)) subscription.unsubscribe()
}

function hasChild(parent: AnyActorRef, id: string): boolean {
  return childrenOf(parent).some((child) => child.id === id)
}

/** A name for a child: an earlier one of the same may still be on its way out. */
export function freeName(parent: AnyActorRef, wanted: string): string {
  let name = wanted
  for (let number = 2; hasChild(parent, name); number += 1) name = `${wanted}.${number}`
  return name
}

function childrenOf(parent: AnyActorRef): readonly Child[] {
  return (parent.getSnapshot() as { context: SupervisorContext }).context.children
}

export function childOf(
  parent: AnyActorRef,
  id: string,
  incarnation: number,
): AnyActorRef | undefined {
  return (parent.getSnapshot() as { children: Record<string, AnyActorRef> }).children[
    childName(id, incarnation)
  ]
}

/** Why a supervisor has given up, if it has: it stops what is left, and fails then. */
export function verdictOf(snapshot: unknown): SupervisorContext['verdict'] {
  return (snapshot as { context: SupervisorContext }).context.verdict
}

/** What first went wrong below, when a supervisor gave up. */
export function rootCause(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined && error.constructor === Error
    ? rootCause(error.cause)
    : error
}

export function isReady(snapshot: unknown): boolean {
  return (
    typeof snapshot === 'object' &&
    snapshot !== null &&
    'hasTag' in snapshot &&
    typeof snapshot.hasTag === 'function' &&
    snapshot.hasTag('ready') === true
  )
}
