import { describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor, fromPromise } from 'xstate'
import { keptShare, type Left, logMachine } from '../../machines/log.ts'
import type { Owned } from '../../machines/service.ts'
import { testClock } from '../kit/clock.ts'
import { explore } from '../kit/explore.ts'

const input = { flushMs: 500, backoff: { baseMs: 200, capMs: 1000, jitter: 0 } }
const broken = new Error('no space left')
const failedAt = (state: string) => ({ type: `xstate.error.actor.0.log.${state}`, error: broken })
const doneAt = (state: string, output?: Left) => ({
  type: `xstate.done.actor.0.log.${state}`,
  output,
})

const exploration = explore(logMachine, {
  input,
  events: [
    { type: 'stop' },
    { type: 'log.waiting' },
    { type: 'log.enough' },
    doneAt('opening'),
    ...[undefined, 0, 300].map((dueMs) => doneAt('writing', { dueMs })),
    doneAt('draining'),
    ...['opening', 'writing', 'draining'].map(failedAt),
    { type: 'xstate.after.due.log.gathering' },
    { type: 'xstate.after.rest.log.resting' },
  ],
  isBeyond: ({ context }) => context['failures'] > 2,
})
const { steps, snapshots } = exploration

describe('log machine, explored', () => {
  test('every state is reached but one that is passed through, every transition taken', () => {
    expect(exploration.declared.filter((state) => !exploration.reached.includes(state))).toEqual([
      'written',
    ])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('once open it is ready until it stops, whatever cannot be written', () => {
    for (const { value, status, ...snapshot } of snapshots) {
      if (status !== 'active') continue
      expect(snapshot.hasTag('ready')).toBe(value !== 'opening' && value !== 'draining')
    }
  })

  test('it fails when it cannot be opened or drained, never when it cannot write', () => {
    const failing = (state: string) =>
      steps.filter(({ from, event }) => from.value === state && event.type === failedAt(state).type)
    for (const state of ['opening', 'draining']) {
      for (const { to } of failing(state)) expect([to.status, to.error]).toEqual(['error', broken])
    }
    for (const { to } of failing('writing')) expect(to.value).toBe('resting')
    for (const state of ['opening', 'writing', 'draining']) {
      expect(failing(state).length).toBeGreaterThan(0)
    }
  })

  test('it drains before it is over', () => {
    for (const { from, event, to } of steps) {
      if (to.status === 'done') expect(from.value).toBe('draining')
      if (event.type === 'stop' && from.value !== 'draining') expect(to.value).toBe('draining')
    }
  })

  test('it is never idle while it knows that something waits', () => {
    for (const { value, context } of snapshots) {
      if (value === 'idle') expect(context['dueMs']).toBeUndefined()
    }
  })
})

describe('the log machine', () => {
  function begin(write: () => Promise<Left> = () => Promise.resolve({ dueMs: undefined })) {
    const clock = testClock()
    const writtenAt: number[] = []
    const actor: AnyActorRef = createActor(
      logMachine.provide({
        actors: {
          open: fromPromise<void, Owned>(() => Promise.resolve()),
          write: fromPromise<Left, Owned>(() => {
            writtenAt.push(clock.monotonic())
            return write()
          }),
          drain: fromPromise<void, Owned>(() => Promise.resolve()),
        },
      }),
      { input, clock: clock.timers },
    )
    actor.start()
    return { actor, clock, writtenAt }
  }

  test('writes half a second after the first line, or at once when there are enough', async () => {
    const { actor, clock, writtenAt } = begin()
    await clock.settle()
    writtenAt.length = 0
    actor.send({ type: 'log.waiting' })
    await clock.pass(499)
    expect(writtenAt).toEqual([])
    await clock.pass(1)
    expect(writtenAt).toEqual([500])
    actor.send({ type: 'log.waiting' })
    actor.send({ type: 'log.enough' })
    await clock.settle()
    expect(writtenAt).toEqual([500, 500])
  })

  test('does not miss a line that comes while it writes', async () => {
    const written: ((left: Left) => void)[] = []
    const { actor, clock, writtenAt } = begin(() => new Promise((resolve) => written.push(resolve)))
    await clock.settle()
    actor.send({ type: 'log.waiting' })
    // What was left was looked up before that line came.
    written.pop()?.({ dueMs: undefined })
    await clock.settle()
    expect(actor.getSnapshot().value).toBe('gathering')
    await clock.pass(500)
    expect(writtenAt).toEqual([0, 500])
  })

  test('tries again with back-off for as long as it takes', async () => {
    const { actor, clock, writtenAt } = begin(() => Promise.reject(broken))
    await clock.pass(4000)
    expect(writtenAt).toEqual([0, 200, 600, 1400, 2400, 3400])
    expect(actor.getSnapshot().status).toBe('active')
  })

  test('unbound, it says what to bind', async () => {
    const errors: unknown[] = []
    const actor = createActor(logMachine, { input })
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    await testClock().settle()
    expect(String(errors[0])).toContain('bind open in actors/log.ts')
  })
})

test('above 80 % debug and info are sampled, when full dropped, warnings kept for ever', () => {
  const shares = (level: 'debug' | 'info' | 'warn' | 'error') =>
    [0, 0.8, 0.801, 0.999, 1, 7].map((fullness) => keptShare(level, fullness))
  expect(shares('debug')).toEqual([1, 1, 0.1, 0.1, 0, 0])
  expect(shares('info')).toEqual([1, 1, 0.1, 0.1, 0, 0])
  expect(shares('warn')).toEqual([1, 1, 1, 1, 1, 1])
  expect(shares('error')).toEqual([1, 1, 1, 1, 1, 1])
})
