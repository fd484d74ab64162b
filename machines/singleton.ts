/**
 * Work that is done in one place of the whole system: whoever holds its lease starts it, the others
 * wait. A lost lease ends the start or the work by its signal, and nobody waits for it: what goes on
 * all the same can write nothing, its epoch is fenced. In every other case the work is over before
 * the lease is given back, so that the next leader finds nobody.
 *
 * One life contends with one lease actor. Work that fails, or does not start in time, gives the lease
 * back and then ends the actor in error: others may try at once, while the supervisor of this one
 * counts the failure and waits before it lets it contend anew.
 */
import { assign, fromPromise, sendTo, setup } from 'xstate'
import { type LeaseInput, type LostReason, leaseMachine } from './lease.ts'
import { type Owned, ownedBy } from './service.ts'

export type SingletonEvent =
  | { type: 'lease.held'; epoch: number }
  | { type: 'lease.lost'; epoch: number; reason: LostReason }
  | { type: 'work.failed'; epoch: number; error: unknown }
  /** It came to its end unasked. */
  | { type: 'work.ended'; epoch: number }
  | { type: 'stop' }

export interface SingletonInput {
  lease: LeaseInput
  /** How long the work may take to start. */
  startLimitMs: number
  /** How long it may take to stop in order. */
  stopLimitMs: number
}

export interface SingletonContext extends SingletonInput {
  /** Of the latest grant; 0 before the first. */
  epoch: number
  /** What it ends with, once the lease is given back. */
  failure: { error: unknown } | undefined
}

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/singleton.ts`)))

export const singletonMachine = setup({
  types: {
    context: {} as SingletonContext,
    events: {} as SingletonEvent,
    input: {} as SingletonInput,
    tags: {} as 'ready' | 'active',
  },
  actors: {
    lease: leaseMachine,
    start: unbound('start'),
    /** Ends once the work has stopped in order. */
    stopWork: unbound('stopWork'),
  },
  guards: {
    isOfThisTerm: ({ context, event }) => 'epoch' in event && event.epoch === context.epoch,
    hasFailed: ({ context }) => context.failure !== undefined,
  },
  actions: {
    /** Said first in a life, before anything is started. */
    introduce: () => undefined,
    announceActive: () => undefined,
    /** Ends the work by its signal, without waiting. */
    abandonWork: () => undefined,
    reportLeftBehind: () => undefined,
    begin: assign(({ context, event }) => ({
      epoch: event.type === 'lease.held' ? event.epoch : context.epoch,
    })),
    noteFailure: assign((_, error: unknown) => ({ failure: { error } })),
    giveBack: sendTo('lease', { type: 'stop' }),
    /** Ends the actor in error: its supervisor decides what follows. */
    fail: ({ context }) => {
      if (context.failure !== undefined) throw context.failure.error
    },
  },
  delays: {
    startLimit: ({ context }) => context.startLimitMs,
    stopLimit: ({ context }) => context.stopLimitMs,
  },
}).createMachine({
  id: 'singleton',
  context: ({ input }) => ({ ...input, epoch: 0, failure: undefined }),
  entry: 'introduce',
  invoke: {
    id: 'lease',
    src: 'lease',
    input: ({ context }) => context.lease,
    onDone: [{ guard: 'hasFailed', target: '.failed' }, { target: '.stopped' }],
  },
  initial: 'joining',
  states: {
    joining: {
      on: { stop: 'releasing' },
    },
    passive: {},
    starting: {},
    active: {},
    stopping: {},
    releasing: {},
    stopped: { type: 'final' },
    failed: { type: 'final', entry: 'fail' },
  },
})
