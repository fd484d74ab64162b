/**
 * The rules of supervision, as data and arithmetic: OTP's strategies and restart types, a limit of
 * failures in a sliding window, and what the class of a fault means for it.
 */
import { type BackoffPolicy, backoffMs } from './backoff.ts'

/**
 * Who is restarted with a child that fails: it alone, all, or it and those started after it.
 * `dynamic`: it alone, and children come and go.
 */
export type Strategy = 'one_for_one' | 'one_for_all' | 'rest_for_one' | 'dynamic'

/** `permanent`: always; `transient`: only when it failed; `temporary`: never. */
export type Restart = 'permanent' | 'transient' | 'temporary'

/** When the supervisor ends of itself: when one, or the last, of its significant children has. */
export type AutoShutdown = 'never' | 'any_significant' | 'all_significant'

/**
 * What kind of fault it was. `bug`: restart, and count it. `dependency` (something it stands on is
 * away): restart without counting. `poison` (one message did it, and has done it before): the same,
 * and the failure by which that is known is counted no more. `fenced`: somebody else is in
 * charge now, never restart it here. `fatal`: restarting cannot help, give up.
 */
export type Fault = 'bug' | 'dependency' | 'poison' | 'fenced' | 'fatal'

export interface SupervisorPolicy {
  strategy: Strategy
  /** Failures allowed in the window; one more ends the supervisor. */
  intensity: number
  windowMs: number
  /**
   * Failures allowed to one child in a row, none of them after `stableMs` of health; one more ends
   * the supervisor. It is for failures that take so long that they leave the window as they come,
   * such as hanging at every start. Those that the intensity allows are allowed in any case.
   */
  streakMax: number
  backoff: BackoffPolicy
  /** A child that ran this long without failing starts its back-off anew. */
  stableMs: number
  /** For children that do not say otherwise. */
  startTimeoutMs: number
  /** For children that do not say otherwise. */
  stopTimeoutMs: number
  autoShutdown: AutoShutdown
  /** Of a dynamic supervisor. */
  childrenMax: number
}

/** What is right for most; the root of a tree wants a smaller intensity. */
export const defaultPolicy: SupervisorPolicy = {
  strategy: 'one_for_one',
  intensity: 5,
  windowMs: 30_000,
  streakMax: 8,
  backoff: { baseMs: 200, capMs: 30_000, jitter: 0.2 },
  stableMs: 30_000,
  startTimeoutMs: 10_000,
  stopTimeoutMs: 5000,
  autoShutdown: 'never',
  childrenMax: 100,
}

/** A child as its supervisor has to know it. */
export interface ChildPlan {
  id: string
  restart: Restart
  significant: boolean
  /** Time it has to be ready; Infinity waits. */
  startTimeoutMs: number
  /** Time it has to stop; 0 takes it out at once, Infinity waits. */
  stopTimeoutMs: number
  /** When all are stopped, it is before those that do not, whenever it was started. */
  leavesFirst?: boolean
}

/** What is wrong with a specification, or undefined. */
export interface Flaw {
  /** The child it is about, when it is about one. */
  child?: string
  field: string
  message: string
}

/** Failures that still count at `at`. */
export function recentFailures(
  failures: readonly number[],
  policy: SupervisorPolicy,
  at: number,
): number[] {
  return failures.filter((failure) => at - failure < policy.windowMs)
}

/** How often one child may fail in a row. */
export function strikesMax({ streakMax, intensity }: SupervisorPolicy): number {
  return Math.max(streakMax, intensity)
}

/**
 * Whether a child that fails as soon as it is started ever uses up the intensity. With long waits
 * its failures may leave the window as fast as they come, and it would crash for ever.
 */
export function isLimitReachable({ intensity, windowMs, backoff }: SupervisorPolicy): boolean {
  // Waits only grow, so the first ones lie closest together; jitter may stretch each.
  let ms = 0
  for (let retry = 1; retry <= Math.min(intensity, curveEnd); retry += 1) {
    ms += backoffMs(backoff, retry, 1)
  }
  return ms + Math.max(0, intensity - curveEnd) * backoffMs(backoff, curveEnd, 1) < windowMs
}

/** From this retry on all waits are the same. */
const curveEnd = 31

/** The first thing that makes a specification unusable. */
export function flawOf(policy: SupervisorPolicy, children: readonly ChildPlan[]): Flaw | undefined {
  return flawOfPolicy(policy) ?? flawOfChildren(policy, children)
}

const strategies: readonly string[] = ['one_for_one', 'one_for_all', 'rest_for_one', 'dynamic']
const restarts: readonly string[] = ['permanent', 'transient', 'temporary']
const autoShutdowns: readonly string[] = ['never', 'any_significant', 'all_significant']

