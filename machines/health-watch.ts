/**
 * The life of what watches a node's health: it proves its sensors, then looks again and again. Too
 * much memory is a state of its own, with hysteresis: entered above the high-water mark, left below
 * the low one; while it lasts work is shed, and a collection is asked for now and then. How that is
 * done is bound in actors/health.ts.
 */
import { assign, fromPromise, setup } from 'xstate'
import { type Owned, ownedBy } from './service.ts'

export interface WaterMarks {
  /** Above so many bytes work is shed; 0: never. */
  highBytes: number
  /** Below so many it is let in again. */
  lowBytes: number
  /** Between two collections, ms. */
  collectApartMs: number
}

/** The low mark is a share of the high one. */
export function waterMarks(
  highBytes: number,
  lowShare: number,
  collectApartMs: number,
): WaterMarks {
  return { highBytes, lowBytes: Math.floor(highBytes * lowShare), collectApartMs }
}

export type HealthWatchEvent =
  | { type: 'stop' }
  /** @param at monotonic ms */
  | { type: 'health.looked'; bytes: number; at: number }

export interface HealthWatchContext {
  marks: WaterMarks
  /** Memory of the node when it last looked. */
  bytes: number
  /** Monotonic ms of the last collection it asked for. */
  collectedAt: number | undefined
}

/** What the sensors saw of what was done for them to see. */
export interface SelfTest {
  /** Epoch ms. */
  at: number
  /** For how long the event loop was blocked on purpose, and what the sensor saw of it, ms. */
  blockedMs: number
  sawMs: number | undefined
}

const healthWatchSetup = setup({
  types: {
    context: {} as HealthWatchContext,
    input: {} as { marks: WaterMarks },
    events: {} as HealthWatchEvent,
  },
  actors: {
    prove: fromPromise<SelfTest, Owned>(() =>
      Promise.reject(new Error('bind prove in actors/health.ts')),
    ),
    /** Looks until it is stopped, and tells its owner. */
    look: fromPromise<void, Owned>(() =>
      Promise.reject(new Error('bind look in actors/health.ts')),
    ),
  },
  actions: {
    keepProof: (_, _proof: SelfTest | undefined) => {
      throw new Error('bind keepProof in actors/health.ts')
    },
    shed: () => {
      throw new Error('bind shed in actors/health.ts')
    },
    letIn: () => {
      throw new Error('bind letIn in actors/health.ts')
    },
    collect: () => {
      throw new Error('bind collect in actors/health.ts')
    },
    note: assign(({ event }) => (event.type === 'health.looked' ? { bytes: event.bytes } : {})),
    noteCollected: assign(({ event }) =>
      event.type === 'health.looked' ? { collectedAt: event.at } : {},
    ),
  },
  guards: {
    isHigh: ({ context: { marks }, event }) =>
      event.type === 'health.looked' && marks.highBytes > 0 && event.bytes > marks.highBytes,
    isLow: ({ context: { marks }, event }) =>
      event.type === 'health.looked' && event.bytes < marks.lowBytes,
    isDue: ({ context: { marks, collectedAt }, event }) =>
      event.type === 'health.looked' &&
      (collectedAt === undefined || event.at - collectedAt >= marks.collectApartMs),
  },
})

export const healthWatchMachine = healthWatchSetup.createMachine({
  id: 'health',
  context: ({ input }) => ({ marks: input.marks, bytes: 0, collectedAt: undefined }),
  initial: 'proving',
  states: {
    // Nobody has to wait for it: until then the status is UNKNOWN.
    proving: {
      tags: ['ready'],
      invoke: {
        src: 'prove',
        input: ownedBy,
        onDone: {
          target: 'watching',
          actions: { type: 'keepProof', params: ({ event }) => event.output },
        },
        onError: { target: 'watching', actions: { type: 'keepProof', params: undefined } },
      },
      on: { stop: 'stopped' },
    },
    watching: {
      tags: ['ready'],
      invoke: { src: 'look', input: ownedBy },
      on: { stop: 'stopped' },
      initial: 'ample',
      states: {
        ample: {
          on: {
            // What is let in no more comes first, for a collection takes a while to show.
            'health.looked': [
              { guard: 'isHigh', target: 'short', actions: ['note', 'shed'] },
              { actions: 'note' },
            ],
          },
        },
        short: {
          exit: 'letIn',
          on: {
            'health.looked': [
              { guard: 'isLow', target: 'ample', actions: 'note' },
              { guard: 'isDue', actions: ['note', 'collect', 'noteCollected'] },
              { actions: 'note' },
            ],
          },
        },
      },
    },
    stopped: { type: 'final' },
  },
})
