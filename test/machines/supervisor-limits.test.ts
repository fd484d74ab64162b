/** The time that one child has to start, and how often it may fail in a row. */
import { describe, expect, test } from 'bun:test'
import { assert, constantFrom, integer, property, record } from 'fast-check'
import type { Fault } from '../../machines/supervision.ts'
import { allReady, begin, planned, type Supervised } from './supervised.ts'

describe('the time to start', () => {
  test('is each child its own, in the first start', () => {
    const it = begin([planned('a', { startTimeoutMs: 5000 }), planned('b', { startTimeoutMs: 10 })])
    it.clock.advance(4999)
    it.ready('a')
    it.clock.advance(9)
    expect(it.state()).toBe('starting')
    it.clock.advance(1)
    expect([it.state(), it.reports.map(({ id }) => id)]).toEqual(['stopping', ['b']])
  })

  test('is its own at a restart, alone or with the group, and when it is added', () => {
    const slow = { startTimeoutMs: 5000 }
    for (const strategy of ['one_for_one', 'one_for_all', 'dynamic'] as const) {
      const it = begin([planned('a', slow)], { strategy })
      allReady(it, ['a'])
      it.crash('a')
      it.clock.advance(200 + 4999)
      expect([it.started, it.reports.length]).toEqual([['a:1', 'a:2'], 1])
      it.clock.advance(1)
      expect(it.reports.length).toBe(2)
    }
    const it = begin([])
    it.add('a', slow)
    it.clock.advance(4999)
    expect(it.statuses()).toEqual({ a: 'starting' })
    it.clock.advance(1)
    expect(it.statuses()).toEqual({ a: 'backingOff' })
  })

  test('without end waits for the child, and arms no timer', () => {
    const it = begin([planned('a', { startTimeoutMs: Number.POSITIVE_INFINITY })])
    expect(it.clock.armed).toBe(0)
    it.clock.advance(10 ** 9)
    expect([it.state(), it.statuses()]).toEqual(['starting', { a: 'starting' }])
    it.ready('a')
    expect(it.state()).toBe('running')
  })
})

/** Lets it fail, and be ready again when its wait is over. */
function fail(it: Supervised, fault?: Fault): void {
  it.crash('a', fault)
  it.clock.advance(it.reports.at(-1)?.restartInMs ?? 0)
  it.ready('a')
}

/** So short a window that only failures in a row can be too many. */
const brief = { intensity: 2, windowMs: 1000, streakMax: 3, stableMs: 10_000 }
const slow = { baseMs: 2000, capMs: 2000, jitter: 0 }

describe('failures in a row', () => {
  test('of a child that hangs at every start end the supervisor at last', () => {
    const it = begin(['a', 'b'], { ...brief, stableMs: 3000, windowMs: 700 })
    allReady(it, ['a', 'b'])
    it.crash('a')
    for (const restarts of [1, 2, 3]) {
      expect([it.state(), it.child('a')?.restarts]).toEqual(['running', restarts])
      it.clock.advance((it.reports.at(-1)?.restartInMs ?? 0) + 1000)
    }
    expect([it.state(), it.asked]).toEqual(['stopping', ['b']])
    it.end('b')
    expect(String(it.errors[0])).toBe('Error: root/a: child.late')
  })

  test('are not ended by a start in vain, however long it takes', () => {
    const it = begin([planned('a', { startTimeoutMs: 60_000 })], brief)
    allReady(it, ['a'])
    it.crash('a')
    for (let hang = 0; hang < 3; hang += 1) it.clock.advance(60_000 + 2000)
    expect([it.errors.map(String), it.reports.length]).toEqual([['Error: root/a: child.late'], 4])
  })

  test('may be as many as the streak or the intensity allows, whichever is more', () => {
    for (const [streakMax, intensity, allowed] of [
      [3, 2, 3],
      [1, 2, 2],
      [1, 5, 5],
    ] as const) {
      const it = begin(['a'], { ...brief, backoff: slow, streakMax, intensity })
      allReady(it, ['a'])
      for (let count = 0; count < allowed; count += 1) fail(it)
      expect([it.state(), it.child('a')?.strikes]).toEqual(['running', allowed])
      fail(it)
      expect(it.errors.map(String)).toEqual(['Error: root/a: boom'])
    }
  })

  test('are counted for each child by itself', () => {
    const it = begin(['a', 'b'], { ...brief, backoff: slow })
    allReady(it, ['a', 'b'])
    for (let count = 0; count < 3; count += 1) {
      for (const id of ['a', 'b']) {
        it.crash(id)
        it.clock.advance(2000)
        it.ready(id)
      }
    }
    expect([it.state(), it.child('a')?.strikes, it.child('b')?.strikes]).toEqual(['running', 3, 3])
  })

  test('are forgotten, with the back-off, after a while of health', () => {
    const it = begin(['a'], brief)
    allReady(it, ['a'])
    for (let count = 0; count < 10; count += 1) {
      fail(it)
      fail(it)
      expect(it.child('a')).toMatchObject({ streak: 2, strikes: 2 })
      it.clock.advance(10_000)
    }
    expect(it.state()).toBe('running')
  })

  test('do not count for what it stands on, though that lengthens the wait, or is given', () => {
    const it = begin(['a'], { ...brief, windowMs: 100, backoff: { ...slow, capMs: 10 ** 6 } })
    allReady(it, ['a'])
    for (let count = 0; count < 3; count += 1) fail(it, 'dependency')
    expect(it.child('a')).toMatchObject({ streak: 3, strikes: 0 })
    for (let count = 0; count < 3; count += 1) fail(it, 'poison')
    expect(it.child('a')).toMatchObject({ streak: 1, strikes: 0 })
    for (let count = 1; count <= 3; count += 1) {
      fail(it, 'bug')
      fail(it, 'dependency')
      expect([it.state(), it.child('a')?.strikes]).toEqual(['running', count])
    }
    fail(it, 'bug')
    expect(it.errors).toHaveLength(1)
  })

  test('end the supervisor in the middle of the restart of a group as well', () => {
    const it = begin(['a', 'b'], { ...brief, backoff: slow, strategy: 'one_for_all' })
    allReady(it, ['a', 'b'])
    it.crash('a')
    it.end('b')
    for (let count = 0; count < 3; count += 1) {
      it.clock.advance(2000)
      it.crash('a')
    }
    expect([it.errors.map(String), it.clock.armed]).toEqual([['Error: root/a: boom'], 0])
  })

  test('of a child that never comes up end it after the last that is allowed', () => {
    const limits = record({
      intensity: integer({ min: 1, max: 12 }),
      streakMax: integer({ min: 1, max: 12 }),
      windowMs: integer({ min: 500, max: 20_000 }),
      stableMs: integer({ min: 1, max: 20_000 }),
      strategy: constantFrom('one_for_one', 'one_for_all', 'rest_for_one', 'dynamic'),
    })
    assert(
      property(limits, (over) => {
        const it = begin(['a'], over)
        allReady(it, ['a'])
        it.crash('a')
        for (let turn = 0; turn < 20; turn += 1) it.clock.advance(2000 * 1.2 + 1000)
        expect(it.errors).toHaveLength(1)
        const most = Math.max(over.streakMax, over.intensity)
        const restarts = it.reports.filter(({ restartInMs }) => restartInMs !== undefined).length
        expect([restarts <= most, restarts >= over.intensity]).toEqual([true, true])
      }),
      { numRuns: 300 },
    )
  })
})
