import { describe, expect, test } from 'bun:test'
import { type AnyMachineSnapshot, type AnyStateMachine, raise } from 'xstate'
import type { ChildPlan, SupervisorPolicy } from '../../machines/supervision.ts'
import { type Child, type SupervisorEvent, supervisorMachine } from '../../machines/supervisor.ts'
import { isAlive } from '../../machines/supervisor-children.ts'
import { type ExploredEvent, explore, type Step } from '../kit/explore.ts'
import { planned, policy } from './supervised.ts'

const failed = (id: string, incarnation: number, fault: string) => ({
  type: 'child.failed',
  id,
  incarnation,
  message: 'boom',
  fault,
  at: 0,
  random: 0.5,
})

const words = (id: string, incarnation: number, faults: readonly string[]) => [
  { type: 'child.ready', id, incarnation },
  { type: 'child.ended', id, incarnation },
  ...faults.map((fault) => failed(id, incarnation, fault)),
  { type: 'child.due', id, incarnation },
  { type: 'child.late', id, incarnation },
]

/** Longer lives tell nothing new. */
const livesMax = 2

const idsOf = (children: readonly Child[]) => children.map(({ id }) => id)
const childrenOf = ({ context }: AnyMachineSnapshot) => context['children'] as readonly Child[]

/** What was put off is heard as soon as it may be. */
const hearing = supervisorMachine.provide({
  actions: { tellFall: raise((_, { fall }) => fall) },
})

const faults = ['bug', 'dependency', 'fenced', 'fatal']
const exploreWith = (children: readonly ChildPlan[], over: Partial<SupervisorPolicy> = {}) =>
  exploreAs(hearing, children, over, [
    { type: 'xstate.error.actor.a:1' },
    { type: 'child.add', child: planned('b', { restart: 'temporary' }) },
    ...['a', 'b'].flatMap((id) => [1, livesMax].flatMap((life) => words(id, life, faults))),
    { type: 'child.add', child: planned('c') },
    ...[1, livesMax].map((incarnation) => ({ type: 'child.ended', id: 'c', incarnation })),
  ])

/** What was put off is heard whenever it may be: before it comes whatever else was under way. */
const exploreLate = (children: readonly ChildPlan[], over: Partial<SupervisorPolicy> = {}) =>
  exploreAs(supervisorMachine, children, over, [
    ...['a', 'b'].flatMap((id) => [1, livesMax].flatMap((life) => words(id, life, ['bug']))),
    ...['a', 'b'].map((id) => Object.assign(failed(id, 1, 'bug'), { isPutOff: true })),
  ])

const keys = new WeakMap<AnyMachineSnapshot, string>()

/** Asked for over and over as ways to an end are looked for. */
function keyOf(snapshot: AnyMachineSnapshot): string {
  const key = keys.get(snapshot) ?? keyOfAll(snapshot)
  keys.set(snapshot, key)
  return key
}

const keyOfAll = (snapshot: AnyMachineSnapshot): string =>
  JSON.stringify([
    snapshot.value,
    childrenOf(snapshot).map((child) => [
      child.id,
      child.status,
      child.incarnation,
      child.doomed,
      child.fenced,
      child.restart,
    ]),
    snapshot.context['failures'],
    snapshot.context['falls'],
    snapshot.context['roundIsDue'],
    snapshot.context['goneIncarnation'],
    snapshot.context['verdict'],
  ])

function exploreAs(
  machine: AnyStateMachine,
  children: readonly ChildPlan[],
  over: Partial<SupervisorPolicy>,
  events: readonly ExploredEvent[],
) {
  return explore(machine, {
    input: {
      name: 'root',
      policy: { ...policy, intensity: 1, childrenMax: 2, ...over },
      children,
    },
    events: [
      { type: 'stop' },
      { type: 'round.due' },
      { type: 'verdict.due' },
      { type: 'child.remove', id: 'a' },
      { type: 'child.remove', id: 'b' },
      ...events,
    ],
    keyOf,
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
  exploreLate([a, b]),
  exploreLate([a, b], { strategy: 'rest_for_one' }),
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
      steps.flatMap(({ from, event }) => {
        const { machine } = from as { machine: typeof supervisorMachine }
        const branches = machine.getTransitionData(from as never, event as SupervisorEvent)
        return branches.map((branch) => {
          const { source, eventType } = branch
          return `${source.key} ${eventType} ${source.transitions.get(eventType)?.indexOf(branch)}`
        })
      }),
    )
    const nodes = [supervisorMachine.root, ...Object.values(supervisorMachine.states)]
    const branches = nodes.flatMap(({ key, transitions }) =>
      [...transitions].flatMap(([event, all]) => all.map((_, index) => `${key} ${event} ${index}`)),
    )
    const untaken = branches.filter((branch) => !taken.has(branch))
    expect(untaken).toEqual([])
  })

  test('every state leads to an end: stopped, or failed', () => {
    for (const exploration of explorations) {
      expect(exploration.deadEnds(({ value }) => value === 'failed')).toEqual([])
    }
  })

  test('no child is alive in the end, and none waits unless its turn is to come', () => {
    const allowed: Record<string, readonly string[]> = {
      starting: ['waiting', 'starting', 'ready', 'fallen', 'stopping', 'stopped'],
      running: ['ready', 'starting', 'backingOff', 'suspended', 'fallen', 'stopping', 'stopped'],
      restarting: ['waiting', 'starting', 'ready', 'fallen', 'stopping', 'stopped'],
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

  test('who falls in the first start is neither alive nor forgotten until it is over', () => {
    for (const { from, event, to } of steps) {
      const fallen = childrenOf(to).filter(({ status }) => status === 'fallen')
      const isNew = ({ id }: Child) =>
        childrenOf(from).some((child) => child.id === id && child.status !== 'fallen')
      for (const child of fallen.filter(isNew)) {
        expect([from.value, event]).toMatchObject([
          'starting',
          { id: child.id, incarnation: child.incarnation },
        ])
      }
      const { falls } = to.context as { falls: readonly { id: string }[] }
      if (to.value !== 'starting') expect(falls).toEqual([])
      else expect(falls.map(({ id }) => id)).toEqual(expect.arrayContaining(idsOf(fallen)))
    }
    const reached = snapshots.filter((one) => childrenOf(one).some((c) => c.status === 'fallen'))
    const values = new Set(reached.map(({ value }) => String(value)))
    expect([...values].toSorted()).toEqual(['restarting', 'running', 'starting'])
  })

  test('a fall that was put off ends a life once, and only by its own word', () => {
    const isFallen = (snapshot: AnyMachineSnapshot, word: object) =>
      childrenOf(snapshot).some(
        ({ id, incarnation, status }) =>
          status === 'fallen' &&
          'incarnation' in word &&
          word.incarnation === incarnation &&
          'id' in word &&
          word.id === id,
      )
    const told = steps.filter(({ from, event }) => isFallen(from, event))
    const isWord = ({ event }: Step) =>
      /^child\.(ready|ended|failed|late|due)$/.test(event.type) && !('isPutOff' in event)
    const foreign = told.filter(isWord)
    expect(foreign.length).toBeGreaterThan(0)
    for (const { from, to } of foreign) expect(to.context).toEqual(from.context)
    const own = told.filter(({ from, event }) => from.value !== 'starting' && 'isPutOff' in event)
    expect(own.length).toBeGreaterThan(0)
    for (const { event, to } of own) expect(isFallen(to, event)).toBe(false)
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
