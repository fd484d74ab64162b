import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, integer, property, record } from 'fast-check'
import { supervisorMachine } from '../../machines/supervisor.ts'
import { type Exploration, explore } from '../kit/explore.ts'
import { begin, planned, policy, type Supervised } from './supervised.ts'

describe('supervisor machine, explored', () => {
  const words = (id: string, incarnation: number) => [
    { type: 'child.ready', id, incarnation },
    { type: 'child.ended', id, incarnation },
    { type: 'child.failed', id, incarnation, message: 'boom', at: 0, random: 0.5 },
    { type: 'child.due', id, incarnation },
    { type: 'child.late', id, incarnation },
  ]
  const exploreWith = (children: readonly string[]): Exploration =>
    explore(supervisorMachine, {
      input: {
        name: 'root',
        policy: { ...policy, intensity: 1 },
        children: children.map((id) => planned(id)),
      },
      events: [
        { type: 'stop' },
        { type: 'child.add', child: planned('b') },
        { type: 'xstate.error.actor.a:1' },
        ...['a', 'b'].flatMap((id) => [1, 2].flatMap((incarnation) => words(id, incarnation))),
      ],
      keyOf: ({ value, context }) =>
        JSON.stringify([value, context['children'], context['failures'], context['verdict']]),
    })
  const explorations = [exploreWith(['a', 'b']), exploreWith(['a']), exploreWith([])]

  test('every state is reached and every transition taken', () => {
    const [all] = explorations as [Exploration, ...Exploration[]]
    expect(new Set(all.reached)).toEqual(new Set(all.declared))
    expect(new Set(explorations.flatMap((one) => one.takenTransitions))).toEqual(
      new Set(all.declaredTransitions),
    )
  })

  test('every state leads to an end: stopped, or failed', () => {
    for (const exploration of explorations) {
      expect(exploration.deadEnds(({ value }) => value === 'failed')).toEqual([])
    }
  })

  test('no child is alive in the end, and all are ready or restarting while it runs', () => {
    for (const { value, context } of explorations.flatMap((one) => one.snapshots)) {
      const children = context['children'] as { status: string }[]
      const statuses = new Set(children.map(({ status }) => status))
      const allowed: Record<string, string[]> = {
        running: ['ready', 'starting', 'backingOff'],
        stopping: ['starting', 'ready', 'stopping', 'stopped'],
        stopped: ['stopped'],
        failed: ['stopped'],
      }
      const known = allowed[String(value)]
      if (known !== undefined) expect(known).toEqual(expect.arrayContaining([...statuses]))
    }
  })

  test('children are started, and stopped, one at a time', () => {
    for (const { value, context } of explorations.flatMap((one) => one.snapshots)) {
      const children = context['children'] as { status: string }[]
      const count = (status: string) => children.filter((child) => child.status === status).length
      if (value === 'starting') expect(count('starting')).toBeLessThanOrEqual(1)
      expect(count('stopping')).toBeLessThanOrEqual(1)
    }
  })
})

const childIds = ['a', 'b', 'c', 'd']
const moves = array(
  record({
    verb: constantFrom('ready', 'ready', 'crash', 'end', 'pass', 'pass', 'add', 'stale'),
    id: constantFrom(...childIds),
    ms: integer({ min: 1, max: 4000 }),
  }),
  { maxLength: 80 },
)

function play(it: Supervised, all: readonly { verb: string; id: string; ms: number }[]): void {
  for (const { verb, id, ms } of all) {
    if (it.actor.getSnapshot().status !== 'active') return
    if (verb === 'ready') it.ready(id)
    else if (verb === 'crash') it.crash(id)
    else if (verb === 'end') it.end(id)
    else if (verb === 'pass') it.clock.advance(ms)
    else if (verb === 'add') it.actor.send({ type: 'child.add', child: planned(id) })
    else staleWords(it, id)
    // An actor that has failed shows the snapshot before.
    if (it.actor.getSnapshot().status === 'error') return
    const alive = it.actor.getSnapshot().context.children.filter(({ status }) => {
      return ['starting', 'ready', 'stopping'].includes(status)
    })
    expect(alive.map((child) => child.id).toSorted()).toEqual([...it.alive.keys()].toSorted())
  }
}

/** What an earlier life still says changes nothing. */
function staleWords(it: Supervised, id: string): void {
  const incarnation = (it.child(id)?.incarnation ?? 0) - 1
  const before = JSON.stringify(it.actor.getSnapshot().context)
  const value = it.state()
  for (const type of ['child.ready', 'child.ended', 'child.due', 'child.late'] as const) {
    it.actor.send({ type, id, incarnation })
  }
  it.actor.send(it.failed(id, incarnation))
  expect([JSON.stringify(it.actor.getSnapshot().context), it.state()]).toEqual([before, value])
}

describe('supervisor machine, played', () => {
  test('it never restarts more often within the window than its intensity allows', () => {
    assert(
      property(moves, (all) => {
        const it = begin(['a', 'b', 'c'])
        play(it, all)
        const restarts = it.reports.filter(({ restartInMs }) => restartInMs !== undefined)
        for (const { at } of restarts) {
          const within = restarts.filter((one) => one.at <= at && at - one.at < policy.windowMs)
          expect(within.length).toBeLessThanOrEqual(policy.intensity)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('asked to stop, it stops all in reverse order and leaves nothing behind', () => {
    assert(
      property(moves, moves, (before, after) => {
        const it = begin(['a', 'b', 'c'], { intensity: 8 })
        play(it, before)
        if (it.actor.getSnapshot().status !== 'active') return
        const order = it.actor.getSnapshot().context.children.map(({ id }) => id)
        it.actor.send({ type: 'stop' })
        play(it, after)
        it.clock.advance(policy.stopTimeoutMs * (order.length + 1))
        const { status, context } = it.actor.getSnapshot()
        expect(status).not.toBe('active')
        const unstopped = context.children.filter((child) => child.status !== 'stopped')
        if (status === 'done') expect(unstopped).toEqual([])
        expect([it.alive.size, it.clock.armed]).toEqual([0, 0])
        const places = it.asked.map((id) => order.indexOf(id))
        expect(places).toEqual(places.toSorted((a, b) => b - a))
      }),
      { numRuns: 300 },
    )
  })
})
