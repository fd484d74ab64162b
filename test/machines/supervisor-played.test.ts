/** Supervisors under random events: what holds after every single one of them. */
import { describe, expect, test } from 'bun:test'
import {
  type Arbitrary,
  array,
  assert,
  constantFrom,
  integer,
  property,
  record,
  tuple,
} from 'fast-check'
import type {
  AutoShutdown,
  ChildPlan,
  Fault,
  Restart,
  Strategy,
} from '../../machines/supervision.ts'
import { isAlive } from '../../machines/supervisor-children.ts'
import { begin, planned, policy, type Supervised } from './supervised.ts'

const ids = ['a', 'b', 'c', 'd', 'e']
const verbs = ['ready', 'ready', 'ready', 'crash', 'end', 'pass', 'pass', 'add', 'remove', 'stale']

interface Move {
  verb: string
  id: string
  ms: number
  fault: Fault
  plan: Partial<ChildPlan>
}

const plan = record({
  restart: constantFrom<Restart>('permanent', 'transient', 'temporary'),
  startTimeoutMs: constantFrom(900, 2000, Number.POSITIVE_INFINITY),
  stopTimeoutMs: constantFrom(0, 100, 500, 2000),
})

const moves = array(
  record({
    verb: constantFrom(...verbs),
    id: constantFrom(...ids),
    ms: integer({ min: 1, max: 4000 }),
    fault: constantFrom<Fault>('bug', 'bug', 'bug', 'dependency', 'poison', 'fenced', 'fatal'),
    plan,
  }),
  { maxLength: 80 },
)

const specification = record({
  strategy: constantFrom<Strategy>('one_for_one', 'one_for_all', 'rest_for_one', 'dynamic'),
  autoShutdown: constantFrom<AutoShutdown>('never', 'any_significant', 'all_significant'),
  intensity: integer({ min: 1, max: 4 }),
  streakMax: integer({ min: 1, max: 4 }),
  childrenMax: integer({ min: 3, max: 5 }),
  children: tuple(plan, plan, plan),
  significant: integer({ min: 0, max: 7 }),
})

type Specification = typeof specification extends Arbitrary<infer S> ? S : never

function beginAs({ children, significant, ...over }: Specification): Supervised {
  const plans = children.map((child, index) => {
    const isSignificant = over.autoShutdown !== 'never' && child.restart !== 'permanent'
    const isChosen = (significant & (1 << index)) !== 0
    return planned(ids[index] ?? '', { ...child, significant: isSignificant && isChosen })
  })
  return begin(plans, over)
}

function move(it: Supervised, { verb, id, ms, fault, plan: over }: Move): void {
  if (verb === 'ready') it.ready(id)
  else if (verb === 'crash') it.crash(id, fault)
  else if (verb === 'end') it.end(id)
  else if (verb === 'pass') it.clock.advance(ms)
  else if (verb === 'add') it.add(id, over)
  else if (verb === 'remove') it.remove(id)
  else staleWords(it, id)
}

/** What an earlier life still says changes nothing. */
function staleWords(it: Supervised, id: string): void {
  const incarnation = (it.child(id)?.incarnation ?? 1) - 1
  const before = JSON.stringify([it.actor.getSnapshot().context, it.state(), it.clock.armed])
  for (const type of ['child.ready', 'child.ended', 'child.due', 'child.late'] as const) {
    it.actor.send({ type, id, incarnation })
  }
  it.actor.send(it.failed(id, incarnation))
  it.actor.send({ type: 'round.due' })
  const after = JSON.stringify([it.actor.getSnapshot().context, it.state(), it.clock.armed])
  // The word of a round is stale only outside of one.
  if (it.state() !== 'restarting') expect(after).toBe(before)
}

const isActive = (it: Supervised) => it.actor.getSnapshot().status === 'active'

type Limits = Pick<Specification, 'intensity' | 'streakMax' | 'childrenMax'>

/** What holds at any moment. */
function check(it: Supervised, over: Limits): void {
  const { status, context, value } = it.actor.getSnapshot()
  // What the children of this test would not have done is an error as well.
  for (const error of it.errors) expect(String(error)).toStartWith('Error: root/')
  if (status !== 'active') {
    expect([it.alive.size, it.clock.armed]).toEqual([0, 0])
    return
  }
  const alive = context.children.filter(isAlive).map((child) => child.id)
  expect(alive.toSorted()).toEqual([...it.alive.keys()].toSorted())
  expect(context.children.length).toBeLessThanOrEqual(over.childrenMax)
  const { length } = context.failures.filter((at) => it.clock.monotonic() - at < policy.windowMs)
  expect(length).toBeLessThanOrEqual(over.intensity)
  const strikes = context.children.map((child) => child.strikes)
  expect(Math.max(0, ...strikes)).toBeLessThanOrEqual(Math.max(over.streakMax, over.intensity))
  // Whoever falls in the first start is dealt with at its end, and not left behind.
  const fallen = context.children.filter((child) => child.status === 'fallen')
  expect(fallen.map(({ id }) => id).toSorted()).toEqual(
    value === 'starting' ? idsOf(context.falls, it) : [],
  )
  if (value === 'running') {
    expect(context.children.filter((child) => child.status === 'waiting')).toEqual([])
  }
}

/** Of those that are still known in the life that fell: the others were removed. */
const idsOf = (falls: readonly { id: string; incarnation: number }[], it: Supervised) =>
  falls
    .filter(({ id, incarnation }) => it.child(id)?.incarnation === incarnation)
    .map(({ id }) => id)
    .toSorted()

/** Plays, and checks after every move. */
function play(it: Supervised, all: readonly Move[], over: Specification): void {
  for (const one of all) {
    if (!isActive(it)) return
    move(it, one)
    check(it, over)
  }
}

