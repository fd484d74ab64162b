/** What a supervisor asks itself and does: the guards and actions of supervisor.ts. */
import { setup } from 'xstate'
import { backoffMs } from './backoff.ts'
import { type Flaw, recentFailures, strikesMax } from './supervision.ts'
import type {
  Child,
  Fall,
  SupervisorContext,
  SupervisorEvent,
  SupervisorInput,
} from './supervisor.ts'
import {
  change,
  concerned,
  dropped,
  ended,
  flawOfAdded,
  isAlive,
  isCounted,
  isGrouped,
  lapsesOf,
  waitingChild,
  withChild,
} from './supervisor-children.ts'

/** What became of a child that failed: restarted, handed up with its supervisor, or gone. */
interface FailureReport {
  id: string
  message: string
  restartInMs?: number
  /** In the first start that is told to whoever started it; later somebody must hear of it. */
  isHandedUp?: 'atStart' | 'later'
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
    /**
     * Say again what was put off, with the present time: it is counted, and waited, from now on. It
     * is told and not raised, so that the level above hears first that the start has succeeded.
     */
    tellFall: ({ self }, { fall }: { fall: Fall }) => {
      self.send(fall)
    },
    /** The child is not taken: there is no place for it, or it cannot be as it is specified. */
    refuseChild: (_, _params: { id: string; flaw: Flaw }) => {
      throw new Error('bind refuseChild in actors/supervisor.ts')
    },
    /**
     * The verdict is told to itself, to be thrown in a transition of its own: XState drops what a
     * transition that throws had still to do, and a child that was just taken out would live on.
     */
    tellVerdict: ({ self }) => {
      self.send({ type: 'verdict.due' })
    },
    fail: ({ context }) => {
      throw new Error(context.verdict?.message, { cause: context.verdict?.cause })
    },
    /** Tell the world of a failure, unless the level above will. */
    reportFailure: (_, _params: FailureReport) => {
      throw new Error('bind reportFailure in actors/supervisor.ts')
    },
  },
  guards: {
    /** The word is of the child's present life, and that is not over: each life ends once. */
    isCurrent: ({ context, event }) =>
      'incarnation' in event &&
      context.children.some(
        (child) =>
          child.id === event.id &&
          child.incarnation === event.incarnation &&
          // A fall that was put off is over with the word that was kept of it, and with no other.
          (isAlive(child) || (child.status === 'fallen' && 'isPutOff' in event)),
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
      context.children.every(({ status }) => ['ready', 'fallen', 'stopped'].includes(status)),
    hasBudget: ({ context, event }) => {
      if (event.type !== 'child.failed') return false
      if (!isCounted(event.fault)) return true
      const { failures, policy, children } = context
      const child = children.find(({ id }) => id === event.id)
      const { strikes } = lapsesOf(child, policy, event)
      return (
        recentFailures(failures, policy, event.at).length < policy.intensity &&
        strikes <= strikesMax(policy)
      )
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

type Enqueue = Parameters<Parameters<typeof supervisorSetup.enqueueActions>[0]>[0]['enqueue']

/** Begin a new life of a child, with a limit on how long it may take to be ready. */
function beginLife(enqueue: Enqueue, context: SupervisorContext, id: string, incarnation: number) {
  const child = context.children.find((one) => one.id === id)
  if (child === undefined) return
  enqueue.assign({
    children: withChild(context.children, id, () => ({ status: 'starting', incarnation })),
  })
  enqueue({ type: 'startChild', params: { id, incarnation } })
  if (!Number.isFinite(child.startTimeoutMs)) return
  const late = { type: 'child.late' as const, id, incarnation }
  enqueue.raise(late, { id: `late:${id}`, delay: child.startTimeoutMs })
}

/** The first that waits is started, unless somebody is starting. */
export const startNext = supervisorSetup.enqueueActions(({ context, enqueue }) => {
  const { children } = context
  if (children.some((child) => child.status === 'starting')) return
  const next = children.find((child) => child.status === 'waiting')
  if (next !== undefined) beginLife(enqueue, context, next.id, next.incarnation + 1)
})

/** Of those that are stopped one at a time: in reverse, after those that leave first. */
function nextDoomed(doomed: readonly Child[]): Child[] {
  const first = doomed.filter(({ leavesFirst }) => leavesFirst === true)
  return (first.length > 0 ? first : doomed).slice(-1)
}

/** Stop the doomed, the last first, one at a time; those of a dynamic supervisor all at once. */
export const stopNext = supervisorSetup.enqueueActions(({ context, enqueue }) => {
  const together = context.policy.strategy === 'dynamic'
  if (!together && context.children.some((child) => child.status === 'stopping')) return
  const doomed = context.children.filter(({ doomed: isDoomed }) => isDoomed)
  const next = together ? doomed : nextDoomed(doomed)
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

/**
 * A child that was ready falls while its siblings are still in the first start. As with OTP, whose
 * supervisor hears of nothing before the start is over, its end is put off until then.
 */
export const putOffFall = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.failed' && event.type !== 'child.ended') return
  const { id, incarnation } = event
  const failure =
    event.type === 'child.failed'
      ? { lastError: event.message, fenced: event.fault === 'fenced' }
      : {}
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  enqueue.assign({
    falls: [...context.falls, { ...event, isPutOff: true }],
    children: withChild(context.children, id, () => ({ status: 'fallen', ...failure })),
  })
})

/** What was put off is told now, in the order in which it happened. */
export const tellFalls = supervisorSetup.enqueueActions(({ context, enqueue }) => {
  for (const fall of context.falls) enqueue({ type: 'tellFall', params: { fall } })
  enqueue.assign({ falls: [] })
})

/** Book a failure: how long to wait, and what is known of it. */
export const bookFailure = supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.failed') return
  const { id, incarnation, at, message, fault = 'bug' } = event
  const { policy } = context
  const child = context.children.find((other) => other.id === id)
  const lapses = lapsesOf(child, policy, { at, fault })
  const restartInMs = backoffMs(policy.backoff, lapses.streak, event.random)
  const recent = recentFailures(context.failures, policy, at)
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  enqueue.assign({
    failures: isCounted(fault)
      ? [...recent, at]
      : fault === 'poison'
        ? recent.slice(0, -1)
        : recent,
    children: withChild(context.children, id, (was) => ({
      status: fault === 'dependency' ? 'suspended' : 'backingOff',
      restarts: was.restarts + 1,
      doomed: false,
      ...lapses,
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
  // A fall that was put off is one with the round; of who is temporary that leaves nothing.
  const gone = context.children.filter(
    ({ id, status, restart }) => ids.has(id) && status === 'fallen' && restart === 'temporary',
  )
  const incarnations = gone.map(({ incarnation }) => incarnation)
  enqueue.assign({
    roundIsDue: false,
    goneIncarnation: Math.max(context.goneIncarnation, ...incarnations),
    children: change(
      context.children.filter((child) => !gone.includes(child)),
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
  if (event.type === 'child.due') beginLife(enqueue, context, event.id, event.incarnation + 1)
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
  beginLife(enqueue, context, event.child.id, context.goneIncarnation + 1)
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
