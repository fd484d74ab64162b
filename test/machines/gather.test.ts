import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, integer, property } from 'fast-check'
import {
  endOf,
  flawOfSet,
  type GatherSet,
  gatherMachine,
  gatherPolicy,
  isComplete,
  isHeldBack,
  judge,
} from '../../machines/gather.ts'
import { explore } from '../kit/explore.ts'

const setOf = (...expected: string[]): GatherSet => ({
  id: 'c-1',
  expected: new Set(expected),
  received: new Set(),
  openedAt: 100,
  dueAt: 1100,
  duplicates: 0,
  unexpected: 0,
})

const sources = ['a', 'b', 'c', 'd', 'stranger']

describe('a correlation set', () => {
  test('is complete by distinct source, never by the number of results', () => {
    const results = array(constantFrom(...sources), { maxLength: 30 })
    assert(
      property(results, (sent) => {
        const set = setOf('a', 'b', 'c', 'd')
        for (const source of sent) judge(set, source)
        const known = new Set(sent.filter((source) => source !== 'stranger'))
        expect(isComplete(set)).toBe(known.size === 4)
        const end = endOf(set, 400)
        expect(end.status).toBe(known.size === 4 ? 'complete' : 'partial')
        expect(end.missing).toEqual(['a', 'b', 'c', 'd'].filter((source) => !known.has(source)))
        expect(end.received + end.duplicates + end.unexpected).toBe(sent.length)
      }),
    )
  })

  test('that ends early is partial and names who is missing', () => {
    const set = setOf('a', 'b')
    expect(judge(set, 'b')).toBe('taken')
    expect(endOf(set, 1100)).toMatchObject({
      status: 'partial',
      expected: 2,
      received: 1,
      missing: ['a'],
      durationMs: 1000,
    })
  })

  test('of which nobody is expected is refused: it would be complete at once', () => {
    expect(flawOfSet(3, 0, gatherPolicy)).toContain('sources: expected 1 to 10000, got 0')
    expect(flawOfSet(3, 10_001, gatherPolicy)).toContain('got 10001')
  })

  test('has a correlation id of 1 to 256 bytes', () => {
    const flaws = [0, 1, 256, 257].map((bytes) => flawOfSet(bytes, 1, gatherPolicy) === undefined)
    expect(flaws).toEqual([false, true, true, false])
  })
})

describe('back-pressure', () => {
  test('begins at 80 % and ends at 50 %, and neither anywhere between', () => {
    const policy = { ...gatherPolicy, pendingMax: 100 }
    const held = (was: boolean) => [49, 50, 51, 79, 80].map((n) => isHeldBack(was, n, policy))
    expect(held(false)).toEqual([false, false, false, false, true])
    expect(held(true)).toEqual([false, false, true, true, true])
  })

  test('does not latch: whatever came before, an empty queue is taken from again', () => {
    const walk = array(integer({ min: 0, max: 100 }))
    assert(
      property(walk, (levels) => {
        const policy = { ...gatherPolicy, pendingMax: 100 }
        const isHeld = levels.reduce((was, level) => isHeldBack(was, level, policy), false)
        expect(isHeldBack(isHeld, 0, policy)).toBe(false)
      }),
    )
  })
})

describe('gather machine, explored', () => {
  const exploration = explore(
    gatherMachine.provide({ actions: { expire: () => {}, endAll: () => {} } }),
    {
      events: [
        { type: 'stop' },
        { type: 'gather.due', inMs: 5 },
        { type: 'gather.due', inMs: undefined },
        { type: 'gather.pressure', isOn: true },
        { type: 'gather.pressure', isOn: false },
        { type: 'xstate.after.untilDue.gather.gathering.sets.open' },
      ],
    },
  )

  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end, and can be used until then', () => {
    expect(exploration.deadEnds()).toEqual([])
    for (const snapshot of exploration.snapshots) {
      expect(snapshot.hasTag('ready')).toBe(snapshot.status === 'active')
    }
  })
})