/** A timer that is set for longer goes off at once. */
const timerMaxMs = 2 ** 31 - 1

function flawOfPolicy(policy: SupervisorPolicy): Flaw | undefined {
  const { baseMs, capMs, jitter } = policy.backoff
  return (
    flawOfChoice('strategy', policy.strategy, strategies) ??
    flawOfChoice('autoShutdown', policy.autoShutdown, autoShutdowns) ??
    flawOfCount('intensity', policy.intensity) ??
    flawOfCount('streakMax', policy.streakMax) ??
    flawOfCount('childrenMax', policy.childrenMax) ??
    flawOfNumber('windowMs', policy.windowMs, { above: 0 }) ??
    flawOfNumber('startTimeoutMs', policy.startTimeoutMs, { above: 0, max: timerMaxMs }) ??
    flawOfStopTimeout(policy.stopTimeoutMs) ??
    flawOfNumber('stableMs', policy.stableMs, { min: 0 }) ??
    flawOfNumber('backoff.jitter', jitter, { min: 0, max: 1 }) ??
    flawOfNumber('backoff.baseMs', baseMs, { min: 0, max: timerMaxMs / 2 }) ??
    flawOfNumber('backoff.capMs', capMs, { min: 0, max: timerMaxMs / 2 }) ??
    flawOfLimit(policy)
  )
}

function flawOfLimit(policy: SupervisorPolicy): Flaw | undefined {
  if (isLimitReachable(policy)) return undefined
  const { intensity, windowMs, backoff } = policy
  const waits = `${intensity} back-offs from ${backoff.baseMs} ms`
  const got = 'more: a child would crash for ever; widen the window or shorten the back-off'
  return {
    field: 'windowMs',
    message: `expected ${waits} to fit into ${windowMs} ms, got ${got}`,
  }
}

function flawOfChoice(field: string, got: string, choices: readonly string[]): Flaw | undefined {
  if (choices.includes(got)) return undefined
  return { field, message: `expected one of ${choices.join(', ')}, got "${got}"` }
}

function flawOfCount(field: string, got: number): Flaw | undefined {
  if (Number.isSafeInteger(got) && got > 0) return undefined
  return { field, message: `expected a whole number of 1 or more, got ${got}` }
}

interface Range {
  above?: number
  min?: number
  max?: number
}

function flawOfNumber(field: string, got: number, { above, min, max }: Range): Flaw | undefined {
  if (above !== undefined && !(got > above)) {
    return { field, message: `expected more than ${above}, got ${got}` }
  }
  if (min !== undefined && !(got >= min)) {
    return { field, message: `expected ${min} or more, got ${got}` }
  }
  if (max !== undefined && !(got <= max)) {
    return { field, message: `expected at most ${Math.floor(max)}, got ${got}` }
  }
  return undefined
}

function flawOfStopTimeout(got: number): Flaw | undefined {
  if (got === Number.POSITIVE_INFINITY) return undefined
  return flawOfNumber('stopTimeoutMs', got, { min: 0, max: timerMaxMs })
}

function flawOfStartTimeout(got: number): Flaw | undefined {
  if (got === Number.POSITIVE_INFINITY) return undefined
  return flawOfNumber('startTimeoutMs', got, { above: 0, max: timerMaxMs })
}

function flawOfChildren(
  policy: SupervisorPolicy,
  children: readonly ChildPlan[],
): Flaw | undefined {
  const seen = new Set<string>()
  for (const { id, restart, significant, startTimeoutMs, stopTimeoutMs } of children) {
    if (seen.has(id)) {
      return { child: id, field: 'id', message: `expected an id of its own, got "${id}" twice` }
    }
    seen.add(id)
    const flaw =
      flawOfChoice('restart', restart, restarts) ??
      flawOfStartTimeout(startTimeoutMs) ??
      flawOfStopTimeout(stopTimeoutMs)
    if (flaw !== undefined) return { child: id, ...flaw }
    if (significant && restart === 'permanent') {
      const message = 'expected a transient or temporary child: a permanent one never ends'
      return { child: id, field: 'significant', message }
    }
    if (significant && policy.autoShutdown === 'never') {
      const message = 'expected a supervisor with autoShutdown, got one with "never"'
      return { child: id, field: 'significant', message }
    }
  }
  if (children.length > policy.childrenMax) {
    const message = `expected at most ${policy.childrenMax} children, got ${children.length}`
    return { field: 'childrenMax', message }
  }
  return undefined
}
