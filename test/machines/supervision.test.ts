import { describe, expect, test } from 'bun:test'
import { assert, constant, integer, property, record } from 'fast-check'
import { backoffMs } from '../../machines/backoff.ts'
import {
  type ChildPlan,
  flawOf,
  isLimitReachable,
  type SupervisorPolicy,
} from '../../machines/supervision.ts'
import { allReady, begin, planned, policy } from './supervised.ts'

describe('a specification', () => {
  const flawOfPolicy = (over: Partial<SupervisorPolicy>) => flawOf({ ...policy, ...over }, [])
  const flawOfChildren = (children: readonly ChildPlan[], over: Partial<SupervisorPolicy> = {}) =>
    flawOf({ ...policy, ...over }, children)
  /** What comes of a file or of JavaScript may be anything. */
  const anything = (word: string): never => word as never

  test('that is sound has no flaw', () => {
    for (const strategy of ['one_for_one', 'one_for_all', 'rest_for_one', 'dynamic'] as const) {
      expect(flawOfChildren([planned('a'), planned('b')], { strategy })).toBeUndefined()
    }
    const significant = planned('a', { significant: true, restart: 'transient' })
    expect(flawOfChildren([significant], { autoShutdown: 'any_significant' })).toBeUndefined()
    const forever = { stopTimeoutMs: Number.POSITIVE_INFINITY }
    expect(flawOfChildren([planned('a', forever)], forever)).toBeUndefined()
    expect(flawOfChildren([planned('a', { stopTimeoutMs: 0 })])).toBeUndefined()
    const patient = { startTimeoutMs: Number.POSITIVE_INFINITY }
    expect(flawOfChildren([planned('a', patient)])).toBeUndefined()
    expect(flawOfChildren([planned('a', { startTimeoutMs: 2 ** 31 - 1 })])).toBeUndefined()
  })

  test('needs a strategy and an auto-shutdown that there are', () => {
    expect(flawOfPolicy({ strategy: anything('one_for_two') })).toEqual({
      field: 'strategy',
      message: 'expected one of one_for_one, one_for_all, rest_for_one, dynamic, got "one_for_two"',
    })
    expect(flawOfPolicy({ autoShutdown: anything('any') })?.field).toBe('autoShutdown')
  })

  test('needs limits above zero, and such as a timer can keep', () => {
    const noLimits = [0, -1, Number.NaN]
    const fields = ['intensity', 'streakMax', 'windowMs', 'startTimeoutMs', 'childrenMax'] as const
    for (const field of fields) {
      for (const limit of noLimits) {
        const flaw = flawOfPolicy({ [field]: limit })
        expect([flaw?.field, flaw?.message]).toEqual([field, expect.stringContaining(`${limit}`)])
      }
    }
    const infinite = Number.POSITIVE_INFINITY
    expect(flawOfPolicy({ intensity: infinite })?.field).toBe('intensity')
    expect(flawOfPolicy({ intensity: 1.5 })?.field).toBe('intensity')
    expect(flawOfPolicy({ streakMax: 1.5 })?.field).toBe('streakMax')
    expect(flawOfPolicy({ streakMax: 1 })).toBeUndefined()
    expect(flawOfPolicy({ startTimeoutMs: infinite })?.field).toBe('startTimeoutMs')
    expect(flawOfPolicy({ stopTimeoutMs: -1 })?.field).toBe('stopTimeoutMs')
    expect(flawOfPolicy({ stopTimeoutMs: 2 ** 31 })?.field).toBe('stopTimeoutMs')
    expect(flawOfPolicy({ stableMs: -1 })?.field).toBe('stableMs')
  })

  test('needs a back-off that goes forward', () => {
    const flawOfBackoff = (over: Partial<SupervisorPolicy['backoff']>) =>
      flawOfPolicy({ backoff: { ...policy.backoff, ...over } })?.field
    expect(flawOfBackoff({ baseMs: -1 })).toBe('backoff.baseMs')
    expect(flawOfBackoff({ baseMs: Number.NaN })).toBe('backoff.baseMs')
    expect(flawOfBackoff({ capMs: -1 })).toBe('backoff.capMs')
    expect(flawOfBackoff({ jitter: 1.1 })).toBe('backoff.jitter')
    expect(flawOfBackoff({ baseMs: 0 })).toBeUndefined()
  })

  test('names the child that is wrong, and its field', () => {
    const wrong: [ChildPlan, string][] = [
      [planned('a'), 'id'],
      [planned('b', { restart: anything('always') }), 'restart'],
      [planned('b', { startTimeoutMs: 0 }), 'startTimeoutMs'],
      [planned('b', { startTimeoutMs: 2 ** 31 }), 'startTimeoutMs'],
      [planned('b', { startTimeoutMs: Number.NaN }), 'startTimeoutMs'],
      [planned('b', { stopTimeoutMs: -1 }), 'stopTimeoutMs'],
      [planned('b', { stopTimeoutMs: Number.NaN }), 'stopTimeoutMs'],
      [planned('b', { significant: true }), 'significant'],
    ]
    for (const [child, field] of wrong) {
      const flaw = flawOfChildren([planned('a'), child], { autoShutdown: 'any_significant' })
      expect([flaw?.child, flaw?.field]).toEqual([child.id, field])
    }
    const idle = planned('c', { significant: true, restart: 'transient' })
    expect(flawOfChildren([idle])).toMatchObject({ child: 'c', field: 'significant' })
  })

  test('has no more children than it may', () => {
    const children = ['a', 'b', 'c'].map((id) => planned(id))
    expect(flawOfChildren(children, { childrenMax: 3 })).toBeUndefined()
    expect(flawOfChildren(children, { childrenMax: 2 })).toEqual({
      field: 'childrenMax',
      message: 'expected at most 2 children, got 3',
    })
  })
})

