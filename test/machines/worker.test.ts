import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, property } from 'fast-check'
import { createActor, fromPromise, initialTransition, transition } from 'xstate'
import type { Owned } from '../../machines/service.ts'
import { workerMachine } from '../../machines/worker.ts'
import { testClock } from '../kit/clock.ts'
import { explore } from '../kit/explore.ts'

const tasks = 3
const exploration = explore(workerMachine, {
  events: [
    { type: 'stop' },
    { type: 'service.failed' },
    { type: 'envelope.received', tasks },
    { type: 'envelope.settled', tasks },
    { type: 'envelope.returned', tasks },
    { type: 'message.overdue', error: 'hung' },
    ...['starting', 'aborting', 'leaving', 'stopping'].flatMap((state) => [
      { type: `xstate.done.actor.0.worker.${state}` },
      { type: `xstate.error.actor.0.worker.${state}` },
    ]),
    { type: 'xstate.after.abortMs.worker.aborting' },
    { type: 'xstate.after.abortMs.worker.leaving' },
  ],
  keyOf: ({ value, context }) => JSON.stringify([value, context['envelopes']]),
  isBeyond: ({ context }) => context['envelopes'] < 0 || context['envelopes'] > 2,
})

describe('worker machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('it is busy exactly while it has envelopes at hand', () => {
    for (const { value, context } of exploration.snapshots) {
      if (typeof value === 'string' || context['envelopes'] < 0) continue
      expect(value).toEqual({ receiving: context['envelopes'] === 0 ? 'idle' : 'busy' })
    }
  })

  test('it is ready exactly while it receives', () => {
    for (const snapshot of exploration.snapshots) {
      expect(snapshot.hasTag('ready')).toBe(typeof snapshot.value !== 'string')
    }
  })
})

test('what a worker received is at hand, settled or given back', () => {
  const ends = constantFrom('envelope.settled' as const, 'envelope.returned' as const)
  assert(
    property(array(ends, { maxLength: 20 }), (endings) => {
      let [snapshot] = initialTransition(workerMachine)
      const step = (event: Parameters<typeof transition<typeof workerMachine>>[2]) => {
        ;[snapshot] = transition(workerMachine, snapshot, event)
      }
      endings.forEach((_, index) => step({ type: 'envelope.received', tasks: index + 1 }))
      endings.forEach((type, index) => {
        step({ type, tasks: index + 1 })
        const { context } = snapshot
        const all = (endings.length * (endings.length + 1)) / 2
        expect(context.tasks + context.settled + context.returned).toBe(all)
        expect(context.envelopes).toBe(endings.length - index - 1)
      })
      expect(snapshot.context.tasks).toBe(0)
    }),
  )
})

/** A worker at hand of a hung envelope, which it aborts when the test says so. */
async function beginHung() {
  const clock = testClock()
  const gate = Promise.withResolvers<void>()
  const errors: unknown[] = []
  let aborts = 0
  const actor = createActor(
    workerMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async () => {}),
        close: fromPromise<void, Owned>(async () => {}),
        abort: fromPromise<void, Owned>(() => {
          aborts += 1
          return gate.promise
        }),
      },
    }),
    { clock: clock.timers },
  )
  actor.subscribe({ error: (error) => errors.push(error) })
  actor.start()
  await clock.settle()
  actor.send({ type: 'envelope.received', tasks, oldestAt: 12 })
  expect(actor.getSnapshot().context.oldestAt).toBe(12)
  actor.send({ type: 'message.overdue', error: 'it hung' })
  expect([actor.getSnapshot().value, aborts]).toEqual(['aborting', 1])
  return { clock, gate, errors, actor }
}

describe('a worker with a hung envelope', () => {
  test('fails with its error when everything is handed back', async () => {
    const { clock, gate, errors, actor } = await beginHung()
    actor.send({ type: 'envelope.returned', tasks, oldestAt: undefined })
    await clock.settle()
    const { context, status } = actor.getSnapshot()
    expect([status, context.envelopes, context.oldestAt]).toEqual(['active', 0, undefined])
    gate.resolve()
    await clock.settle()
    expect([actor.getSnapshot().status, errors]).toEqual(['error', ['it hung']])
  })

  test('fails with its error when handing back fails', async () => {
    const { clock, gate, errors } = await beginHung()
    gate.reject(new Error('Redis is away'))
    await clock.settle()
    expect(errors).toEqual(['it hung'])
  })

  test('fails with its error when handing back takes longer than two seconds', async () => {
    const { clock, errors } = await beginHung()
    await clock.pass(1999)
    expect(errors).toEqual([])
    await clock.pass(1)
    expect(errors).toEqual(['it hung'])
  })

  test('asked to stop meanwhile it ends, as soon as everything is handed back', async () => {
    const { clock, gate, errors, actor } = await beginHung()
    actor.send({ type: 'stop' })
    gate.resolve()
    await clock.settle()
    expect([actor.getSnapshot().status, errors]).toEqual(['done', []])
  })

  test('asked to stop meanwhile it ends within two seconds, whatever hangs', async () => {
    const { clock, errors, actor } = await beginHung()
    await clock.pass(1500)
    actor.send({ type: 'stop' })
    await clock.pass(2000)
    expect([actor.getSnapshot().status, errors]).toEqual(['done', []])
  })
})
