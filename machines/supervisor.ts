/**
 * A supervisor: starts its children one after the other, each awaited until it is ready; restarts
 * what fails by its strategy, after a back-off, as often as its intensity allows; stops them in
 * reverse. When the intensity is used up, or the first start fails, it stops what is left and fails
 * itself, so that the level above decides.
 *
 * Time and randomness come in the events. Children are named by id and incarnation, so that the
 * late word of an earlier life cannot be taken for the present one's. The rules are those of
 * supervision.ts; who lives and how to bring them to life is bound in actors/supervisor.ts.
 */
import { and, setup } from 'xstate'
import { backoffMs } from './backoff.ts'
import { type ChildPlan, type Fault, recentFailures, type SupervisorPolicy } from './supervision.ts'

export type ChildStatus =
  | 'waiting'
  | 'starting'
  | 'ready'
  | 'backingOff'
  | 'suspended'
  | 'stopping'
  | 'stopped'

export interface Child extends ChildPlan {
  status: ChildStatus
  incarnation: number
  restarts: number
  /** It is alive and to be stopped, when its turn comes. */
  doomed: boolean
  /** Failures since it was last stable. */
  streak: number
  lastFailedAt?: number
  lastError?: string
  /** When its latest restart was due, on the clock of the failures. */
  dueAt?: number
}

export interface SupervisorInput {
  name: string
  policy: SupervisorPolicy
  children: readonly ChildPlan[]
}

export interface SupervisorContext {
  name: string
  policy: SupervisorPolicy
  /** In order of start. */
  children: readonly Child[]
  /** Times of the failures inside the window. */
  failures: readonly number[]
  /** Back-off of a restart that concerns several children is over. */
  roundIsDue: boolean
  /** Why it ends in error, when it does. */
  verdict?: { message: string; cause: unknown }
}

export type SupervisorEvent =
  | { type: 'child.add'; child: ChildPlan }
  | { type: 'child.remove'; id: string }
  | { type: 'child.ready'; id: string; incarnation: number }
  | { type: 'child.ended'; id: string; incarnation: number }
  | {
      type: 'child.failed'
      id: string
      incarnation: number
      message: string
      /** Default: a bug. */
      fault?: Fault
      /** What it threw, to be handed up when the supervisor gives up. */
      cause?: unknown
      at: number
      random: number
    }
  | { type: 'child.due'; id: string; incarnation: number }
  | { type: 'child.late'; id: string; incarnation: number }
  | { type: 'round.due' }
  | { type: 'stop' }
  | { type: `xstate.error.actor.${string}` }

type Change = (child: Child) => Partial<Child>

const change = (children: readonly Child[], which: (child: Child) => boolean, by: Change) =>
  children.map((child) => (which(child) ? { ...child, ...by(child) } : child))

const withChild = (children: readonly Child[], id: string, by: Change) =>
  change(children, (child) => child.id === id, by)

const waitingChild = (plan: ChildPlan): Child => ({
  ...plan,
  status: 'waiting',
  incarnation: 0,
  restarts: 0,
  doomed: false,
  streak: 0,
})

export const isAlive = (child: Child) => ['starting', 'ready', 'stopping'].includes(child.status)

const isGrouped = ({ strategy }: SupervisorPolicy) =>
  strategy === 'one_for_all' || strategy === 'rest_for_one'

/** The children that are restarted with this one. */
function concerned({ policy, children }: SupervisorContext, id: string): Set<string> {
  if (policy.strategy === 'one_for_all') return new Set(children.map((child) => child.id))
  if (policy.strategy !== 'rest_for_one') return new Set([id])
  const first = children.findIndex((child) => child.id === id)
  return new Set(children.slice(first).map((child) => child.id))
}

/** One that ends for good: a temporary child leaves no trace, another may be started again. */
function without(children: readonly Child[], id: string, by: Change): Child[] {
  return withChild(children, id, by).filter(
    (child) => child.id !== id || child.restart !== 'temporary',
  )
}

