import { describe, expect, test } from 'bun:test'
import { array, assert, integer, property } from 'fast-check'
import { createActor, fromPromise } from 'xstate'
import { collectorMachine } from '../../machines/collector.ts'
import type { Owned } from '../../machines/service.ts'
import { testClock } from '../kit/clock.ts'
import { explore } from '../kit/explore.ts'

const exploration = explore(collectorMachine, {
  events: [
    { type: 'stop' },
    { type: 'service.failed' },
    { type: 'results.received' },
    { type: 'batch.collected', envelopes: 1 },
    { type: 'batch.collected', envelopes: 2 },
    { type: 'message.overdue', error: 'hung' },
    ...['starting', 'aborting', 'leaving', 'stopping'].flatMap((state) => [
      { type: `xstate.done.actor.0.collector.life.${state}` },
      { type: `xstate.error.actor.0.collector.life.${state}` },
    ]),
    { type: 'xstate.after.abortMs.collector.life.aborting' },
    { type: 'xstate.after.abortMs.collector.life.leaving' },
  ],
  keyOf: ({ value, context }) => JSON.stringify([value, context['waiting']]),
  isBeyond: ({ context }) => context['waiting'] < 0 || context['waiting'] > 3,
})

describe('collector machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('while anything waits, a batch is being collected', () => {
    for (const { value, context } of exploration.snapshots) {
      if (typeof value === 'string' || value['batch'] === 'ended' || context['waiting'] < 0)
        continue
      expect(value['batch']).toBe(context['waiting'] > 0 ? 'collecting' : 'idle')
    }
  })
})

/** A collector whose batches are worked off when the test says so. */
function begin(abort: () => Promise<void> = async () => {}, clock = testClock()) {
  let asked = 0
  const errors: unknown[] = []
  const actor = createActor(
    collectorMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async () => {}),
        close: fromPromise<void, Owned>(async () => {}),
        abort: fromPromise<void, Owned>(abort),
      },
      actions: {
        collectBatch: () => {
          asked += 1
        },
      },
    }),
    { clock: clock.timers },
  )
  actor.subscribe({ error: (error) => errors.push(error) })
  actor.start()
  return { actor, errors, asked: () => asked }
}

describe('collector machine', () => {
  test('it asks for one batch at a time, and for another as long as envelopes wait', () => {
    const { actor, asked } = begin()
    for (let count = 0; count < 5; count += 1) actor.send({ type: 'results.received' })
    expect(asked()).toBe(1)
    actor.send({ type: 'batch.collected', envelopes: 3 })
    expect(asked()).toBe(2)
    actor.send({ type: 'batch.collected', envelopes: 2 })
    expect(asked()).toBe(2)
    expect(actor.getSnapshot().context).toMatchObject({ waiting: 0, batches: 2 })
  })

  test('every envelope is in exactly one batch, however they arrive', () => {
    assert(
      property(array(integer({ min: 0, max: 4 })), integer({ min: 1, max: 3 }), (moves, most) => {
        const { actor, asked } = begin()
        let received = 0
        let collected = 0
        const collect = () => {
          const batch = Math.min(most, received - collected)
          collected += batch
          actor.send({ type: 'batch.collected', envelopes: batch })
        }
        for (const more of moves) {
          for (let count = 0; count < more; count += 1) actor.send({ type: 'results.received' })
          received += more
          if (collected < received) collect()
        }
        while (collected < received) collect()
        const { context, value } = actor.getSnapshot()
        expect(context).toMatchObject({ waiting: 0, batches: asked() })
        expect(value.batch).toBe('idle')
      }),
    )
  })
})

describe('a collector with a hung envelope', () => {
  const beginHung = async (abort?: () => Promise<void>) => {
    const clock = testClock()
    const { actor, errors } = begin(abort, clock)
    await clock.settle()
    actor.send({ type: 'results.received', oldestAt: 7 })
    expect(actor.getSnapshot().context.oldestAt).toBe(7)
    actor.send({ type: 'message.overdue', error: 'it hung' })
    return { clock, actor, errors }
  }
  const never = () => new Promise<void>(() => {})

  test('fails with its error when everything is handed back', async () => {
    const { clock, errors } = await beginHung()
    await clock.settle()
    expect(errors).toEqual(['it hung'])
  })

  test('fails with its error when handing back fails', async () => {
    const { clock, errors } = await beginHung(() => Promise.reject(new Error('Redis is away')))
    await clock.settle()
    expect(errors).toEqual(['it hung'])
  })

  test('fails with its error when handing back takes longer than two seconds', async () => {
    const { clock, errors, actor } = await beginHung(never)
    await clock.pass(1999)
    expect([errors, actor.getSnapshot().hasTag('ready')]).toEqual([[], false])
    await clock.pass(1)
    expect(errors).toEqual(['it hung'])
  })

  test('asked to stop meanwhile it ends, whatever hangs', async () => {
    const { clock, errors, actor } = await beginHung(never)
    actor.send({ type: 'stop' })
    await clock.pass(2000)
    expect([actor.getSnapshot().status, errors]).toEqual(['done', []])
  })
})