describe('the limit of a supervisor', () => {
  const within = (over: Partial<SupervisorPolicy>) => isLimitReachable({ ...policy, ...over })
  const backoff = { baseMs: 200, capMs: 30_000, jitter: 0.2 }

  test('is reachable when a crash loop fits into the window', () => {
    expect(within({ intensity: 5, windowMs: 30_000, backoff })).toBe(true)
    expect(within({ intensity: 3, windowMs: 60_000, backoff })).toBe(true)
    expect(within({ intensity: 0, windowMs: 1, backoff })).toBe(true)
  })

  test('is out of reach when back-offs are longer than the window', () => {
    expect(within({ intensity: 5, windowMs: 5000, backoff })).toBe(false)
    const slow = { ...backoff, baseMs: 1000 }
    expect(within({ intensity: 5, windowMs: 30_000, backoff: slow })).toBe(false)
  })

  test('ends a child that crashes at once, exactly when it is reachable', () => {
    const policies = record({
      intensity: integer({ min: 1, max: 6 }),
      windowMs: integer({ min: 100, max: 20_000 }),
      backoff: record({
        baseMs: integer({ min: 1, max: 1000 }),
        capMs: integer({ min: 1000, max: 5000 }),
        jitter: constant(0),
      }),
    })
    assert(
      property(policies, (over) => {
        const it = begin(['a'], { ...over, streakMax: 100 })
        allReady(it, ['a'])
        for (let crash = 0; crash < 50 && it.errors.length === 0; crash += 1) {
          it.crash('a')
          it.clock.advance(it.reports.at(-1)?.restartInMs ?? 0)
          it.ready('a')
        }
        expect(it.errors.length > 0).toBe(within(over))
      }),
    )
  })

  test('is what the sum of the waits says, however large the intensity', () => {
    const policies = record({
      intensity: integer({ min: 1, max: 200 }),
      windowMs: integer({ min: 100, max: 2_000_000 }),
      backoff: record({
        baseMs: integer({ min: 0, max: 1000 }),
        capMs: integer({ min: 0, max: 20_000 }),
        jitter: constant(0.2),
      }),
    })
    assert(
      property(policies, (over) => {
        let ms = 0
        for (let retry = 1; retry <= over.intensity; retry += 1) {
          ms += backoffMs(over.backoff, retry, 1)
        }
        expect(within(over)).toBe(ms < over.windowMs)
      }),
    )
    const instant = { baseMs: 0, capMs: 0, jitter: 0 }
    expect(within({ intensity: 10 ** 12, windowMs: 1, backoff: instant })).toBe(true)
    expect(within({ intensity: 10 ** 12, windowMs: 10_000 })).toBe(false)
  })
})
