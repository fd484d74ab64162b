import { describe, expect, test } from 'bun:test'
import { assert, integer, property } from 'fast-check'
import { memberMachine } from '../../machines/member.ts'
import { memberState } from '../../machines/membership.ts'
import { explore } from '../kit/explore.ts'

const beatDone = 'xstate.done.actor.0.member.beat.sending'
const beatRefused = 'xstate.error.actor.0.member.beat.sending'
const said = ['joining', 'alive', 'draining'] as const

const exploration = explore(memberMachine, {
  input: { heartbeatMs: 10_000 },
  events: [
    { type: 'stop' },
    { type: 'drain' },
    { type: 'connection.back' },
    { type: 'news' },
    ...said.map((state) => ({ type: beatDone, output: { state, accepted: true } })),
    { type: beatDone, output: { state: 'joining', accepted: false } },
    { type: beatRefused, error: new Error('refused') },
    { type: 'xstate.after.heartbeat.member.beat.heard' },
    { type: 'xstate.after.heartbeat.member.beat.unheard' },
    { type: 'xstate.done.actor.0.member.life.leaving' },
    { type: 'xstate.error.actor.0.member.life.leaving', error: new Error('no farewell') },
  ],
})
const { snapshots, steps } = exploration

describe('member machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    // The machine raises it itself, at the end of a beat.
    const raised = (transition: string) => transition !== 'life.joining beat.accepted'
    expect(exploration.takenTransitions.filter(raised)).toEqual(
      exploration.declaredTransitions.filter(raised),
    )
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('it is ready from the first accepted beat until it stops', () => {
    for (const snapshot of snapshots) {
      const isReady = snapshot.matches({ life: 'alive' }) || snapshot.matches({ life: 'draining' })
      expect(snapshot.hasTag('ready')).toBe(isReady)
      if (isReady) expect(snapshot.context['told']).toBeDefined()
      if (snapshot.matches({ life: 'joining' })) expect(snapshot.context['told']).toBeUndefined()
    }
  })

  test('it never rests on news that the others could have heard', () => {
    const resting = snapshots.filter((snapshot) => snapshot.matches({ beat: 'heard' }))
    expect(resting.length).toBeGreaterThan(0)
    for (const { context } of resting) {
      expect(context).toMatchObject({ told: context['state'], isOutdated: false })
    }
  })

  test('who drains never says again that it is alive', () => {
    for (const { from, to } of steps) {
      if (from.context['state'] === 'draining') expect(to.context['state']).toBe('draining')
    }
  })

  test('it says farewell only when no beat is under way, and beats no more', () => {
    const leaving = snapshots.filter((snapshot) => snapshot.matches({ life: 'leaving' }))
    expect(leaving.length).toBeGreaterThan(0)
    for (const snapshot of leaving) expect(snapshot.matches({ beat: 'ended' })).toBe(true)
    for (const { from, to } of steps) {
      if (!from.matches({ beat: 'sending' }) && to.matches({ beat: 'sending' })) {
        expect(['joining', 'alive', 'draining'].some((life) => from.matches({ life }))).toBe(true)
      }
    }
  })

  test('a refused beat ends it in error, wherever it is', () => {
    const refused = steps.filter(
      ({ from, event }) => event.type === beatRefused && from.matches({ beat: 'sending' }),
    )
    expect(refused.length).toBeGreaterThan(3)
    expect(new Set(refused.map(({ to }) => to.status))).toEqual(new Set(['error']))
  })
})

describe('what a silent node is taken for', () => {
  const staleMs = 30_000

  test.each([
    [0, 'alive'],
    [15_000, 'alive'],
    [15_001, 'suspect'],
    [30_000, 'suspect'],
    [30_001, 'dead'],
  ] as const)('after %i ms: %s', (silentMs, state) => {
    expect(memberState(1000, 1000 + silentMs, staleMs, 'alive')).toBe(state)
  })

  test('a node that is heard of is what it says', () => {
    for (const each of said) expect(memberState(1000, 1000, staleMs, each)).toBe(each)
  })

  test('it only gets worse with time, and a clock that was set back accuses nobody', () => {
    const rank = { alive: 0, suspect: 1, dead: 2, joining: -1, draining: -1 }
    assert(
      property(integer({ min: -1e6, max: 1e6 }), integer({ min: 0, max: 1e6 }), (at, more) => {
        const now = memberState(0, at, staleMs, 'alive')
        const later = memberState(0, at + more, staleMs, 'alive')
        expect(rank[later]).toBeGreaterThanOrEqual(rank[now])
        if (at <= 0) expect(now).toBe('alive')
      }),
    )
  })
})
