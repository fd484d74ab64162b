import { describe, expect, test } from 'bun:test'
import { assert, double, integer, property } from 'fast-check'
import { createActor } from 'xstate'
import { breakerMachine, breakerWaitMs, defaultBreaker } from '../../machines/breaker.ts'
import { testClock } from '../kit/clock.ts'
import { explore } from '../kit/explore.ts'

const bound = breakerMachine.provide({ actions: { appear: () => undefined } })

const exploration = explore(bound, {
  input: { ...defaultBreaker, jitter: 0 },
  events: [
    { type: 'stop' },
    { type: 'call.began' },
    ...[0, 1].flatMap((openings) => [
      { type: 'call.succeeded', openings },
      { type: 'call.failed', openings, random: 0.5 },
    ]),
    { type: 'xstate.after.wait.breaker.open' },
  ],
  isBeyond: ({ context }) => context['openings'] > 2,
})

/** One that lives, and how to use it. */
function begin(jitter = 0) {
  const clock = testClock()
  const actor = createActor(bound, { input: { ...defaultBreaker, jitter }, clock: clock.timers })
  actor.start()
  const say = (type: 'call.succeeded' | 'call.failed', random = 0.5) => {
    const { openings } = actor.getSnapshot().context
    actor.send({ type: 'call.began' })
    actor.send({ type, openings, random })
  }
  return {
    clock,
    actor,
    ok: () => say('call.succeeded'),
    fail: (random?: number) => say('call.failed', random),
    permits: () => actor.getSnapshot().hasTag('permits'),
    /** Time until it permits a call. */
    untilPermitted: () => {
      let ms = 0
      for (; !actor.getSnapshot().hasTag('permits'); ms += 1) clock.advance(1)
      return ms
    },
  }
}

describe('breaker machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end, and it is always ready', () => {
    expect(exploration.deadEnds()).toEqual([])
    for (const snapshot of exploration.snapshots) {
      if (snapshot.status === 'active') expect(snapshot.hasTag('ready')).toBe(true)
    }
  })

  test('it permits calls while it is closed, one while it is half open, none else', () => {
    for (const snapshot of exploration.snapshots) {
      const permits = snapshot.matches('closed') || snapshot.matches({ halfOpen: 'free' })
      expect(snapshot.hasTag('permits')).toBe(permits)
    }
  })
})

describe('a breaker', () => {
  test('opens at the third failure in a row; one call that is well begins the row anew', () => {
    const it = begin()
    it.fail()
    it.fail()
    it.ok()
    it.fail()
    it.fail()
    expect(it.permits()).toBe(true)
    it.fail()
    expect(it.permits()).toBe(false)
    expect(it.actor.getSnapshot().value).toBe('open')
  })

  test('waits 8, 16, 32, 60 and again 60 s', () => {
    const it = begin()
    it.fail()
    it.fail()
    const waits = Array.from({ length: 5 }, () => {
      it.fail()
      return it.untilPermitted()
    })
    expect(waits).toEqual([8000, 16_000, 32_000, 60_000, 60_000])
  })

  test('closes when the one call it lets through is well, and counts from the start', () => {
    const it = begin()
    for (let failure = 0; failure < 4; failure += 1) {
      it.fail()
      it.untilPermitted()
    }
    expect(it.actor.getSnapshot().value).toEqual({ halfOpen: 'free' })
    it.actor.send({ type: 'call.began' })
    expect(it.permits()).toBe(false)
    it.actor.send({ type: 'call.succeeded', openings: it.actor.getSnapshot().context.openings })
    expect(it.actor.getSnapshot().value).toBe('closed')
    it.fail()
    it.fail()
    expect(it.permits()).toBe(true)
    it.fail()
    expect(it.untilPermitted()).toBe(8000)
  })

  test('is not closed, nor kept open, by calls that began before it opened', () => {
    const it = begin()
    for (let failure = 0; failure < 3; failure += 1) it.fail()
    it.untilPermitted()
    it.actor.send({ type: 'call.began' })
    it.actor.send({ type: 'call.succeeded', openings: 0 })
    it.actor.send({ type: 'call.failed', openings: 0, random: 0.5 })
    expect(it.actor.getSnapshot().value).toEqual({ halfOpen: 'probing' })
  })

  test('draws its wait once, when it opens, within 30 % of the curve', () => {
    const it = begin(0.3)
    for (let failure = 0; failure < 3; failure += 1) it.fail(1)
    expect(it.actor.getSnapshot().context.waitMs).toBe(10_400)
    expect(it.untilPermitted()).toBe(10_400)
    assert(
      property(
        integer({ min: 3, max: 50 }),
        double({ min: 0, max: 1, noNaN: true }),
        (fails, random) => {
          const middle = Math.min(60_000, 1000 * 2 ** Math.min(fails, 10))
          const wait = breakerWaitMs(defaultBreaker, fails, random)
          expect(wait).toBeGreaterThanOrEqual(middle * 0.7 - 1)
          expect(wait).toBeLessThanOrEqual(middle * 1.3 + 1)
        },
      ),
    )
  })
})
