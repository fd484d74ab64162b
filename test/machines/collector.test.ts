import { describe, expect, test } from 'bun:test'
import { array, assert, integer, property } from 'fast-check'
import { createActor, fromPromise } from 'xstate'
import { collectorMachine } from '../../machines/collector.ts'
import type { Owned } from '../../machines/service.ts'
import { explore } from '../kit/explore.ts'

const exploration = explore(collectorMachine, {
  events: [
    { type: 'stop' },
    { type: 'service.failed' },
    { type: 'results.received' },
    { type: 'batch.collected', envelopes: 1 },
    { type: 'batch.collected', envelopes: 2 },
    { type: 'xstate.done.actor.0.collector.life.starting' },
    { type: 'xstate.done.actor.0.collector.life.stopping' },
    { type: 'xstate.error.actor.0.collector.life.starting' },
    { type: 'xstate.error.actor.0.collector.life.stopping' },
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
function begin() {
  let asked = 0
  const actor = createActor(
    collectorMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async () => {}),
        close: fromPromise<void, Owned>(async () => {}),
      },
      actions: {
        collectBatch: () => {
          asked += 1
        },
      },
    }),
  )
  actor.subscribe({ error: () => {} })
  actor.start()
  return { actor, asked: () => asked }
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
    expect(actor.getSnapshot().context).toEqual({ waiting: 0, batches: 2 })
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
        expect(context).toEqual({ waiting: 0, batches: asked() })
        expect(value.batch).toBe('idle')
      }),
    )
  })
})
