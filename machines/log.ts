/**
 * The life of whoever writes the log. Lines come to him without events; he is told that some wait,
 * and that there are enough of them. What cannot be written is tried again and never given up, for
 * among it are warnings.
 */
import { assign, fromPromise, setup } from 'xstate'
import { type BackoffPolicy, backoffMs } from './backoff.ts'
import { type Owned, ownedBy } from './service.ts'

/** As in the ports. */
type Level = 'debug' | 'info' | 'warn' | 'error'

/** Fuller than this, debug and info are sampled. */
const pressureFrom = 0.8
/** Share of them that is kept then. */
const sampleRate = 0.1

/**
 * The share of such lines that is kept, 1 being all of them. Warnings are never dropped, not even
 * by a queue that is full.
 * @param fullness of the queue, 0…1 and beyond
 */
export function keptShare(level: Level, fullness: number): number {
  if (fullness <= pressureFrom || isKeptAlways(level)) return 1
  return fullness < 1 ? sampleRate : 0
}

export function isPressed(fullness: number): boolean {
  return fullness > pressureFrom
}

export function isKeptAlways(level: Level): boolean {
  return level === 'warn' || level === 'error'
}

export type LogEvent =
  | { type: 'stop' }
  /** The first line after none. */
  | { type: 'log.waiting' }
  /** As much as is written without waiting longer. */
  | { type: 'log.enough' }

export interface LogInput {
  /** How long a line waits for others. */
  flushMs: number
  /** Between two tries to write. */
  backoff: BackoffPolicy
}

export interface LogContext extends LogInput {
  /** After so long what waits is to be written; undefined: nothing waits. */
  dueMs: number | undefined
  /** Tries in a row that did not succeed. */
  failures: number
}

/** What is left when something was written: when that is due. */
export interface Left {
  dueMs: number | undefined
}

const unbound = <Output>(name: string) =>
  fromPromise<Output, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/log.ts`)))

const sooner = (one: number | undefined, other: number | undefined): number | undefined =>
  one === undefined || other === undefined ? (one ?? other) : Math.min(one, other)

export const logMachine = setup({
  types: {
    context: {} as LogContext,
    input: {} as LogInput,
    events: {} as LogEvent,
  },
  actors: {
    open: unbound<void>('open'),
    write: unbound<Left>('write'),
    drain: unbound<void>('drain'),
  },
  actions: {
    beginAnew: assign({ dueMs: undefined }),
    dueInTime: assign({ dueMs: ({ context }) => sooner(context.dueMs, context.flushMs) }),
    dueNow: assign({ dueMs: 0 }),
    countFailure: assign({ failures: ({ context }) => context.failures + 1 }),
    forgetFailures: assign({ failures: 0 }),
  },
  guards: {
    isDue: ({ context }) => context.dueMs === 0,
    isWaiting: ({ context }) => context.dueMs !== undefined,
  },
  delays: {
    due: ({ context }) => context.dueMs ?? 0,
    rest: ({ context: { backoff, failures } }) => backoffMs(backoff, failures, 0.5),
  },
}).createMachine({
  id: 'log',
  context: ({ input }) => ({ ...input, dueMs: undefined, failures: 0 }),
  initial: 'opening',
  states: {
    opening: {
      invoke: { src: 'open', input: ownedBy, onDone: 'writing' },
      on: { stop: 'draining' },
    },
    idle: {
      tags: ['ready'],
      on: {
        'log.waiting': { target: 'gathering', actions: 'dueInTime' },
        'log.enough': 'writing',
        stop: 'draining',
      },
    },
    gathering: {
      tags: ['ready'],
      after: { due: 'writing' },
      on: { 'log.enough': 'writing', stop: 'draining' },
    },
    writing: {
      tags: ['ready'],
      entry: 'beginAnew',
      invoke: {
        src: 'write',
        input: ownedBy,
        onDone: {
          target: 'written',
          actions: [
            'forgetFailures',
            // What came meanwhile has told so itself, and may not be among what was left.
            assign({ dueMs: ({ context, event }) => sooner(context.dueMs, event.output.dueMs) }),
          ],
        },
        onError: 'resting',
      },
      on: {
        'log.waiting': { actions: 'dueInTime' },
        'log.enough': { actions: 'dueNow' },
        stop: 'draining',
      },
    },
    written: {
      tags: ['ready'],
      always: [
        { guard: 'isDue', target: 'writing' },
        { guard: 'isWaiting', target: 'gathering' },
        { target: 'idle' },
      ],
    },
    /** What could not be written stays at hand. */
    resting: {
      tags: ['ready'],
      entry: 'countFailure',
      after: { rest: 'writing' },
      on: { stop: 'draining' },
    },
    draining: {
      invoke: { src: 'drain', input: ownedBy, onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
