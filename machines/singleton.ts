/**
 * Work that is done in one place of the whole system: whoever holds its lease starts it, the others
 * wait. A lost lease ends the start or the work by its signal, and nobody waits for it: what goes
 * on all the same can write nothing, its epoch is fenced. In every other case the work is over
 * before the lease is given back, so that the next leader finds nobody.
 *
 * One life contends with one lease actor. Work that fails, or does not start in time, gives the
 * lease back and then ends the actor in error: others may try at once, while the supervisor of this
 * one counts the failure and waits before it lets it contend anew.
 */
import { type AnyMachineSnapshot, assign, fromPromise, not, sendTo, setup, stateIn } from 'xstate'
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

interface SingletonLife extends SingletonInput {
  /** Of the latest grant; 0 before the first. */
  epoch: number
  /** What it ends with, once the lease is given back. */
  failure: { error: unknown } | undefined
}

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/singleton.ts`)))

export const singletonMachine = setup({
  types: {
    context: {} as SingletonLife,
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
    isJoining: stateIn('joining'),
    isContending: (_, contender: AnyMachineSnapshot) => contender.hasTag('ready'),
    hasFailed: ({ context }) => context.failure !== undefined,
  },
  actions: {
    /** Runs first in a life, before anything is started. */
    introduce: () => undefined,
    /** From here on what becomes of the work is told. */
    announceActive: () => undefined,
    /** Ends the work by its signal, without waiting. */
    abandonWork: () => undefined,
    reportLeftBehind: () => undefined,
    begin: assign(({ context, event }) => ({
      epoch: event.type === 'lease.held' ? event.epoch : context.epoch,
    })),
    noteFailure: assign((_, failure: { error: unknown }) => ({ failure })),
    noteLate: assign(({ context }) => ({
      failure: { error: new Error(`did not start within ${context.startLimitMs} ms`) },
    })),
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
    onSnapshot: [
      { guard: not('isJoining') },
      {
        guard: { type: 'isContending', params: ({ event }) => event.snapshot },
        target: '.passive',
      },
    ],
    onDone: [{ guard: 'hasFailed', target: '.failed' }, { target: '.stopped' }],
  },
  initial: 'joining',
  states: {
    joining: {
      on: { stop: 'releasing' },
    },
    passive: {
      tags: ['ready'],
      on: {
        'lease.held': { target: 'starting', actions: 'begin' },
        stop: 'releasing',
      },
    },
    starting: {
      tags: ['ready'],
      invoke: {
        src: 'start',
        input: ownedBy,
        onDone: 'active',
        onError: {
          target: 'releasing',
          actions: [
            { type: 'noteFailure', params: ({ event: { error } }) => ({ error }) },
            'abandonWork',
          ],
        },
      },
      after: { startLimit: { target: 'releasing', actions: ['noteLate', 'abandonWork'] } },
      on: {
        'lease.lost': { target: 'passive', actions: 'abandonWork' },
        stop: 'stopping',
      },
    },
    active: {
      tags: ['ready', 'active'],
      entry: 'announceActive',
      on: {
        'lease.lost': { target: 'passive', actions: 'abandonWork' },
        'work.failed': {
          guard: 'isOfThisTerm',
          target: 'stopping',
          actions: { type: 'noteFailure', params: ({ event: { error } }) => ({ error }) },
        },
        'work.ended': { guard: 'isOfThisTerm', target: 'stopping' },
        stop: 'stopping',
      },
    },
    // It still leads: what the work has to write before it ends, it can write.
    stopping: {
      invoke: { src: 'stopWork', input: ownedBy, onDone: 'releasing' },
      after: { stopLimit: { target: 'releasing', actions: ['reportLeftBehind', 'abandonWork'] } },
      on: { 'lease.lost': { target: 'releasing', actions: 'abandonWork' } },
    },
    releasing: {
      entry: 'giveBack',
    },
    stopped: { type: 'final' },
    failed: { type: 'final', entry: 'fail' },
  },
})