describe('a supervisor under random events', () => {
  test('keeps to its limits, knows who is alive, and heeds no stale word', () => {
    assert(
      property(specification, moves, (over, all) => {
        play(beginAs(over), all, over)
      }),
      { numRuns: 1000 },
    )
  })

  test('restarts what failed for a bug no more often within the window than it may', () => {
    assert(
      property(specification, moves, (over, all) => {
        const it = beginAs(over)
        play(
          it,
          all.map((one) => ({ ...one, fault: 'bug' as const })),
          over,
        )
        const restarts = it.reports.filter(({ restartInMs }) => restartInMs !== undefined)
        for (const { at } of restarts) {
          const within = restarts.filter((one) => one.at <= at && at - one.at < policy.windowMs)
          expect(within.length).toBeLessThanOrEqual(over.intensity)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('asked to stop, stops all in reverse order of start and leaves nothing behind', () => {
    assert(
      property(specification, moves, moves, (over, before, after) => {
        const it = beginAs({ ...over, intensity: 4 })
        play(it, before, { ...over, intensity: 4 })
        if (!isActive(it)) return
        const order = it.actor.getSnapshot().context.children.map(({ id }) => id)
        const { length } = it.started
        it.asked.length = 0
        it.stop()
        play(it, after, over)
        it.clock.advance(2000 * (order.length + 1))
        expect(it.actor.getSnapshot().status).not.toBe('active')
        expect([it.alive.size, it.clock.armed, it.started.length]).toEqual([0, 0, length])
        const { context, status } = it.actor.getSnapshot()
        if (status === 'done') {
          expect(context.children.filter((child) => child.status !== 'stopped')).toEqual([])
        }
        if (over.strategy === 'dynamic') return
        const places = it.asked.map((id) => order.indexOf(id))
        expect(places).toEqual(places.toSorted((x, y) => y - x))
      }),
      { numRuns: 500 },
    )
  })

  test('ends, whatever happened before, when everybody does as he is told', () => {
    assert(
      property(specification, moves, (over, all) => {
        const it = beginAs(over)
        play(it, all, over)
        // Enough for every wait there may be; whoever starts becomes ready, whoever stops ends.
        for (let turn = 0; turn < 20 && isActive(it); turn += 1) {
          for (const id of ids) it.ready(id)
          for (const { id, status } of it.actor.getSnapshot().context.children) {
            if (status === 'stopping') it.end(id)
          }
          it.clock.advance(2500)
        }
        if (isActive(it)) {
          expect(it.state()).toBe('running')
          const statuses = new Set(Object.values(it.statuses()))
          expect(['ready', 'stopped']).toEqual(expect.arrayContaining([...statuses]))
          expect(it.clock.armed).toBe(0)
        }
      }),
      { numRuns: 500 },
    )
  })
})

/** Begins all, lets the one fail, and everybody do as told until they run again. */
function crashOne(it: Supervised, failing: string): void {
  for (const id of ids) it.ready(id)
  it.started.length = 0
  it.crash(failing)
  const order = it.actor.getSnapshot().context.children.map(({ id }) => id)
  for (const id of order.toReversed()) if (it.child(id)?.status === 'stopping') it.end(id)
  it.clock.advance(1000)
  for (const id of order) it.ready(id)
}

describe('a restart of a random group', () => {
  const group = record({
    plans: array(plan, { minLength: 1, maxLength: 5 }),
    index: integer({ min: 0, max: 4 }),
    strategy: constantFrom<Strategy>('one_for_one', 'one_for_all', 'rest_for_one', 'dynamic'),
  })

  test('gives a new life to exactly those whom the strategy says, in order of start', () => {
    assert(
      property(group, ({ plans, index, strategy }) => {
        const children = plans.map((one, at) => planned(ids[at] ?? '', one))
        const failing = children[index % children.length] as ChildPlan
        const it = begin(children, { strategy })
        crashOne(it, failing.id)
        const at = children.indexOf(failing)
        const concerned = children.filter(({ restart }, place) => {
          if (restart === 'temporary' || failing.restart === 'temporary') return false
          if (strategy === 'one_for_all') return true
          return strategy === 'rest_for_one' ? place >= at : place === at
        })
        expect(it.started).toEqual(concerned.map(({ id }) => `${id}:2`))
        expect(it.state()).toBe('running')
        const isGone = ({ id, restart }: ChildPlan, place: number) =>
          restart === 'temporary' &&
          (id === failing.id ||
            (failing.restart !== 'temporary' &&
              (strategy === 'one_for_all' || (strategy === 'rest_for_one' && place > at))))
        expect([...it.alive.keys()].toSorted()).toEqual(
          children.filter((child, place) => !isGone(child, place)).map(({ id }) => id),
        )
      }),
      { numRuns: 500 },
    )
  })

  test('stops those concerned in reverse order, and asks only whom it gives time', () => {
    assert(
      property(group, ({ plans, index, strategy }) => {
        const children = plans.map((one, at) => planned(ids[at] ?? '', one))
        const failing = children[index % children.length] as ChildPlan
        const it = begin(children, { strategy })
        crashOne(it, failing.id)
        const at = children.indexOf(failing)
        const isGroup = strategy === 'one_for_all' || strategy === 'rest_for_one'
        const others = children.filter(({ id, stopTimeoutMs }, place) => {
          if (!isGroup || failing.restart === 'temporary' || stopTimeoutMs === 0) return false
          return id !== failing.id && (strategy === 'one_for_all' || place > at)
        })
        expect(it.asked).toEqual(others.map(({ id }) => id).toReversed())
      }),
      { numRuns: 500 },
    )
  })
})
