/**
 * A circuit breaker: after a few failures in a row nobody tries any more, for a time that doubles
 * with each further failure; then one may, and what comes of that decides. Whoever uses it looks
 * for the tag `permits`, says `call.began`, and then how it went.
 */
import { assign, setup } from 'xstate'
import { type BackoffPolicy, backoffMs } from './backoff.ts'

export interface BreakerPolicy extends BackoffPolicy {
  /** Failures in a row that open it. */
  failuresMax: number
}

/** First wait 8 s, for it counts the three failures before it; then 16, 32 and 60 s; all ± 30 %. */
export const defaultBreaker: BreakerPolicy = {
  failuresMax: 3,
  baseMs: 1000,
  capMs: 60_000,
  jitter: 0.3,
}

export interface BreakerContext {
  policy: BreakerPolicy
  /** In a row. */
  failures: number
  /** How often it has opened: a call that began before is none of those that count now. */
  openings: number
  /** How long it stays open; drawn once, when it opens. */
  waitMs: number
}

export type BreakerEvent =
  | { type: 'stop' }
  | { type: 'call.began' }
  | { type: 'call.succeeded'; openings: number }
  /** @see breakerWaitMs for `random` */
  | { type: 'call.failed'; openings: number; random: number }

/**
 * Milliseconds to stay open after so many failures in a row: base × 2^failures, at most the cap,
 * spread by ±jitter.
 * @param random a number in 0…1
 */
export function breakerWaitMs(policy: BreakerPolicy, failures: number, random: number): number {
  return backoffMs(policy, failures + 1, random)
}

export const breakerMachine = setup({
  types: {
    context: {} as BreakerContext,
    input: {} as BreakerPolicy,
    events: {} as BreakerEvent,
  },
  actions: {
    /** Whoever calls has to know it. */
    appear: () => {
      throw new Error('bind appear in actors/breaker.ts')
    },
    reset: assign({ failures: 0 }),
    countFailure: assign({ failures: ({ context }) => context.failures + 1 }),
    drawWait: assign(({ context: { policy, failures, openings }, event }) => ({
      openings: openings + 1,
      waitMs:
        event.type === 'call.failed' ? breakerWaitMs(policy, failures, event.random) : policy.capMs,
    })),
  },
  guards: {
    isCurrent: ({ context, event }) => 'openings' in event && event.openings === context.openings,
    isLast: ({ context: { policy, failures, openings }, event }) =>
      'openings' in event && event.openings === openings && failures + 1 >= policy.failuresMax,
  },
  delays: { wait: ({ context }) => context.waitMs },
}).createMachine({
  id: 'breaker',
  context: ({ input }) => ({ policy: input, failures: 0, openings: 0, waitMs: 0 }),
  initial: 'closed',
  entry: 'appear',
  on: { stop: '.stopped' },
  states: {
    closed: {
      tags: ['ready', 'permits'],
      on: {
        'call.succeeded': { guard: 'isCurrent', actions: 'reset' },
        'call.failed': [
          { guard: 'isLast', target: 'open', actions: ['countFailure', 'drawWait'] },
          { guard: 'isCurrent', actions: 'countFailure' },
        ],
      },
    },
    open: {
      tags: ['ready'],
      after: { wait: 'halfOpen' },
    },
    halfOpen: {
      initial: 'free',
      states: {
        free: { tags: ['ready', 'permits'], on: { 'call.began': 'probing' } },
        probing: {
          tags: ['ready'],
          on: {
            'call.succeeded': {
              guard: 'isCurrent',
              target: '#breaker.closed',
              actions: 'reset',
            },
            'call.failed': {
              guard: 'isCurrent',
              target: '#breaker.open',
              actions: ['countFailure', 'drawWait'],
            },
          },
        },
      },
    },
    stopped: { type: 'final' },
  },
})
