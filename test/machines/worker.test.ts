import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, property } from 'fast-check'
import { initialTransition, transition } from 'xstate'
import { workerMachine } from '../../machines/worker.ts'
import { explore } from '../kit/explore.ts'

const tasks = 3
const exploration = explore(workerMachine, {
  events: [
    { type: 'stop' },
    { type: 'service.failed' },
    { type: 'envelope.received', tasks },
    { type: 'envelope.settled', tasks },
    { type: 'envelope.returned', tasks },
    { type: 'xstate.done.actor.0.worker.starting' },
    { type: 'xstate.done.actor.0.worker.stopping' },
    { type: 'xstate.error.actor.0.worker.starting' },
    { type: 'xstate.error.actor.0.worker.stopping' },
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
