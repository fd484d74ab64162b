import { describe, expect, test } from 'bun:test'
import { array, assert, integer, property, record } from 'fast-check'
import {
  acknowledge,
  type Escalation,
  type EscalationPolicy,
  escalate,
  escalationMachine,
} from '../../machines/escalation.ts'
import { explore } from '../kit/explore.ts'

const policy: EscalationPolicy = { threshold: 500, calmMs: 30_000 }
const metric = 'fail:job'
const look = (before: Escalation | undefined, at: number, count: number, isWhole = true) =>
  escalate(metric, before, { at, count, isWhole }, policy)
const opened = look(undefined, 1000, 600)
if (opened === undefined) throw new Error('expected one that is open')

describe('escalation machine, explored', () => {
  const failed = new Error('failed')
  const errorOf = (state: string) => `xstate.error.actor.0.escalation.${state}`
  const exploration = explore(escalationMachine, {
    events: [
      { type: 'stop' },
      { type: 'service.failed', error: failed },
      { type: 'windows.known' },
      { type: 'windows.unknown' },
      ...['starting', 'stopping'].flatMap((state) => [
        { type: `xstate.done.actor.0.escalation.${state}` },
        { type: errorOf(state), error: failed },
      ]),
    ],
  })

  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
    expect(exploration.deadEnds()).toEqual([])
  })

  test('it is ready while it counts alone, too', () => {
    for (const snapshot of exploration.snapshots) {
      const counts = snapshot.matches('together') || snapshot.matches('alone')
      if (snapshot.status === 'active') expect(snapshot.hasTag('ready')).toBe(counts)
    }
  })
})

describe('an escalation', () => {
  test('opens when its window holds the threshold, not one less', () => {
    expect(look(undefined, 0, 499)).toBeUndefined()
    expect(look(undefined, 7, 500)).toEqual({
      metric,
      state: 'open',
      openedAt: 7,
      peak: 500,
      version: 1,
    })
  })

  test('stays as it is while its window hovers about the threshold, and keeps its peak', () => {
    expect(look(opened, 2000, 450)).toBeUndefined()
    expect(look(opened, 2000, 250)).toBeUndefined()
    expect(look(opened, 2000, 600)).toBeUndefined()
    expect(look(opened, 2000, 700)).toMatchObject({ state: 'open', openedAt: 1000, peak: 700 })
  })

  test('closes when its window has held less than half for the time of calm', () => {
    const calm = look(opened, 10_000, 249)
    expect(calm).toMatchObject({ state: 'open', calmSince: 10_000 })
    expect(look(calm, 39_999, 0)).toBeUndefined()
    expect(look(calm, 40_000, 0)).toMatchObject({ state: 'closed', closedAt: 40_000 })
    const broken = look(calm, 30_000, 250)
    expect(broken).toMatchObject({ state: 'open' })
    expect(broken?.calmSince).toBeUndefined()
  })

  test('is acknowledged once, and closes all the same; then it opens anew', () => {
    const seen = acknowledge(opened, 2000, 'on it')
    expect(seen).toMatchObject({ state: 'acknowledged', acknowledgedAt: 2000, reason: 'on it' })
    if (seen === undefined) throw new Error('expected one that is acknowledged')
    expect(acknowledge(seen, 3000, 'me too')).toBeUndefined()
    const closed = look(look(seen, 10_000, 0), 40_000, 0)
    expect(closed).toMatchObject({ state: 'closed', reason: 'on it' })
    if (closed === undefined) throw new Error('expected one that is closed')
    expect(acknowledge(closed, 50_000, 'late')).toBeUndefined()
    const again = look(closed, 60_000, 500)
    expect(again).toMatchObject({ state: 'open', openedAt: 60_000, peak: 500 })
    expect(again?.acknowledgedAt).toBeUndefined()
    expect(again?.version).toBe(closed.version + 1)
  })

  test('may be opened by what is surely in its window, and is never closed by that', () => {
    expect(look(undefined, 0, 500, false)).toMatchObject({ state: 'open' })
    expect(look(opened, 10_000, 0, false)).toBeUndefined()
    const calm = look(opened, 10_000, 0)
    expect(look(calm, 90_000, 0, false)).toBeUndefined()
  })

  test('opens at most once for each time of calm, whatever its window does', () => {
    const steps = array(
      record({ ms: integer({ min: 1, max: 20_000 }), count: integer({ min: 0, max: 1000 }) }),
    )
    assert(
      property(steps, (all) => {
        let now = 0
        let current: Escalation | undefined
        const openings: number[] = []
        for (const { ms, count } of all) {
          now += ms
          const next = look(current, now, count)
          const wasOpen = current !== undefined && current.state !== 'closed'
          if (next?.state === 'open' && !wasOpen) openings.push(now)
          if (next !== undefined) expect(next.version).toBe((current?.version ?? 0) + 1)
          current = next ?? current
        }
        for (const [index, at] of openings.slice(1).entries()) {
          expect(at - (openings[index] ?? 0)).toBeGreaterThanOrEqual(policy.calmMs)
        }
      }),
    )
  })
})
