/** What a supervisor knows of its children, and what follows from it: data and arithmetic. */
import {
  type ChildPlan,
  type Fault,
  type Flaw,
  flawOf,
  type SupervisorPolicy,
} from './supervision.ts'
import type { Child, SupervisorContext } from './supervisor.ts'

type Change = (child: Child) => Partial<Child>

export const change = (children: readonly Child[], which: (child: Child) => boolean, by: Change) =>
  children.map((child) => (which(child) ? { ...child, ...by(child) } : child))

export const withChild = (children: readonly Child[], id: string, by: Change) =>
  change(children, (child) => child.id === id, by)

export const waitingChild = (plan: ChildPlan, incarnation: number): Child => ({
  ...plan,
  status: 'waiting',
  incarnation,
  restarts: 0,
  doomed: false,
  fenced: false,
  streak: 0,
  strikes: 0,
})

export const isAlive = (child: Child) => ['starting', 'ready', 'stopping'].includes(child.status)

export const isGrouped = ({ strategy }: SupervisorPolicy) =>
  strategy === 'one_for_all' || strategy === 'rest_for_one'

/** The children that are restarted with this one. */
export function concerned({ policy, children }: SupervisorContext, id: string): Set<string> {
  if (policy.strategy === 'one_for_all') return new Set(children.map((child) => child.id))
  if (policy.strategy !== 'rest_for_one') return new Set([id])
  const first = children.findIndex((child) => child.id === id)
  return new Set(children.slice(first).map((child) => child.id))
}

/** Without this child. Who is given its name later counts on: the late word of it is not theirs. */
export function dropped(context: SupervisorContext, id: string) {
  const incarnation = context.children.find((child) => child.id === id)?.incarnation ?? 0
  return {
    children: context.children.filter((child) => child.id !== id),
    goneIncarnation: Math.max(context.goneIncarnation, incarnation),
  }
}

export const flawOfAdded = (
  { policy, children }: SupervisorContext,
  plan: ChildPlan,
): Flaw | undefined => flawOf(policy, [...children, plan])

/** With the child at its end; one that nobody starts again leaves no trace. */
export function ended(context: SupervisorContext, id: string, by: Change) {
  const isLast = context.children.some(
    (child) =>
      child.id === id && (child.restart === 'temporary' || context.policy.strategy === 'dynamic'),
  )
  return isLast ? dropped(context, id) : { children: withChild(context.children, id, by) }
}

/** Whether a failure tells against the child, and not against what it stands on or was given. */
export const isCounted = (fault?: Fault) => fault !== 'dependency' && fault !== 'poison'

/**
 * What a failure at `at` makes of the back-off and the strikes of a child. A message is known for
 * poison by an earlier failure, which was taken for the child's own: that one is taken back.
 */
export function lapsesOf(
  child: Child | undefined,
  { stableMs }: SupervisorPolicy,
  { at, fault }: { at: number; fault?: Fault },
): { streak: number; strikes: number } {
  // Counted from its restart: a long back-off is no health, and neither is a long start in vain.
  const wasStable = child?.status !== 'starting' && at - (child?.dueAt ?? at) >= stableMs
  const { streak, strikes } = child === undefined || wasStable ? nothing : child
  if (fault === 'poison') {
    return { streak: Math.max(1, streak - 1), strikes: Math.max(0, strikes - 1) }
  }
  return { streak: streak + 1, strikes: strikes + (isCounted(fault) ? 1 : 0) }
}

const nothing = { streak: 0, strikes: 0 }
