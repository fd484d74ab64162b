/**
 * Explores a statechart: takes every event in every state that is reached, and tells what was
 * reached and taken. Nothing is executed: events that would come of timers and invoked actors are
 * given like all others (`xstate.after.…`, `xstate.done.actor.…`, `xstate.error.actor.…`).
 */
import type { ActorLogic, AnyMachineSnapshot, AnyStateMachine, EventObject } from 'xstate'
import { getAdjacencyMap } from 'xstate/graph'

/** An event with whatever it carries. */
export interface ExploredEvent extends EventObject {
  [field: string]: unknown
}

export interface ExploreOptions {
  input?: unknown
  events: readonly ExploredEvent[]
  /** What makes two snapshots one; by default their state value and context. */
  keyOf?: (snapshot: AnyMachineSnapshot) => string
  /** Snapshots beyond this are not looked behind: it keeps contexts that count finite. */
  isBeyond?: (snapshot: AnyMachineSnapshot) => boolean
}

export interface Step {
  event: EventObject
  from: AnyMachineSnapshot
  to: AnyMachineSnapshot
}

export interface Exploration {
  snapshots: readonly AnyMachineSnapshot[]
  steps: readonly Step[]
  /** Dotted paths of all states that the machine declares, and of those that were reached. */
  declared: readonly string[]
  reached: readonly string[]
  /** Transitions by event, `state event`, as declared and as taken. Those by `always` have none. */
  declaredTransitions: readonly string[]
  takenTransitions: readonly string[]
  /** Snapshots, as keys, from which no way leads to an end: a final state, or an error. */
  deadEnds(isEnd?: (snapshot: AnyMachineSnapshot) => boolean): string[]
}

export function explore(machine: AnyStateMachine, options: ExploreOptions): Exploration {
  const keyOf = options.keyOf ?? (({ value, context }) => JSON.stringify([value, context]))
  const isOver = ({ status }: AnyMachineSnapshot) => status !== 'active'
  const map = getAdjacencyMap(
    // The explorer's type knows nothing of what a machine emits.
    machine as unknown as ActorLogic<AnyMachineSnapshot, EventObject, unknown>,
    {
      input: options.input,
      events: options.events,
      serializeState: (snapshot) => `${snapshot.status} ${keyOf(snapshot)}`,
      stopWhen: (snapshot) => isOver(snapshot) || options.isBeyond?.(snapshot) === true,
    },
  )
  const nodes = Object.values(map)
  const snapshots = nodes.map(({ state }) => state)
  const steps = nodes.flatMap(({ state, transitions }) =>
    Object.values<Edge>(transitions).map(
      (edge): Step => ({ event: edge.event, from: state, to: edge.state }),
    ),
  )
  const stateNodes = nodesOf(machine.root)
  return {
    snapshots,
    steps,
    declared: stateNodes
      .map(nameOf)
      .filter((name) => name !== '')
      .toSorted(),
    reached: unique(snapshots.flatMap(({ value }) => pathsOf(value))),
    declaredTransitions: unique(
      stateNodes.flatMap((node) =>
        [...node.transitions.keys()].map((event) => `${nameOf(node)} ${event}`),
      ),
    ),
    takenTransitions: unique(
      steps.flatMap(({ from, event }) =>
        machine
          .getTransitionData(from, event)
          .map((taken) => `${nameOf(taken.source)} ${taken.eventType}`),
      ),
    ),
    deadEnds: (isEnd) =>
      deadEnds(snapshots, steps, keyOf, (snapshot) => {
        return (
          isOver(snapshot) || options.isBeyond?.(snapshot) === true || isEnd?.(snapshot) === true
        )
      }),
  }
}

function deadEnds(
  snapshots: readonly AnyMachineSnapshot[],
  steps: readonly Step[],
  keyOf: (snapshot: AnyMachineSnapshot) => string,
  isEnd: (snapshot: AnyMachineSnapshot) => boolean,
): string[] {
  const leads = new Set(snapshots.filter(isEnd).map(keyOf))
  for (let grown = true; grown; ) {
    const before = leads.size
    for (const { from, to } of steps) if (leads.has(keyOf(to)) || isEnd(to)) leads.add(keyOf(from))
    grown = leads.size > before
  }
  return snapshots.map(keyOf).filter((key) => !leads.has(key))
}

interface Edge {
  event: EventObject
  state: AnyMachineSnapshot
}

type Node = AnyStateMachine['root']

function nodesOf(node: Node): Node[] {
  return [node, ...Object.values(node.states).flatMap((child) => nodesOf(child))]
}

function nameOf(node: { path: string[] }): string {
  return node.path.join('.')
}

/** Every state that a state value says is active: `{ a: { b: 'c' } }` is in a, a.b and a.b.c. */
function pathsOf(value: AnyMachineSnapshot['value']): string[] {
  if (typeof value === 'string') return [value]
  return Object.entries(value).flatMap(([name, inner]) =>
    [name].concat(inner === undefined ? [] : pathsOf(inner).map((path) => `${name}.${path}`)),
  )
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)].toSorted()
}
