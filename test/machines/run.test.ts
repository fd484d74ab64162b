import { describe, expect, test } from 'bun:test'
import { createActor, fromPromise } from 'xstate'
import { type RunWork, runMachine } from '../../machines/run.ts'
import { testClock } from '../kit/clock.ts'
import { type Exploration, explore } from '../kit/explore.ts'

const events = [
  { type: 'stop' },
  { type: 'spool.filled' },
  { type: 'xstate.done.actor.0.run.source.taking' },
  { type: 'xstate.error.actor.0.run.source.taking' },
  { type: 'xstate.done.actor.0.run.spool.moving' },
  { type: 'xstate.error.actor.0.run.spool.moving' },
  { type: 'xstate.after.retrySpoolAfter.run.spool.stuck' },
]
const inputs = [
  { id: 'r-1', actor: 'r-1', hasSource: true, spooled: false },
  { id: 'r-1', actor: 'r-1', hasSource: true, spooled: true },
  { id: 'r-1', actor: 'r-1', hasSource: false, spooled: true },
  { id: 'r-1', actor: 'r-1', hasSource: false, spooled: false },
]
const explorations = inputs.map((input) => explore(runMachine, { input, events }))
const [withSource] = explorations as [Exploration, ...Exploration[]]

describe('run machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    const reached = new Set(explorations.flatMap((exploration) => exploration.reached))
    expect([...reached].toSorted()).toEqual([...withSource.declared])
    expect(withSource.takenTransitions).toEqual([...withSource.declaredTransitions])
  })

  test('every state leads to an end', () => {
    for (const exploration of explorations) expect(exploration.deadEnds()).toEqual([])
  })

  test('a run that is over has ended altogether', () => {
    for (const { snapshots } of explorations) {
      for (const { value, status } of snapshots) {
        if (typeof value === 'string') throw new Error(`expected regions, got ${value}`)
        expect(value['life'] === 'over').toBe(status === 'done')
      }
    }
  })

  test('a run is ready as long as it lives, however long its source takes', () => {
    for (const { snapshots } of explorations) {
      for (const snapshot of snapshots) {
        expect(snapshot.hasTag('ready')).toBe(snapshot.matches({ life: 'live' }))
      }
    }
  })

  test('what is in the spool is being moved, or will be', () => {
    for (const { snapshots } of explorations) {
      for (const { value, context } of snapshots) {
        if (typeof value === 'string' || !context['spooled']) continue
        expect(value['spool']).not.toBe('empty')
      }
    }
  })
})

describe('run machine', () => {
  test('a run without a source reads none, and one that had one reads it once', () => {
    for (const { snapshots, steps } of explorations.slice(2)) {
      expect(snapshots.some(({ value }) => JSON.stringify(value).includes('taking'))).toBe(false)
      expect(steps.length).toBeGreaterThan(0)
    }
    const again = withSource.steps.filter(
      ({ from, to }) =>
        !JSON.stringify(from.value).includes('taking') &&
        JSON.stringify(to.value).includes('taking'),
    )
    expect(again).toEqual([])
  })

  test('a spool that is stuck is tried again after a second', async () => {
    const clock = testClock()
    let tries = 0
    const actor = createActor(
      runMachine.provide({
        actors: {
          moveSpool: fromPromise<void, RunWork>(async () => {
            tries += 1
            if (tries < 3) throw new Error('the mailbox refuses')
          }),
        },
      }),
      { input: { id: 'r-1', actor: 'r-1', hasSource: false, spooled: true }, clock: clock.timers },
    )
    actor.start()
    await clock.pass(999)
    expect([tries, actor.getSnapshot().value.spool]).toEqual([1, 'stuck'])
    await clock.pass(1)
    expect([tries, actor.getSnapshot().value.spool]).toEqual([2, 'stuck'])
    await clock.pass(1000)
    expect([tries, actor.getSnapshot().value.spool]).toEqual([3, 'empty'])
    actor.send({ type: 'stop' })
    expect([actor.getSnapshot().status, clock.armed]).toEqual(['done', 0])
  })

  test('what is spooled while the spool is moved is moved too', async () => {
    const clock = testClock()
    const moves: PromiseWithResolvers<void>[] = []
    const actor = createActor(
      runMachine.provide({
        actors: {
          moveSpool: fromPromise<void, RunWork>(() => {
            const move = Promise.withResolvers<void>()
            moves.push(move)
            return move.promise
          }),
        },
      }),
      { input: { id: 'r-1', actor: 'r-1', hasSource: false, spooled: false } },
    )
    actor.start()
    actor.send({ type: 'spool.filled' })
    actor.send({ type: 'spool.filled' })
    expect(moves).toHaveLength(1)
    moves[0]?.resolve()
    await clock.settle()
    expect(moves).toHaveLength(2)
    moves[1]?.resolve()
    await clock.settle()
    expect([moves.length, actor.getSnapshot().value.spool]).toEqual([2, 'empty'])
    actor.stop()
  })
})
