import { describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, constantFrom } from 'fast-check'
import {
  type AnyActorRef,
  type AnyMachineSnapshot,
  createActor,
  fromCallback,
  fromPromise,
} from 'xstate'
import { type LeaseEvent, type LostReason, leaseMachine } from '../../machines/lease.ts'
import type { Owned } from '../../machines/service.ts'
import { singletonMachine } from '../../machines/singleton.ts'
import { testClock } from '../kit/clock.ts'
import { type ExploredEvent, explore } from '../kit/explore.ts'

const times = { ttlMs: 1750, renewMs: 500, operationTimeoutMs: 300 }
const input = {
  lease: { name: 'a', contender: 'node-a/boot/1', times },
  startLimitMs: 1000,
  stopLimitMs: 500,
}
const startFailed = 'xstate.error.actor.0.singleton.starting'
const at = (tags: readonly string[]) => ({ hasTag: (tag: string) => tags.includes(tag) })
const lost = (epoch: number, reason: LostReason) => ({ type: 'lease.lost', epoch, reason })

const events: ExploredEvent[] = [
  { type: 'xstate.snapshot.lease', snapshot: at([]) },
  { type: 'xstate.snapshot.lease', snapshot: at(['ready']) },
  { type: 'xstate.done.actor.lease' },
  { type: 'xstate.error.actor.lease', error: new Error('no notices') },
  { type: 'lease.held', epoch: 1 },
  { type: 'lease.held', epoch: 2 },
  lost(1, 'refused'),
  { type: 'xstate.done.actor.0.singleton.starting' },
  { type: startFailed, error: new Error('no start') },
  { type: 'xstate.after.startLimit.singleton.starting' },
  { type: 'work.failed', epoch: 1, error: new Error('broke') },
  { type: 'work.ended', epoch: 1 },
  { type: 'xstate.done.actor.0.singleton.stopping' },
  { type: 'xstate.after.stopLimit.singleton.stopping' },
  { type: 'stop' },
]
const keyOf = ({ value, context }: AnyMachineSnapshot) =>
  JSON.stringify([value, context['epoch'], context['failure'] !== undefined])

const exploration = explore(singletonMachine, { input, events, keyOf })
const { snapshots } = exploration
// A start that was left cannot fail any more.
const steps = exploration.steps.filter(
  ({ from, event }) => event.type !== startFailed || from.value === 'starting',
)

const nameOf = ({ value }: AnyMachineSnapshot) => String(value)
const isLeading = (snapshot: AnyMachineSnapshot) =>
  ['starting', 'active', 'stopping'].includes(nameOf(snapshot))

describe('singleton machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    // Without those by error, which end it anywhere.
    const orderly = events.filter(({ type }) => !type.startsWith('xstate.error.'))
    expect(explore(singletonMachine, { input, events: orderly, keyOf }).deadEnds()).toEqual([])
  })

  test('it is ready from when it contends until it gives up, and active only at work', () => {
    for (const snapshot of snapshots) {
      const isReady = ['passive', 'starting', 'active'].includes(nameOf(snapshot))
      expect(snapshot.hasTag('ready')).toBe(isReady)
      expect(snapshot.hasTag('active')).toBe(nameOf(snapshot) === 'active')
    }
  })

  test('it comes to work only by a grant and a start', () => {
    const toActive = steps.filter(({ from, to }) => !from.hasTag('active') && to.hasTag('active'))
    expect(toActive.length).toBeGreaterThan(0)
    expect(toActive.every(({ from }) => nameOf(from) === 'starting')).toBe(true)
    const toStarting = steps.filter(
      ({ from, to }) => nameOf(from) !== 'starting' && nameOf(to) === 'starting',
    )
    expect(new Set(toStarting.map(({ event }) => event.type))).toEqual(new Set(['lease.held']))
  })

  test('no state of a leader outlives the loss of its lease', () => {
    const losses = steps.filter(({ from, event }) => isLeading(from) && event.type === 'lease.lost')
    expect(losses.length).toBeGreaterThan(3)
    for (const { from, to } of losses) {
      expect(nameOf(to)).toBe(nameOf(from) === 'stopping' ? 'releasing' : 'passive')
    }
  })

  test('work that was active is stopped before the lease is given back, unless it is lost', () => {
    for (const { from, to, event } of steps) {
      if (nameOf(from) === 'active') expect(nameOf(to)).not.toBe('releasing')
      if (nameOf(from) !== 'stopping' || nameOf(to) !== 'releasing') continue
      expect([
        'lease.lost',
        'xstate.done.actor.0.singleton.stopping',
        'xstate.after.stopLimit.singleton.stopping',
      ]).toContain(event.type)
    }
  })

  test('it ends only when its lease has, and in error exactly after a failure', () => {
    for (const { from, to, event } of steps) {
      if (from.status !== 'active' || to.status === 'active') continue
      if (to.status === 'error') expect(event.type).toBe('xstate.error.actor.lease')
      else expect(event.type).toBe('xstate.done.actor.lease')
      if (nameOf(to) === 'failed') expect(from.context['failure']).toBeDefined()
      if (nameOf(to) === 'stopped') expect(from.context['failure']).toBeUndefined()
    }
  })

  test('what becomes of the work of an earlier term changes nothing', () => {
    const stale = steps.filter(
      ({ from, event }) => from.context['epoch'] !== 1 && event.type.startsWith('work.'),
    )
    expect(stale.some(({ from }) => from.hasTag('active'))).toBe(true)
    for (const { from, to } of stale) expect(to.value).toEqual(from.value)
  })

  test('once it gives up it never works again in this life', () => {
    for (const { from, to } of steps) {
      if (nameOf(from) !== 'releasing' || to.status !== 'active') continue
      expect(nameOf(to)).toBe('releasing')
    }
  })
})