const machineSetup = setup({
  types: {
    context: {} as SupervisorContext,
    input: {} as SupervisorInput,
    events: {} as SupervisorEvent,
  },
  actions: {
    /** Bring the child to life and watch it. */
    startChild: (_, _params: { id: string; incarnation: number }) => {
      throw new Error('bind startChild in actors/supervisor.ts')
    },
    /** Ask the child to stop. */
    askChildToStop: (_, _params: { id: string; incarnation: number }) => {
      throw new Error('bind askChildToStop in actors/supervisor.ts')
    },
    /** Take the child out, whatever it does. */
    removeChild: (_, _params: { id: string; incarnation: number }) => {
      throw new Error('bind removeChild in actors/supervisor.ts')
    },
    /** Make the word that a child is late, or ended unasked, a failure with time and chance. */
    failChild: () => {
      throw new Error('bind failChild in actors/supervisor.ts')
    },
    /** There is no place for the child. */
    refuseChild: (_, _params: { id: string }) => {
      throw new Error('bind refuseChild in actors/supervisor.ts')
    },
    fail: ({ context }) => {
      throw new Error(context.verdict?.message, { cause: context.verdict?.cause })
    },
    /** Tell the world of a failure. */
    reportFailure: (_, _params: { id: string; message: string; restartInMs?: number }) => {
      throw new Error('bind reportFailure in actors/supervisor.ts')
    },
  },
  guards: {
    /** The word is of the child's present life, and that is not over: each life ends once. */
    isCurrent: ({ context, event }) =>
      'incarnation' in event &&
      context.children.some(
        (child) =>
          child.id === event.id && child.incarnation === event.incarnation && isAlive(child),
      ),
    isDue: ({ context, event }) =>
      event.type === 'child.due' &&
      context.children.some(
        (child) =>
          child.id === event.id &&
          child.incarnation === event.incarnation &&
          (child.status === 'backingOff' || child.status === 'suspended'),
      ),
    /** It was asked to end, one way or another. */
    isStopping: ({ context, event }) =>
      'incarnation' in event &&
      context.children.some((child) => child.id === event.id && child.status === 'stopping'),
    isPermanent: ({ context, event }) =>
      'incarnation' in event &&
      context.children.some((child) => child.id === event.id && child.restart === 'permanent'),
    /** Its end is its end: it is never started again. */
    isLost: ({ context, event }) =>
      event.type === 'child.failed' &&
      (event.fault === 'fenced' ||
        context.children.some((child) => child.id === event.id && child.restart === 'temporary')),
    isFatal: ({ event }) => event.type === 'child.failed' && event.fault === 'fatal',
    /** Everybody is up who is to be. */
    isSettled: ({ context }) =>
      context.children.every((child) => child.status === 'ready' || child.status === 'stopped'),
    hasBudget: ({ context, event }) => {
      if (event.type !== 'child.failed') return false
      if (event.fault === 'dependency' || event.fault === 'poison') return true
      const { failures, policy } = context
      return recentFailures(failures, policy, event.at).length < policy.intensity
    },
    isGrouped: ({ context }) => isGrouped(context.policy),
    isNew: ({ context, event }) =>
      event.type === 'child.add' && !context.children.some(({ id }) => id === event.child.id),
    hasPlace: ({ context }) => context.children.length < context.policy.childrenMax,
    /** With this child's end the supervisor's work is done. */
    endsAll: ({ context, event }) => {
      if (!('incarnation' in event)) return false
      const { children, policy } = context
      if (!children.some(({ id, significant }) => id === event.id && significant)) return false
      if (policy.autoShutdown === 'any_significant') return true
      return (
        policy.autoShutdown === 'all_significant' &&
        !children.some(
          (child) => child.significant && child.id !== event.id && child.status !== 'stopped',
        )
      )
    },
    nothingAlive: ({ context }) => !context.children.some(isAlive),
    hasFailed: ({ context }) => context.verdict !== undefined,
  },
})

/** Begin a new life of a child: the next incarnation, with a limit on how long it may take. */
const startNext = machineSetup.enqueueActions(({ context, enqueue }) => {
  const { children, policy } = context
  if (children.some((child) => child.status === 'starting')) return
  const next = children.find((child) => child.status === 'waiting')
  if (next === undefined) return
  const { id } = next
  const incarnation = next.incarnation + 1
  enqueue.assign({ children: withChild(children, id, () => ({ status: 'starting', incarnation })) })
  enqueue({ type: 'startChild', params: { id, incarnation } })
  const late = { type: 'child.late' as const, id, incarnation }
  enqueue.raise(late, { id: `late:${id}`, delay: policy.startTimeoutMs })
})

