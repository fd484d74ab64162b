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
  | { type: 'results.received' }
  | { type: 'batch.collected'; envelopes: number }

export interface CollectorContext {
  /** Envelopes received and not yet worked off. */
  waiting: number
  batches: number
}

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/collector.ts`)))

export const collectorMachine = setup({
  types: { context: {} as CollectorContext, events: {} as CollectorEvent },
  actors: { open: unbound('open'), close: unbound('close') },
  actions: {
    fail: ({ event }) => {
      if (event.type === 'service.failed') throw event.error
    },
    /** Work off what is waiting, at most a batch, and answer with `batch.collected`. */
    collectBatch: () => {
      throw new Error('bind collectBatch in actors/collector.ts')
    },
    countReceived: assign({ waiting: ({ context }) => context.waiting + 1 }),
    countBatch: assign(({ context, event }) =>
      event.type === 'batch.collected'
        ? { waiting: context.waiting - event.envelopes, batches: context.batches + 1 }
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
  context: { waiting: 0, batches: 0 },
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
          on: { stop: 'stopping', 'service.failed': { actions: 'fail' } },
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
