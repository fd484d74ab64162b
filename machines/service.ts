/**
 * The life of anything that has to be opened and closed. Every supervised actor follows it: tag
 * `ready` when it can be used, event `stop` to end it, a final state when it has fully stopped, and
 * an error out of it when it cannot go on.
 */
import { type AnyActorRef, fromPromise, setup } from 'xstate'

export type ServiceEvent = { type: 'stop' } | { type: 'service.failed'; error: unknown }

/** What a machine starts is told whose it is, so that it can tell its owner what it sees. */
export interface Owned {
  owner: AnyActorRef
}

export const ownedBy = ({ self }: { self: AnyActorRef }): Owned => ({ owner: self })

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/`)))

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
      invoke: { src: 'open', input: ownedBy, onDone: 'running' },
      on: { stop: 'stopping' },
    },
    running: {
      tags: ['ready'],
      on: { stop: 'stopping', 'service.failed': { actions: 'fail' } },
    },
    stopping: {
      invoke: { src: 'close', input: ownedBy, onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