/** Stop the doomed, the last first, one at a time; those of a dynamic supervisor all at once. */
const stopNext = machineSetup.enqueueActions(({ context, enqueue }) => {
  const together = context.policy.strategy === 'dynamic'
  if (!together && context.children.some((child) => child.status === 'stopping')) return
  const doomed = context.children.filter(({ doomed: isDoomed }) => isDoomed)
  const next = together ? doomed : doomed.slice(-1)
  if (next.length === 0) return
  const ids = new Set(next.map((child) => child.id))
  enqueue.assign({
    children: change(
      context.children,
      (child) => ids.has(child.id),
      () => ({ status: 'stopping', doomed: false }),
    ),
  })
  for (const { id, incarnation, stopTimeoutMs } of next) {
    enqueue.cancel(`late:${id}`)
    const late = { type: 'child.late' as const, id, incarnation }
    if (stopTimeoutMs > 0) enqueue({ type: 'askChildToStop', params: { id, incarnation } })
    if (Number.isFinite(stopTimeoutMs)) {
      enqueue.raise(late, { id: `late:${id}`, delay: stopTimeoutMs })
    }
  }
})

/** A stopped child is gone; in a round it waits to be started again. */
const markGone = (then: 'stopped' | 'waiting') =>
  machineSetup.enqueueActions(({ context, event, enqueue }) => {
    if (!('incarnation' in event)) return
    const { id, incarnation } = event
    enqueue.cancel(`late:${id}`)
    enqueue({ type: 'removeChild', params: { id, incarnation } })
    enqueue.assign({
      children: without(context.children, id, () => ({ status: then, doomed: false })),
    })
  })

/** A child has come to its end, and that is all right. */
const markEnded = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (!('incarnation' in event)) return
  const { id, incarnation } = event
  const failure = event.type === 'child.failed' ? { lastError: event.message } : {}
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  if (event.type === 'child.failed') {
    enqueue({ type: 'reportFailure', params: { id, message: event.message } })
  }
  enqueue.assign({
    children: without(context.children, id, () => ({
      status: 'stopped',
      doomed: false,
      ...failure,
    })),
  })
})

/** Book a failure: how long to wait, and what is known of it. */
const bookFailure = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.failed') return
  const { id, incarnation, at, message, fault = 'bug' } = event
  const { policy } = context
  const child = context.children.find((other) => other.id === id)
  // Counted from its restart: a long back-off is no health.
  const stable = at - (child?.dueAt ?? at) >= policy.stableMs
  const streak = stable ? 1 : (child?.streak ?? 0) + 1
  const restartInMs = backoffMs(policy.backoff, streak, event.random)
  const isCounted = fault !== 'dependency' && fault !== 'poison'
  const recent = recentFailures(context.failures, policy, at)
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  enqueue.assign({
    failures: isCounted ? [...recent, at] : recent,
    children: withChild(context.children, id, (was) => ({
      status: fault === 'dependency' ? 'suspended' : 'backingOff',
      restarts: was.restarts + 1,
      doomed: false,
      streak,
      lastFailedAt: at,
      lastError: message,
      dueAt: at + restartInMs,
    })),
  })
  enqueue({ type: 'reportFailure', params: { id, message, restartInMs } })
  if (isGrouped(policy)) {
    enqueue.cancel('round')
    enqueue.raise({ type: 'round.due' }, { id: 'round', delay: restartInMs })
  } else {
    enqueue.raise({ type: 'child.due', id, incarnation }, { id: `due:${id}`, delay: restartInMs })
  }
})

/** All that are restarted with the one that failed: those alive are doomed, the rest wait. */
const openRound = machineSetup.assign(({ context, event }) => {
  if (event.type !== 'child.failed') return {}
  const ids = concerned(context, event.id)
  return {
    roundIsDue: false,
    children: change(
      context.children,
      (child) => ids.has(child.id),
      (child) => (isAlive(child) ? { doomed: child.status !== 'stopping' } : { status: 'waiting' }),
    ),
  }
})

