/**
 * Storm mode: whether results come in such a flood that less is to be let in until they are worked
 * off. It begins and ends at different marks, each of which has to hold for a while. What is not
 * known is no calm, and no flood either.
 */
import { assign, setup } from 'xstate'

export interface StormPolicy {
  /** It begins above so many a second, over half a window. */
  enterRate: number
  /** Or when so large a share of what may wait is waiting, for so long. */
  enterDepth: number
  enterHoldMs: number
  /** It ends below so many a second, over a whole window, */
  exitRate: number
  /** and with less than this share waiting, both for so long. */
  exitDepth: number
  exitHoldMs: number
}

/** The marks as they are for 256 places; the rates grow with the places there are. */
export function stormPolicyFor(places: number): StormPolicy {
  return {
    enterRate: (20 / 256) * places,
    enterDepth: 0.75,
    enterHoldMs: 10_000,
    exitRate: (5 / 256) * places,
    exitDepth: 0.25,
    exitHoldMs: 30_000,
  }
}

export interface StormContext {
  policy: StormPolicy
  /** Monotonic ms from which the mark has held that it changes at. */
  since: number | undefined
  storms: number
}

export type StormEvent =
  | { type: 'stop' }
  | {
      type: 'results.sampled'
      /** Monotonic ms. */
      at: number
      /** A second, over half a window and over a whole one. */
      halfRate: number
      rate: number
      /** Share of what may wait, 0…1. */
      depth: number
    }
  /** What would be sampled cannot be had now. */
  | { type: 'results.unknown' }

const hasHeld = (since: number | undefined, at: number, ms: number): boolean =>
  since !== undefined && at - since >= ms

export const stormMachine = setup({
  types: {
    context: {} as StormContext,
    input: {} as StormPolicy,
    events: {} as StormEvent,
  },
  guards: {
    rises: ({ context: { policy, since }, event }) =>
      event.type === 'results.sampled' &&
      (event.halfRate > policy.enterRate ||
        (event.depth > policy.enterDepth && hasHeld(since, event.at, policy.enterHoldMs))),
    isDeep: ({ context: { policy }, event }) =>
      event.type === 'results.sampled' && event.depth > policy.enterDepth,
    falls: ({ context: { policy, since }, event }) =>
      event.type === 'results.sampled' &&
      event.rate < policy.exitRate &&
      event.depth < policy.exitDepth &&
      hasHeld(since, event.at, policy.exitHoldMs),
    isCalm: ({ context: { policy }, event }) =>
      event.type === 'results.sampled' &&
      event.rate < policy.exitRate &&
      event.depth < policy.exitDepth,
  },
  actions: {
    hold: assign(({ context, event }) =>
      event.type === 'results.sampled' ? { since: context.since ?? event.at } : {},
    ),
    letGo: assign({ since: undefined }),
    countStorm: assign({ storms: ({ context }) => context.storms + 1 }),
    /** Whoever samples has to know it. */
    appear: () => {
      throw new Error('bind appear in actors/storm.ts')
    },
    /** Tells whoever acts on it. */
    change: (_, _params: { isStorm: boolean }) => {
      throw new Error('bind change in actors/storm.ts')
    },
  },
}).createMachine({
  id: 'storm',
  context: ({ input }) => ({ policy: input, since: undefined, storms: 0 }),
  initial: 'normal',
  entry: 'appear',
  on: { stop: '.stopped', 'results.unknown': { actions: 'letGo' } },
  states: {
    normal: {
      tags: ['ready'],
      on: {
        'results.sampled': [
          {
            guard: 'rises',
            target: 'storm',
            actions: ['letGo', 'countStorm', { type: 'change', params: { isStorm: true } }],
          },
          { guard: 'isDeep', actions: 'hold' },
          { actions: 'letGo' },
        ],
      },
    },
    storm: {
      tags: ['ready', 'storm'],
      on: {
        'results.sampled': [
          {
            guard: 'falls',
            target: 'normal',
            actions: ['letGo', { type: 'change', params: { isStorm: false } }],
          },
          { guard: 'isCalm', actions: 'hold' },
          { actions: 'letGo' },
        ],
      },
    },
    stopped: { type: 'final' },
  },
})
