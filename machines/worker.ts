/**
 * A worker: receives envelopes from one mailbox. One event an envelope, never one a task. What it
 * does with an envelope is bound in actors/worker.ts; here is only its life and how busy it is.
 */
import { assign, fromPromise, not, setup } from 'xstate'
import { type Owned, ownedBy } from './service.ts'

export type WorkerEvent =
  | { type: 'stop' }
  | { type: 'service.failed'; error: unknown }
  | ({ type: 'envelope.received' } & EnvelopeWord)
  | ({ type: 'envelope.settled' } & EnvelopeWord)
  | ({ type: 'envelope.returned' } & EnvelopeWord)
  /** An envelope makes no progress: this life is over. The error says which. */
  | { type: 'message.overdue'; error: unknown }

interface EnvelopeWord {
  tasks: number
  /** When the oldest envelope that is at hand now was received. */
  oldestAt?: number | undefined
}

export interface WorkerContext {
  /** Envelopes and tasks at hand now. */
  envelopes: number
  tasks: number
  /** Tasks settled and tasks given back in this life. */
  settled: number
  returned: number
  /** When the oldest envelope at hand was received, ms of the monotonic clock. */
  oldestAt: number | undefined
  /** Why it is aborted, when it is. */
  hung: unknown
}

/** Handing back what is at hand may take so long; then its supervisor goes on without it. */
const abortMs = 2000

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/`)))

export const workerMachine = setup({
  types: { context: {} as WorkerContext, events: {} as WorkerEvent },
  actors: { open: unbound('open'), close: unbound('close'), abort: unbound('abort') },
  delays: { abortMs },
  actions: {
    fail: ({ event }) => {
      if (event.type === 'service.failed') throw event.error
    },
    recordHang: assign(({ event }) =>
      event.type === 'message.overdue' ? { hung: event.error } : {},
    ),
    failHung: ({ context }) => {
      throw context.hung
    },
    countReceived: assign(({ context, event }) =>
      event.type === 'envelope.received'
        ? {
            envelopes: context.envelopes + 1,
            tasks: context.tasks + event.tasks,
            oldestAt: event.oldestAt,
          }
        : {},
    ),
    countSettled: assign(({ context, event }) =>
      event.type === 'envelope.settled'
        ? {
            envelopes: context.envelopes - 1,
            tasks: context.tasks - event.tasks,
            settled: context.settled + event.tasks,
            oldestAt: event.oldestAt,
          }
        : {},
    ),
    countReturned: assign(({ context, event }) =>
      event.type === 'envelope.returned'
        ? {
            envelopes: context.envelopes - 1,
            tasks: context.tasks - event.tasks,
            returned: context.returned + event.tasks,
            oldestAt: event.oldestAt,
          }
        : {},
    ),
  },
  guards: { isIdle: ({ context }) => context.envelopes === 0 },
}).createMachine({
  id: 'worker',
  context: {
    envelopes: 0,
    tasks: 0,
    settled: 0,
    returned: 0,
    oldestAt: undefined,
    hung: undefined,
  },
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
      on: {
        stop: 'stopping',
        'service.failed': { actions: 'fail' },
        'message.overdue': { target: 'aborting', actions: 'recordHang' },
      },
      initial: 'idle',
      states: {
        idle: { always: { guard: not('isIdle'), target: 'busy' } },
        busy: { always: { guard: 'isIdle', target: 'idle' } },
      },
    },
    // Everything at hand is taken away and handed back; then it fails, to be restarted and counted.
    aborting: {
      invoke: {
        src: 'abort',
        input: ownedBy,
        onDone: { actions: 'failHung' },
        onError: { actions: 'failHung' },
      },
      after: { abortMs: { actions: 'failHung' } },
      on: { stop: 'leaving' },
    },
    // Aborted and asked to stop: nobody wants to hear of the hang any more.
    leaving: {
      invoke: { src: 'abort', input: ownedBy, onDone: 'stopped', onError: 'stopped' },
      after: { abortMs: 'stopped' },
    },
    stopping: {
      invoke: { src: 'close', input: ownedBy, onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
