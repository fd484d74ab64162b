/**
 * A worker: receives envelopes from one mailbox. One event an envelope, never one a task. What it
 * does with an envelope is bound in actors/worker.ts; here is only its life and how busy it is.
 */
import { assign, fromPromise, not, setup } from 'xstate'
import { type Owned, ownedBy } from './service.ts'

export type WorkerEvent =
  | { type: 'stop' }
  | { type: 'service.failed'; error: unknown }
  | { type: 'envelope.received'; tasks: number }
  | { type: 'envelope.settled'; tasks: number }
  | { type: 'envelope.returned'; tasks: number }

export interface WorkerContext {
  /** Envelopes and tasks at hand now. */
  envelopes: number
  tasks: number
  /** Tasks settled and tasks given back in this life. */
  settled: number
  returned: number
}

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/`)))

export const workerMachine = setup({
  types: { context: {} as WorkerContext, events: {} as WorkerEvent },
  actors: { open: unbound('open'), close: unbound('close') },
  actions: {
    fail: ({ event }) => {
      if (event.type === 'service.failed') throw event.error
    },
    countReceived: assign(({ context, event }) =>
      event.type === 'envelope.received'
        ? { envelopes: context.envelopes + 1, tasks: context.tasks + event.tasks }
        : {},
    ),
    countSettled: assign(({ context, event }) =>
      event.type === 'envelope.settled'
        ? {
            envelopes: context.envelopes - 1,
            tasks: context.tasks - event.tasks,
            settled: context.settled + event.tasks,
          }
        : {},
    ),
    countReturned: assign(({ context, event }) =>
      event.type === 'envelope.returned'
        ? {
            envelopes: context.envelopes - 1,
            tasks: context.tasks - event.tasks,
            returned: context.returned + event.tasks,
          }
        : {},
    ),
  },
  guards: { isIdle: ({ context }) => context.envelopes === 0 },
}).createMachine({
  id: 'worker',
  context: { envelopes: 0, tasks: 0, settled: 0, returned: 0 },
  initial: 'starting',
  on: {
    'envelope.received': { actions: 'countReceived' },
    'envelope.settled': { actions: 'countSettled' },
    'envelope.returned': { actions: 'countReturned' },
  },
  states: {
    starting: {
      invoke: { src: 'open', input: ownedBy, onDone: 'receiving' },
      on: { stop: 'stopping' },
    },
    receiving: {
      tags: ['ready'],
      on: { stop: 'stopping', 'service.failed': { actions: 'fail' } },
      initial: 'idle',
      states: {
        idle: { always: { guard: not('isIdle'), target: 'busy' } },
        busy: { always: { guard: 'isIdle', target: 'idle' } },
      },
    },
    stopping: {
      invoke: { src: 'close', input: ownedBy, onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