/** Stop what is doomed; when nothing is, and the wait is over, start what waits. */
const advanceRound = machineSetup.enqueueActions(({ context, enqueue }) => {
  const isBusy = context.children.some((child) => child.doomed || child.status === 'stopping')
  if (isBusy) enqueue(stopNext)
  else if (context.roundIsDue) enqueue(startNext)
})

const restartNow = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.due') return
  const { id } = event
  const incarnation = event.incarnation + 1
  enqueue.assign({
    children: withChild(context.children, id, () => ({ status: 'starting', incarnation })),
  })
  enqueue({ type: 'startChild', params: { id, incarnation } })
  const late = { type: 'child.late' as const, id, incarnation }
  enqueue.raise(late, { id: `late:${id}`, delay: context.policy.startTimeoutMs })
})

const giveUp = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.failed') return
  const { id, incarnation, message } = event
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  enqueue({ type: 'reportFailure', params: { id, message } })
  enqueue.assign({
    verdict: { message: `${context.name}/${id}: ${message}`, cause: event.cause },
    children: withChild(context.children, id, () => ({
      status: 'stopped',
      doomed: false,
      lastError: message,
    })),
  })
})

/** Nobody is started any more, and whoever is alive is to be stopped. */
const doomAll = machineSetup.enqueueActions(({ context, enqueue }) => {
  enqueue.cancel('round')
  for (const child of context.children) enqueue.cancel(`due:${child.id}`)
  enqueue.assign({
    children: context.children.map((child) =>
      isAlive(child)
        ? { ...child, doomed: child.status !== 'stopping' }
        : { ...child, status: 'stopped' as const },
    ),
  })
})

const markReady = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.ready') return
  enqueue.cancel(`late:${event.id}`)
  enqueue.assign({
    children: withChild(context.children, event.id, (child) =>
      child.status === 'starting' ? { status: 'ready' } : {},
    ),
  })
})

const enlistChild = machineSetup.assign(({ context, event }) =>
  event.type === 'child.add' ? { children: [...context.children, waitingChild(event.child)] } : {},
)

/** A child that is added to those that run is started at once, beside whoever is starting. */
const startAdded = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.add') return
  const { id } = event.child
  enqueue.assign({
    children: withChild(context.children, id, () => ({ status: 'starting', incarnation: 1 })),
  })
  enqueue({ type: 'startChild', params: { id, incarnation: 1 } })
  const late = { type: 'child.late' as const, id, incarnation: 1 }
  enqueue.raise(late, { id: `late:${id}`, delay: context.policy.startTimeoutMs })
})

const refuse = machineSetup.enqueueActions(({ event, enqueue }) => {
  if (event.type === 'child.add') {
    enqueue({ type: 'refuseChild', params: { id: event.child.id } })
  }
})

/** One child is to go for good. */
const doomOne = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.remove') return
  enqueue.cancel(`due:${event.id}`)
  enqueue.assign({
    children: withChild(context.children, event.id, (child) => ({
      restart: 'temporary',
      ...(isAlive(child) ? { doomed: child.status !== 'stopping' } : {}),
    })).filter((child) => child.id !== event.id || isAlive(child)),
  })
})

