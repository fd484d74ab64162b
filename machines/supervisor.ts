/**
 * A supervisor: starts its children one after the other, each awaited until it is ready; restarts
 * the one that fails, after a back-off, as often as its intensity allows; stops them in reverse.
 * When the intensity is used up, or the first start fails, it stops what is left and fails itself,
 * so that the level above decides.
 *
 * Time and randomness come in the events. Children are named by id and incarnation, so that the
 * late word of an earlier life cannot be taken for the present one's.
 */
import { and, setup } from 'xstate'
import { type BackoffPolicy, backoffMs } from './backoff.ts'

export interface SupervisorPolicy {
  /** Failures allowed in the window; one more ends the supervisor. */
  intensity: number
  windowMs: number
  backoff: BackoffPolicy
  /** A child that ran this long without failing starts its back-off anew. */
  stableMs: number
  startTimeoutMs: number
  stopTimeoutMs: number
}

export type ChildStatus = 'waiting' | 'starting' | 'ready' | 'backingOff' | 'stopping' | 'stopped'

export interface Child {
  id: string
  status: ChildStatus
  incarnation: number
  restarts: number
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
  children: readonly string[]
}

interface SupervisorContext {
  name: string
  policy: SupervisorPolicy
  /** In order of start. */
  children: readonly Child[]
  /** Epoch-free times of failures inside the window. */
  failures: readonly number[]
  /** Why it ends in error, when it does. */
  verdict?: { message: string; cause: unknown }
}

export type SupervisorEvent =
  | { type: 'child.add'; id: string }
  | { type: 'child.ready'; id: string; incarnation: number }
  | { type: 'child.ended'; id: string; incarnation: number }
  | {
      type: 'child.failed'
      id: string
      incarnation: number
      message: string
      /** What it threw, to be handed up when the supervisor gives up. */
      cause?: unknown
      at: number
      random: number
    }
  | { type: 'child.due'; id: string; incarnation: number }
  | { type: 'child.late'; id: string; incarnation: number }
  | { type: 'stop' }
  | { type: `xstate.error.actor.${string}` }

/** Failures that still count at `at`. */
export function recentFailures(
  failures: readonly number[],
  policy: SupervisorPolicy,
  at: number,
): number[] {
  return failures.filter((failure) => at - failure < policy.windowMs)
}

/**
 * Whether a child that fails as soon as it is started ever uses up the intensity. With long waits
 * its failures may leave the window as fast as they come, and it would crash for ever.
 */
export function isLimitReachable({ intensity, windowMs, backoff }: SupervisorPolicy): boolean {
  // Waits only grow, so the first ones lie closest together; jitter may stretch each.
  let ms = 0
  for (let retry = 1; retry <= intensity; retry += 1) ms += backoffMs(backoff, retry, 1)
  return ms < windowMs
}

const withChild = (
  children: readonly Child[],
  id: string,
  change: (child: Child) => Partial<Child>,
): Child[] => children.map((child) => (child.id === id ? { ...child, ...change(child) } : child))

const waitingChild = (id: string): Child => ({
  id,
  status: 'waiting',
  incarnation: 0,
  restarts: 0,
  streak: 0,
})

const isAlive = (child: Child) => ['starting', 'ready', 'stopping'].includes(child.status)

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
          child.status === 'backingOff',
      ),
    allReady: ({ context }) => context.children.every((child) => child.status === 'ready'),
    hasBudget: ({ context, event }) =>
      event.type === 'child.failed' &&
      recentFailures(context.failures, context.policy, event.at).length < context.policy.intensity,
    isNew: ({ context, event }) =>
      event.type === 'child.add' && !context.children.some((child) => child.id === event.id),
    nothingAlive: ({ context }) => !context.children.some(isAlive),
    hasFailed: ({ context }) => context.verdict !== undefined,
  },
})

/** Begin a new life of a child: the next incarnation, with a limit on how long it may take. */
const begin = (id: string, child: Child | undefined, policy: SupervisorPolicy) => {
  const incarnation = (child?.incarnation ?? 0) + 1
  const late = { type: 'child.late' as const, id, incarnation }
  return { incarnation, late, delay: policy.startTimeoutMs, timer: `late:${id}` }
}

const startNext = machineSetup.enqueueActions(({ context, enqueue }) => {
  if (context.children.some((child) => child.status === 'starting')) return
  const next = context.children.find((child) => child.status === 'waiting')
  if (next === undefined) return
  const { incarnation, late, delay, timer } = begin(next.id, next, context.policy)
  enqueue.assign({
    children: withChild(context.children, next.id, () => ({ status: 'starting', incarnation })),
  })
  enqueue({ type: 'startChild', params: { id: next.id, incarnation } })
  enqueue.raise(late, { id: timer, delay })
})

const stopNext = machineSetup.enqueueActions(({ context, enqueue }) => {
  if (context.children.some((child) => child.status === 'stopping')) return
  const next = context.children.findLast(isAlive)
  if (next === undefined) return
  const { id, incarnation } = next
  enqueue.assign({
    children: withChild(context.children, id, () => ({ status: 'stopping' })),
  })
  enqueue({ type: 'askChildToStop', params: { id, incarnation } })
  enqueue.cancel(`late:${id}`)
  enqueue.raise(
    { type: 'child.late', id, incarnation },
    { id: `late:${id}`, delay: context.policy.stopTimeoutMs },
  )
})

