/**
 * A collector: takes results envelopes, and works them off in batches, one at a time: accounting,
 * store and audit log are told once a batch, not once an envelope. How is bound in
 * actors/collector.ts.
 */
import { assign, fromPromise, setup, stateIn } from 'xstate'
import { type Owned, ownedBy } from './service.ts'

export type CollectorEvent =
  | { type: 'stop' }
  | { type: 'service.failed'; error: unknown }
  | { type: 'results.received'; oldestAt?: number | undefined }
  | { type: 'batch.collected'; envelopes: number; oldestAt?: number | undefined }
  /** An envelope makes no progress: this life is over. The error says which. */
  | { type: 'message.overdue'; error: unknown }

export interface CollectorContext {
  /** Envelopes received and not yet worked off. */
  waiting: number
  batches: number
  /** When the oldest envelope at hand was received, ms of the monotonic clock. */
  oldestAt: number | undefined
  /** Why it is aborted, when it is. */
  hung: unknown
}

/** Handing back what is at hand may take so long; then its supervisor goes on without it. */
const abortMs = 2000

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/collector.ts`)))

export const collectorMachine = setup({
  types: { context: {} as CollectorContext, events: {} as CollectorEvent },
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
    /** Work off what is waiting, at most a batch, and answer with `batch.collected`. */
    collectBatch: () => {
      throw new Error('bind collectBatch in actors/collector.ts')
    },
    countReceived: assign(({ context, event }) =>
      event.type === 'results.received'
        ? { waiting: context.waiting + 1, oldestAt: event.oldestAt }
        : {},
    ),
    countBatch: assign(({ context, event }) =>
      event.type === 'batch.collected'
        ? {
            waiting: context.waiting - event.envelopes,
            batches: context.batches + 1,
            oldestAt: event.oldestAt,
          }
        : {},
    ),
  },
  guards: {
    moreWait: ({ context, event }) =>
      event.type === 'batch.collected' && context.waiting > event.envelopes,
    hasStopped: stateIn({ life: 'stopped' }),
  },
}).createMachine({
  id: 'collector',
  context: { waiting: 0, batches: 0, oldestAt: undefined, hung: undefined },
  type: 'parallel',
  states: {
    life: {
      initial: 'starting',
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
        },
        // Everything at hand is handed back; then it fails, to be restarted and counted.
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
        // Closing the mailbox waits for the acknowledgements of the batch at hand.
        stopping: { invoke: { src: 'close', input: ownedBy, onDone: 'stopped' } },
        stopped: { type: 'final' },
      },
    },
    batch: {
      initial: 'idle',
      states: {
        idle: {
          on: { 'results.received': { target: 'collecting', actions: 'countReceived' } },
          always: { guard: 'hasStopped', target: 'ended' },
        },
        collecting: {
          entry: 'collectBatch',
          on: {
            'results.received': { actions: 'countReceived' },
            'batch.collected': [
              { guard: 'moreWait', target: 'collecting', reenter: true, actions: 'countBatch' },
              { target: 'idle', actions: 'countBatch' },
            ],
          },
          always: { guard: 'hasStopped', target: 'ended' },
        },
        ended: { type: 'final' },
      },
    },
  },
})
