import { describe, expect, test } from 'bun:test'
import { createActor, fromPromise } from 'xstate'
import { type Owned, serviceMachine } from '../../machines/service.ts'
import { eventually } from '../kit/eventually.ts'
import { explore } from '../kit/explore.ts'

const exploration = explore(serviceMachine, {
  events: [
    { type: 'stop' },
    { type: 'service.failed' },
    { type: 'xstate.done.actor.0.service.starting' },
    { type: 'xstate.done.actor.0.service.stopping' },
    { type: 'xstate.error.actor.0.service.starting' },
    { type: 'xstate.error.actor.0.service.stopping' },
  ],
})

describe('service machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('what cannot be opened or closed is an error', () => {
    for (const phase of ['starting', 'stopping']) {
      const failing = exploration.steps.filter(
        ({ from, event }) =>
          from.value === phase && event.type === `xstate.error.actor.0.service.${phase}`,
      )
      expect(failing.map(({ to }) => to.status)).toEqual(['error'])
    }
  })

  test('it is ready exactly while it runs', () => {
    for (const snapshot of exploration.snapshots) {
      expect(snapshot.hasTag('ready')).toBe(snapshot.value === 'running')
    }
  })
})

describe('service machine', () => {
  test('unbound, it says what to bind', async () => {
    const errors: unknown[] = []
    const actor = createActor(serviceMachine)
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    await eventually(() => expect(errors).toHaveLength(1))
    expect(String(errors[0])).toContain('bind open in actors/')
  })

  test('what ends it is the very error its service failed with', async () => {
    const bound = serviceMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async () => {}),
        close: fromPromise<void, Owned>(async () => {}),
      },
    })
    const errors: unknown[] = []
    const actor = createActor(bound)
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    await eventually(() => expect(actor.getSnapshot().value).toBe('running'))
    const cause = new Error('the port is in use')
    actor.send({ type: 'service.failed', error: cause })
    expect(errors).toEqual([cause])
    expect(actor.getSnapshot().status).toBe('error')
  })
})
