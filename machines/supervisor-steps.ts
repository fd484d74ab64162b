/** What a supervisor asks itself and does: the guards and actions of supervisor.ts. */
import { setup } from 'xstate'
import { backoffMs } from './backoff.ts'
import {
  type ChildPlan,
  type Flaw,
  flawOf,
  recentFailures,
  type SupervisorPolicy,
} from './supervision.ts'
import type { Child, SupervisorContext, SupervisorEvent, SupervisorInput } from './supervisor.ts'

type Change = (child: Child) => Partial<Child>

const change = (children: readonly Child[], which: (child: Child) => boolean, by: Change) =>
  children.map((child) => (which(child) ? { ...child, ...by(child) } : child))

const withChild = (children: readonly Child[], id: string, by: Change) =>
  change(children, (child) => child.id === id, by)

export const waitingChild = (plan: ChildPlan, incarnation: number): Child => ({
  ...plan,
  status: 'waiting',
  incarnation,
  restarts: 0,
  doomed: false,
  fenced: false,
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

/** Without this child. Who is given its name later counts on: the late word of it is not theirs. */
function dropped(context: SupervisorContext, id: string) {
  const incarnation = context.children.find((child) => child.id === id)?.incarnation ?? 0
  return {
    children: context.children.filter((child) => child.id !== id),
    goneIncarnation: Math.max(context.goneIncarnation, incarnation),
  }
}

const flawOfAdded = ({ policy, children }: SupervisorContext, plan: ChildPlan) =>
  flawOf(policy, [...children, plan])

/** With the child at its end; one that nobody starts again leaves no trace. */
function ended(context: SupervisorContext, id: string, by: Change) {
  const isLast = context.children.some(
    (child) =>
      child.id === id && (child.restart === 'temporary' || context.policy.strategy === 'dynamic'),
  )
  return isLast ? dropped(context, id) : { children: withChild(context.children, id, by) }
}

export const supervisorSetup = setup({
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
    /** The child is not taken: there is no place for it, or it cannot be as it is specified. */
    refuseChild: (_, _params: { id: string; flaw: Flaw }) => {
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
    /** It was asked to end or is about to be: how it ends makes no difference any more. */
    isStopping: ({ context, event }) =>
      'incarnation' in event &&
      context.children.some(
        (child) => child.id === event.id && (child.status === 'stopping' || child.doomed),
      ),
    isReady: ({ context, event }) =>
      'incarnation' in event &&
      context.children.some((child) => child.id === event.id && child.status === 'ready'),
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
    isAcceptable: ({ context, event }) =>
      event.type === 'child.add' && flawOfAdded(context, event.child) === undefined,
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
export const startNext = supervisorSetup.enqueueActions(({ context, enqueue }) => {
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
export const stopNext = supervisorSetup.enqueueActions(({ context, enqueue }) => {
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
export const markGone = (then: 'stopped' | 'waiting') =>
  supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
    if (!('incarnation' in event)) return
    const { id, incarnation } = event
    enqueue.cancel(`late:${id}`)
    enqueue({ type: 'removeChild', params: { id, incarnation } })
    enqueue.assign(ended(context, id, () => ({ status: then, doomed: false })))
  })

/** A child has come to its end, and that is all right. */
export const markEnded = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (!('incarnation' in event)) return
  const { id, incarnation } = event
  const failure =
    event.type === 'child.failed'
      ? { lastError: event.message, fenced: event.fault === 'fenced' }
      : {}
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  if (event.type === 'child.failed') {
    enqueue({ type: 'reportFailure', params: { id, message: event.message } })
  }
  enqueue.assign(ended(context, id, () => ({ status: 'stopped', doomed: false, ...failure })))
})

/** Book a failure: how long to wait, and what is known of it. */
export const bookFailure = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
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
    enqueue.raise({ type: 'round.due' }, { id: 'round', delay: restartInMs })
  } else {
    enqueue.raise({ type: 'child.due', id, incarnation }, { id: `due:${id}`, delay: restartInMs })
  }
})

/** All that are restarted with the one that failed: those alive are doomed, the rest wait. */
export const openRound = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.failed') return
  const ids = concerned(context, event.id)
  for (const { id, status } of context.children) {
    // It is stopped in its turn, not when its time to start is up.
    if (ids.has(id) && status === 'starting') enqueue.cancel(`late:${id}`)
  }
  enqueue.assign({
    roundIsDue: false,
    children: change(
      context.children,
      (child) => ids.has(child.id) && !child.fenced,
      (child) => (isAlive(child) ? { doomed: child.status !== 'stopping' } : { status: 'waiting' }),
    ),
  })
})

/** Stop what is doomed; when nothing is, and the wait is over, start what waits. */
export const advanceRound = supervisorSetup.enqueueActions(({ context, enqueue }) => {
  const isBusy = context.children.some((child) => child.doomed || child.status === 'stopping')
  if (isBusy) enqueue(stopNext)
  else if (context.roundIsDue) enqueue(startNext)
})

export const restartNow = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
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

export const giveUp = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
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
export const doomAll = supervisorSetup.enqueueActions(({ context, enqueue }) => {
  for (const { id, status } of context.children) {
    enqueue.cancel(`due:${id}`)
    if (status === 'starting') enqueue.cancel(`late:${id}`)
  }
  enqueue.assign({
    children: context.children.map((child) =>
      isAlive(child)
        ? { ...child, doomed: child.status !== 'stopping' }
        : { ...child, status: 'stopped' as const },
    ),
  })
})

export const markReady = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.ready') return
  const { id } = event
  // One that was asked to stop meanwhile keeps its limit on that.
  if (context.children.some((child) => child.id === id && child.status !== 'starting')) return
  enqueue.cancel(`late:${id}`)
  enqueue.assign({ children: withChild(context.children, id, () => ({ status: 'ready' })) })
})

export const enlistChild = supervisorSetup.assign(({ context, event }) =>
  event.type === 'child.add'
    ? { children: [...context.children, waitingChild(event.child, context.goneIncarnation)] }
    : {},
)

/** A child that is added to those that run is started at once, beside whoever is starting. */
export const startAdded = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.add') return
  const { id } = event.child
  const incarnation = context.goneIncarnation + 1
  enqueue.assign({
    children: withChild(context.children, id, () => ({ status: 'starting', incarnation })),
  })
  enqueue({ type: 'startChild', params: { id, incarnation } })
  const late = { type: 'child.late' as const, id, incarnation }
  enqueue.raise(late, { id: `late:${id}`, delay: context.policy.startTimeoutMs })
})

export const refuse = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.add') return
  const flaw = flawOfAdded(context, event.child)
  if (flaw !== undefined) {
    enqueue({ type: 'refuseChild', params: { id: event.child.id, flaw } })
  }
})

/** One child is to go for good. */
export const doomOne = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.remove') return
  const { id } = event
  const child = context.children.find((one) => one.id === id)
  if (child === undefined) return
  enqueue.cancel(`due:${id}`)
  if (child.status === 'starting') enqueue.cancel(`late:${id}`)
  const doomed = child.status !== 'stopping'
  enqueue.assign(
    isAlive(child)
      ? { children: withChild(context.children, id, () => ({ restart: 'temporary', doomed })) }
      : dropped(context, id),
  )
})
