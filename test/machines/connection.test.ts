import { describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor, fromPromise } from 'xstate'
import { connectionMachine } from '../../machines/connection.ts'
import type { Owned } from '../../machines/service.ts'
import { testClock } from '../kit/clock.ts'
import { explore } from '../kit/explore.ts'

const input = { backoff: { baseMs: 200, capMs: 1000, jitter: 0 } }
const refused = new Error('refused')
const errorOf = (state: string) => `xstate.error.actor.0.connection.${state}`
const actorEvents = ['opening', 'away.reviving', 'closing'].flatMap((state) => [
  { type: `xstate.done.actor.0.connection.${state}` },
  { type: errorOf(state), error: refused },
])

const exploration = explore(connectionMachine, {
  input,
  events: [
    { type: 'stop' },
    { type: 'connection.lost' },
    { type: 'connection.back' },
    ...actorEvents,
    { type: 'xstate.after.reviveAfter.connection.away.revived' },
    { type: 'xstate.after.reviveAfter.connection.away.waiting' },
  ],
  isBeyond: ({ context }) => context['losses'] > 2 || context['tries'] > 3,
})
const { steps, snapshots } = exploration

describe('connection machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('it is ready while it is away, too: those who stand on it are not restarted for it', () => {
    for (const snapshot of snapshots) {
      const [isConnected, isAway] = [snapshot.matches('connected'), snapshot.matches('away')]
      expect(snapshot.hasTag('ready')).toBe(isConnected || isAway)
      expect(snapshot.hasTag('away')).toBe(isAway)
    }
  })

  test('it fails when it cannot be opened or closed, and for nothing else', () => {
    for (const state of ['opening', 'closing']) {
      const failing = steps.filter(
        ({ from, event }) => from.value === state && event.type === errorOf(state),
      )
      expect(failing.length).toBeGreaterThan(0)
      for (const { to } of failing) expect([to.status, to.error]).toEqual(['error', refused])
    }
    for (const { event, to } of steps) {
      if (!event.type.startsWith('xstate.error.')) expect(to.status).not.toBe('error')
    }
    const reviving = steps.filter(
      ({ from, event }) =>
        from.matches({ away: 'reviving' }) && event.type === errorOf('away.reviving'),
    )
    for (const { to } of reviving) expect(to.value).toEqual({ away: 'waiting' })
  })

  test('it is closed before it is over, from everywhere', () => {
    for (const { from, event, to } of steps) {
      if (to.status === 'done') expect(from.value).toBe('closing')
      if (event.type === 'stop') expect(to.value).toBe('closing')
    }
  })

  test('being away ends with the connection or with the end, and with nothing else', () => {
    for (const { from, event, to } of steps) {
      if (!from.matches('away') || to.matches('away')) continue
      expect(['connection.back', 'stop']).toContain(event.type)
    }
  })
})

describe('a connection', () => {
  function begin(revive: () => Promise<void> = () => Promise.resolve()) {
    const clock = testClock()
    const revivedAt: number[] = []
    const errors: unknown[] = []
    const machine = connectionMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(() => Promise.resolve()),
        revive: fromPromise<void, Owned>(() => {
          revivedAt.push(clock.monotonic())
          return revive()
        }),
        close: fromPromise<void, Owned>(() => Promise.resolve()),
      },
    })
    const actor: AnyActorRef = createActor(machine, { input, clock: clock.timers })
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    return { actor, clock, errors, revivedAt }
  }

  test.each([
    ['in vain', () => Promise.reject(new Error('still gone'))],
    ['without an error', () => Promise.resolve()],
  ])('that is lost is revived again and again with back-off, %s', async (_, revive) => {
    const { actor, clock, errors, revivedAt } = begin(revive)
    await clock.settle()
    actor.send({ type: 'connection.lost' })
    await clock.pass(4000)
    expect(revivedAt).toEqual([0, 200, 600, 1400, 2400, 3400])
    expect([errors, actor.getSnapshot().context]).toMatchObject([[], { losses: 1, tries: 6 }])
  })

  test('that is back is left alone, and lost again begins anew with its back-off', async () => {
    const { actor, clock, revivedAt } = begin()
    await clock.settle()
    actor.send({ type: 'connection.lost' })
    await clock.pass(1000)
    actor.send({ type: 'connection.back' })
    expect([actor.getSnapshot().value, clock.armed]).toEqual(['connected', 0])
    await clock.pass(10_000)
    revivedAt.length = 0
    actor.send({ type: 'connection.lost' })
    actor.send({ type: 'connection.lost' })
    await clock.pass(300)
    expect(revivedAt).toEqual([11_000, 11_200])
    expect(actor.getSnapshot().context).toMatchObject({ losses: 2, tries: 2 })
  })

  test('stopped while it is away is closed, and leaves no timer', async () => {
    const { actor, clock } = begin()
    await clock.settle()
    actor.send({ type: 'connection.lost' })
    await clock.pass(10)
    actor.send({ type: 'stop' })
    await clock.settle()
    expect([actor.getSnapshot().status, clock.armed]).toEqual(['done', 0])
  })

  test('unbound, it says what to bind', async () => {
    const errors: unknown[] = []
    const actor = createActor(connectionMachine, { input })
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    await testClock().settle()
    expect(String(errors[0])).toContain('bind open in actors/connection.ts')
  })
})