const markGone = machineSetup.enqueueActions(({ event, enqueue }) => {
  if (!('incarnation' in event)) return
  const { id, incarnation } = event
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  enqueue.assign(({ context }) => ({
    children: withChild(context.children, id, () => ({ status: 'stopped' })),
  }))
})

const restartLater = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.failed') return
  const { id, incarnation, at, message } = event
  const child = context.children.find((other) => other.id === id)
  // Counted from its restart: a long back-off is no health.
  const stable = at - (child?.dueAt ?? at) >= context.policy.stableMs
  const streak = stable ? 1 : (child?.streak ?? 0) + 1
  const restartInMs = backoffMs(context.policy.backoff, streak, event.random)
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  enqueue.assign({
    failures: [...recentFailures(context.failures, context.policy, at), at],
    children: withChild(context.children, id, (was) => ({
      status: 'backingOff',
      restarts: was.restarts + 1,
      streak,
      lastFailedAt: at,
      lastError: message,
      dueAt: at + restartInMs,
    })),
  })
  enqueue({ type: 'reportFailure', params: { id, message, restartInMs } })
  enqueue.raise({ type: 'child.due', id, incarnation }, { id: `due:${id}`, delay: restartInMs })
})

const restartNow = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.due') return
  const child = context.children.find((other) => other.id === event.id)
  const { incarnation, late, delay, timer } = begin(event.id, child, context.policy)
  enqueue.assign({
    children: withChild(context.children, event.id, () => ({ status: 'starting', incarnation })),
  })
  enqueue({ type: 'startChild', params: { id: event.id, incarnation } })
  enqueue.raise(late, { id: timer, delay })
})

const giveUp = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.failed') return
  const { id, incarnation, message } = event
  enqueue.cancel(`late:${id}`)
  enqueue({ type: 'removeChild', params: { id, incarnation } })
  enqueue({ type: 'reportFailure', params: { id, message } })
  enqueue.assign({
    verdict: { message: `${context.name}/${id}: ${message}`, cause: event.cause },
    children: withChild(context.children, id, () => ({ status: 'stopped', lastError: message })),
  })
})

const cancelRestarts = machineSetup.enqueueActions(({ context, enqueue }) => {
  for (const child of context.children) enqueue.cancel(`due:${child.id}`)
  enqueue.assign({
    children: context.children.map((child) =>
      isAlive(child) ? child : { ...child, status: 'stopped' as const },
    ),
  })
})

const markReady = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.ready') return
  enqueue.cancel(`late:${event.id}`)
  enqueue.assign({
    children: withChild(context.children, event.id, () => ({ status: 'ready' })),
  })
})

/** While the first children are still being started, one that is added waits for its turn. */
const enlistChild = machineSetup.assign(({ context, event }) =>
  event.type === 'child.add' ? { children: [...context.children, waitingChild(event.id)] } : {},
)

const addChild = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'child.add') return
  const { incarnation, late, delay, timer } = begin(event.id, undefined, context.policy)
  const child: Child = { ...waitingChild(event.id), status: 'starting', incarnation }
  enqueue.assign({ children: [...context.children, child] })
  enqueue({ type: 'startChild', params: { id: event.id, incarnation } })
  enqueue.raise(late, { id: timer, delay })
})

export const supervisorMachine = machineSetup.createMachine({
  id: 'supervisor',
  context: ({ input }) => ({
    name: input.name,
    policy: input.policy,
    failures: [],
    children: input.children.map(waitingChild),
  }),
  initial: 'starting',
  on: {
    // The binding hears of failures by its own observers; XState's own word of them adds nothing.
    'xstate.error.actor.*': {},
  },
  states: {
    starting: {
      entry: startNext,
      always: { guard: 'allReady', target: 'running' },
      on: {
        'child.add': { guard: 'isNew', actions: enlistChild },
        'child.ready': { guard: 'isCurrent', actions: [markReady, startNext] },
        'child.failed': { guard: 'isCurrent', actions: giveUp, target: 'stopping' },
        'child.late': { guard: 'isCurrent', actions: 'failChild' },
        'child.ended': { guard: 'isCurrent', actions: 'failChild' },
        stop: 'stopping',
      },
    },
    running: {
      tags: ['ready'],
      on: {
        'child.add': { guard: 'isNew', actions: addChild },
        'child.ready': { guard: 'isCurrent', actions: markReady },
        'child.failed': [
          { guard: and(['isCurrent', 'hasBudget']), actions: restartLater },
          { guard: 'isCurrent', actions: giveUp, target: 'stopping' },
        ],
        'child.due': { guard: 'isDue', actions: restartNow },
        'child.late': { guard: 'isCurrent', actions: 'failChild' },
        'child.ended': { guard: 'isCurrent', actions: 'failChild' },
        stop: 'stopping',
      },
    },
    stopping: {
      entry: [cancelRestarts, stopNext],
      always: [
        { guard: and(['nothingAlive', 'hasFailed']), target: 'failed' },
        { guard: 'nothingAlive', target: 'stopped' },
      ],
      on: {
        'child.ended': { guard: 'isCurrent', actions: [markGone, stopNext] },
        'child.failed': { guard: 'isCurrent', actions: [markGone, stopNext] },
        'child.late': { guard: 'isCurrent', actions: [markGone, stopNext] },
      },
    },
    stopped: { type: 'final' },
    failed: { entry: 'fail' },
  },
})
