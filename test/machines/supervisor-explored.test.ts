import { describe, expect, test } from 'bun:test'
import type { AnyMachineSnapshot } from 'xstate'
import type { ChildPlan, SupervisorPolicy } from '../../machines/supervision.ts'
import { type Child, type SupervisorEvent, supervisorMachine } from '../../machines/supervisor.ts'
import { isAlive } from '../../machines/supervisor-steps.ts'
import { explore } from '../kit/explore.ts'
import { planned, policy } from './supervised.ts'

const words = (id: string, incarnation: number) => [
  { type: 'child.ready', id, incarnation },
  { type: 'child.ended', id, incarnation },
  ...['bug', 'dependency', 'fenced', 'fatal'].map((fault) => {
    return { type: 'child.failed', id, incarnation, message: 'boom', fault, at: 0, random: 0.5 }
  }),
  { type: 'child.due', id, incarnation },
  { type: 'child.late', id, incarnation },
]

/** Longer lives tell nothing new. */
const livesMax = 2

const childrenOf = ({ context }: AnyMachineSnapshot) => context['children'] as readonly Child[]

function exploreWith(children: readonly ChildPlan[], over: Partial<SupervisorPolicy> = {}) {
  return explore(supervisorMachine, {
    input: {
      name: 'root',
      policy: { ...policy, intensity: 1, childrenMax: 2, ...over },
      children,
    },
    events: [
      { type: 'stop' },
      { type: 'round.due' },
      { type: 'xstate.error.actor.a:1' },
      { type: 'child.add', child: planned('b', { restart: 'temporary' }) },
      { type: 'child.add', child: planned('c') },
      { type: 'child.remove', id: 'a' },
      { type: 'child.remove', id: 'b' },
      ...['a', 'b'].flatMap((id) => [1, livesMax].flatMap((life) => words(id, life))),
      ...[1, livesMax].map((incarnation) => ({ type: 'child.ended', id: 'c', incarnation })),
    ],
    keyOf: ({ value, context }) =>
      JSON.stringify([
        value,
        (context['children'] as readonly Child[]).map((child) => [
          child.id,
          child.status,
          child.incarnation,
          child.doomed,
          child.fenced,
          child.restart,
        ]),
        context['failures'],
        context['roundIsDue'],
        context['goneIncarnation'],
        context['verdict'],
      ]),
    isBeyond: (snapshot) => childrenOf(snapshot).some(({ incarnation }) => incarnation > livesMax),
  })
}

const a = planned('a')
const b = planned('b')
const ending = planned('a', { restart: 'transient', significant: true })
const passing = planned('b', { restart: 'temporary', significant: true })
const explorations = [
  exploreWith([]),
  exploreWith([a]),
  exploreWith([a, b]),
  exploreWith([a, b], { strategy: 'one_for_all' }),
  exploreWith([a, b], { strategy: 'rest_for_one' }),
  exploreWith([a], { strategy: 'dynamic' }),
  exploreWith([ending, passing], { autoShutdown: 'any_significant' }),
  exploreWith([ending, b], { autoShutdown: 'all_significant', strategy: 'one_for_all' }),
  exploreWith([passing, a], { autoShutdown: 'any_significant', strategy: 'one_for_all' }),
]
const snapshots = explorations.flatMap((one) => one.snapshots)
const steps = explorations.flatMap((one) => one.steps)
const [first] = explorations as [(typeof explorations)[0], ...typeof explorations]

describe('supervisor machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(new Set(explorations.flatMap((one) => one.reached))).toEqual(new Set(first.declared))
    expect(new Set(explorations.flatMap((one) => one.takenTransitions))).toEqual(
      new Set(first.declaredTransitions),
    )
  })

  test('every branch of a transition is taken', () => {
    const taken = new Set(
      steps.flatMap(({ from, event }) =>
        supervisorMachine.getTransitionData(from as never, event as SupervisorEvent),
      ),
    )
    const nodes = [supervisorMachine.root, ...Object.values(supervisorMachine.states)]
    const untaken = nodes.flatMap((node) =>
      [...node.transitions].flatMap(([event, branches]) =>
        branches.flatMap((branch, index) =>
          taken.has(branch as never) ? [] : [`${node.key} ${event} ${index}`],
        ),
      ),
    )
    expect(untaken).toEqual([])
  })

  test('every state leads to an end: stopped, or failed', () => {
    for (const exploration of explorations) {
      expect(exploration.deadEnds(({ value }) => value === 'failed')).toEqual([])
    }
  })

  test('no child is alive in the end, and none waits unless its turn is to come', () => {
    const allowed: Record<string, readonly string[]> = {
      starting: ['waiting', 'starting', 'ready', 'stopping', 'stopped'],
      running: ['ready', 'starting', 'backingOff', 'suspended', 'stopping', 'stopped'],
      restarting: ['waiting', 'starting', 'ready', 'stopping', 'stopped'],
      stopping: ['starting', 'ready', 'stopping', 'stopped'],
      stopped: ['stopped'],
      failed: ['stopped'],
    }
    for (const snapshot of snapshots) {
      const statuses = new Set<string>(childrenOf(snapshot).map(({ status }) => status))
      const known = allowed[String(snapshot.value)] ?? []
      expect(known).toEqual(expect.arrayContaining([...statuses]))
    }
  })

  test('children are started, and stopped, one at a time', () => {
    for (const snapshot of snapshots) {
      const children = childrenOf(snapshot)
      const count = (status: string) => children.filter((child) => child.status === status).length
      const { strategy } = (snapshot.context as { policy: SupervisorPolicy }).policy
      if (snapshot.value !== 'running') expect(count('starting')).toBeLessThanOrEqual(1)
      if (strategy !== 'dynamic') expect(count('stopping')).toBeLessThanOrEqual(1)
    }
  })

  test('whoever is to be stopped is alive, and somebody is being stopped before', () => {
    for (const snapshot of snapshots) {
      const doomed = childrenOf(snapshot).filter((child) => child.doomed)
      expect(doomed.every(isAlive)).toBe(true)
      if (doomed.length === 0) continue
      expect(childrenOf(snapshot).some(({ status }) => status === 'stopping')).toBe(true)
    }
  })

  test('incarnations only grow, and whoever was fenced is not alive', () => {
    for (const { from, to } of steps) {
      const before = new Map(childrenOf(from).map((child) => [child.id, child.incarnation]))
      for (const { id, incarnation } of childrenOf(to)) {
        expect(incarnation).toBeGreaterThanOrEqual(before.get(id) ?? 0)
      }
    }
    const fenced = snapshots.flatMap((one) => childrenOf(one)).filter((child) => child.fenced)
    expect(fenced.length).toBeGreaterThan(0)
    expect(fenced.filter(isAlive)).toEqual([])
  })
})
