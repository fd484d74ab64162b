/**
 * The life of anything that has to be opened and closed. Every supervised actor follows it: tag
 * `ready` when it can be used, event `stop` to end it, a final state when it has fully stopped, and
 * an error out of it when it cannot go on.
 */
import { fromPromise, setup } from 'xstate'

export type ServiceEvent = { type: 'stop' } | { type: 'service.failed'; error: unknown }

const unbound = (name: string) =>
  fromPromise<void>(() => Promise.reject(new Error(`bind ${name} in actors/`)))

export const serviceMachine = setup({
  types: {
    events: {} as ServiceEvent,
  },
  actors: { open: unbound('open'), close: unbound('close') },
  actions: {
    /** Ends the actor in error: its supervisor decides what follows. */
    fail: ({ event }) => {
      if (event.type === 'service.failed') throw event.error
    },
  },
}).createMachine({
  id: 'service',
  initial: 'starting',
  states: {
    starting: {
      invoke: { src: 'open', onDone: 'running' },
      on: { stop: 'stopping' },
    },
    running: {
      tags: ['ready'],
      on: { stop: 'stopping', 'service.failed': { actions: 'fail' } },
    },
    stopping: {
      invoke: { src: 'close', onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