/** Plays a life on the machine with work and a lease that do what the events say. */
function play() {
  const clock = testClock()
  const effects: string[] = []
  let settle: { resolve(): void; reject(error: unknown): void } | undefined
  const promised = (what: string) =>
    fromPromise<void, Owned>(({ signal }) => {
      effects.push(what)
      signal.addEventListener('abort', () => effects.push(`${what} aborted`), { once: true })
      return new Promise((resolve, reject) => {
        settle = { resolve, reject }
      })
    })
  const machine = singletonMachine.provide({
    actors: {
      // It waits for its first notice, for ever: what it would say is said by hand.
      lease: leaseMachine.provide({
        actors: { notices: fromCallback<LeaseEvent, Owned>(() => undefined) },
      }),
      start: promised('start'),
      stopWork: promised('stop work'),
    },
    actions: {
      announceActive: () => effects.push('active'),
      abandonWork: () => effects.push('abandon'),
      giveBack: () => effects.push('give back'),
    },
  })
  const actor: AnyActorRef = createActor(machine, { input, clock: clock.timers })
  const errors: unknown[] = []
  actor.subscribe({ error: (error: unknown) => errors.push(error) })
  actor.start()
  const state = () => String((actor.getSnapshot() as AnyMachineSnapshot).value)
  actor.send({ type: 'xstate.snapshot.lease', snapshot: at(['ready']) })
  return { actor, clock, effects, errors, state, settled: () => settle }
}

describe('a singleton', () => {
  test('that loses its lease while it starts is passive at once, its start aborted', async () => {
    const { actor, effects, state } = play()
    actor.send({ type: 'lease.held', epoch: 7 })
    expect(state()).toBe('starting')
    actor.send(lost(7, 'unconfirmed'))
    expect(state()).toBe('passive')
    expect(effects).toEqual(['start', 'abandon', 'start aborted'])
    actor.stop()
  })

  test('that starts too slowly gives the lease back, and then fails', async () => {
    const { actor, clock, effects, errors, state } = play()
    actor.send({ type: 'lease.held', epoch: 7 })
    await clock.pass(999)
    expect(state()).toBe('starting')
    await clock.pass(1)
    expect(state()).toBe('releasing')
    expect(effects).toEqual(['start', 'abandon', 'give back', 'start aborted'])
    expect(errors).toEqual([])
    actor.send({ type: 'xstate.done.actor.lease', output: undefined, actorId: 'lease' })
    expect(errors).toMatchObject([{ message: 'did not start within 1000 ms' }])
  })

  test('waits for its work to stop within the limit, then gives the lease back', async () => {
    const { actor, clock, effects, settled, state } = play()
    actor.send({ type: 'lease.held', epoch: 7 })
    settled()?.resolve()
    await clock.settle()
    actor.send({ type: 'stop' })
    await clock.pass(499)
    expect(effects).toEqual(['start', 'active', 'stop work'])
    await clock.pass(1)
    expect(state()).toBe('releasing')
    expect(effects.slice(3)).toEqual(['abandon', 'give back', 'stop work aborted'])
    actor.stop()
  })

  test('in whatever order things happen, gives back once and ends what it starts', async () => {
    type Move = 'held' | 'lost' | 'resolve' | 'reject' | 'stop' | 'failed' | 'ended' | 'late'
    const moves = constantFrom<Move[]>(
      ...(['held', 'lost', 'resolve', 'reject', 'stop', 'failed', 'ended', 'late'] as const),
    )
    const live = async (played: readonly Move[]) => {
      const { actor, clock, effects, settled, state } = play()
      let epoch = 0
      let isHeld = false
      for (const move of played) {
        // A lease keeps its word: held and lost take turns, and nothing after it was given back.
        const isOver = effects.includes('give back')
        if (move === 'held' && !isHeld && !isOver) {
          isHeld = true
          actor.send({ type: 'lease.held', epoch: ++epoch })
        } else if (move === 'lost' && isHeld) {
          isHeld = false
          actor.send(lost(epoch, 'refused'))
          expect(['passive', 'releasing']).toContain(state())
        } else if (move === 'failed') actor.send({ type: 'work.failed', epoch, error: 'broke' })
        else if (move === 'ended') actor.send({ type: 'work.ended', epoch })
        else if (move === 'stop') actor.send({ type: 'stop' })
        else if (move === 'late') await clock.pass(1000)
        else if (move === 'resolve') settled()?.resolve()
        else if (move === 'reject' && state() === 'starting') settled()?.reject('no start')
        await clock.settle()
      }
      expect(effects.filter((effect) => effect === 'give back').length).toBeLessThanOrEqual(1)
      if (state() === 'active') expect(isHeld).toBe(true)
      const starts = effects.filter((effect) => effect === 'start').length
      const ends = effects.filter((effect) => ['abandon', 'stop work'].includes(effect)).length
      // At most the present one is without an end; one may be stopped and then be abandoned.
      expect(ends).toBeGreaterThanOrEqual(starts - 1)
      actor.stop()
      expect(clock.armed).toBe(0)
    }
    await assert(asyncProperty(array(moves, { maxLength: 12 }), live), { numRuns: 200 })
  })
})