export const supervisorMachine = machineSetup.createMachine({
  id: 'supervisor',
  context: ({ input }) => ({
    name: input.name,
    policy: input.policy,
    failures: [],
    children: input.children.map(waitingChild),
    roundIsDue: true,
  }),
  initial: 'starting',
  on: {
    // The binding hears of failures by its own observers; XState's own word of them adds nothing.
    'xstate.error.actor.*': {},
  },
  states: {
    starting: {
      entry: startNext,
      always: { guard: 'isSettled', target: 'running' },
      on: {
        'child.add': [
          { guard: and(['isNew', 'hasPlace']), actions: enlistChild },
          { guard: 'isNew', actions: refuse },
        ],
        'child.ready': { guard: 'isCurrent', actions: [markReady, startNext] },
        'child.failed': { guard: 'isCurrent', actions: giveUp, target: 'stopping' },
        'child.late': { guard: 'isCurrent', actions: 'failChild' },
        'child.ended': [
          { guard: and(['isCurrent', 'isPermanent']), actions: 'failChild' },
          { guard: and(['isCurrent', 'endsAll']), actions: markEnded, target: 'stopping' },
          { guard: 'isCurrent', actions: [markEnded, startNext] },
        ],
        stop: 'stopping',
      },
    },
    running: {
      tags: ['ready'],
      on: {
        'child.add': [
          { guard: and(['isNew', 'hasPlace']), actions: [enlistChild, startAdded] },
          { guard: 'isNew', actions: refuse },
        ],
        'child.remove': { actions: [doomOne, stopNext] },
        'child.ready': { guard: 'isCurrent', actions: markReady },
        'child.failed': [
          { guard: and(['isCurrent', 'isStopping']), actions: [markGone('stopped'), stopNext] },
          { guard: and(['isCurrent', 'isFatal']), actions: giveUp, target: 'stopping' },
          {
            guard: and(['isCurrent', 'isLost', 'endsAll']),
            actions: markEnded,
            target: 'stopping',
          },
          { guard: and(['isCurrent', 'isLost']), actions: markEnded },
          {
            guard: and(['isCurrent', 'hasBudget', 'isGrouped']),
            actions: [bookFailure, openRound],
            target: 'restarting',
          },
          { guard: and(['isCurrent', 'hasBudget']), actions: bookFailure },
          { guard: 'isCurrent', actions: giveUp, target: 'stopping' },
        ],
        'child.due': { guard: 'isDue', actions: restartNow },
        'child.late': [
          { guard: and(['isCurrent', 'isStopping']), actions: [markGone('stopped'), stopNext] },
          { guard: 'isCurrent', actions: 'failChild' },
        ],
        'child.ended': [
          { guard: and(['isCurrent', 'isStopping']), actions: [markGone('stopped'), stopNext] },
          { guard: and(['isCurrent', 'isPermanent']), actions: 'failChild' },
          { guard: and(['isCurrent', 'endsAll']), actions: markEnded, target: 'stopping' },
          { guard: 'isCurrent', actions: markEnded },
        ],
        stop: 'stopping',
      },
    },
    /** Several are restarted together: stopped in reverse, awaited, started in order. */
    restarting: {
      tags: ['ready'],
      entry: advanceRound,
      always: { guard: 'isSettled', target: 'running' },
      on: {
        'round.due': {
          actions: [machineSetup.assign({ roundIsDue: true }), advanceRound],
        },
        'child.add': [
          { guard: and(['isNew', 'hasPlace']), actions: [enlistChild, advanceRound] },
          { guard: 'isNew', actions: refuse },
        ],
        'child.ready': { guard: 'isCurrent', actions: [markReady, advanceRound] },
        'child.failed': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('waiting'), advanceRound],
          },
          { guard: and(['isCurrent', 'isFatal']), actions: giveUp, target: 'stopping' },
          {
            guard: and(['isCurrent', 'isLost', 'endsAll']),
            actions: markEnded,
            target: 'stopping',
          },
          { guard: and(['isCurrent', 'isLost']), actions: [markEnded, advanceRound] },
          {
            guard: and(['isCurrent', 'hasBudget']),
            actions: [bookFailure, openRound],
            target: 'restarting',
            reenter: true,
          },
          { guard: 'isCurrent', actions: giveUp, target: 'stopping' },
        ],
        'child.late': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('waiting'), advanceRound],
          },
          { guard: 'isCurrent', actions: 'failChild' },
        ],
        'child.ended': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('waiting'), advanceRound],
          },
          { guard: and(['isCurrent', 'isPermanent']), actions: 'failChild' },
          { guard: and(['isCurrent', 'endsAll']), actions: markEnded, target: 'stopping' },
          { guard: 'isCurrent', actions: [markEnded, advanceRound] },
        ],
        stop: 'stopping',
      },
    },
    stopping: {
      entry: [doomAll, stopNext],
      always: [
        { guard: and(['nothingAlive', 'hasFailed']), target: 'failed' },
        { guard: 'nothingAlive', target: 'stopped' },
      ],
      on: {
        'child.ended': { guard: 'isCurrent', actions: [markGone('stopped'), stopNext] },
        'child.failed': { guard: 'isCurrent', actions: [markGone('stopped'), stopNext] },
        'child.late': { guard: 'isCurrent', actions: [markGone('stopped'), stopNext] },
      },
    },
    stopped: { type: 'final' },
    failed: { entry: 'fail' },
  },
})
