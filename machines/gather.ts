/**
 * Gathering: tasks are scattered to sources that are known beforehand, and their results come back
 * one by one under a correlation id. The rules: when a result counts, when a set is complete, when
 * no more is taken. The sets themselves are data of one actor, actors/gather.ts.
 */
import { assign, setup } from 'xstate'

export interface GatherPolicy {
  /** Sets open at a time. */
  setsMax: number
  /** Sources of one set. */
  sourcesMax: number
  /** Results that nobody has taken yet, of all sets together. */
  pendingMax: number
  /** Share of `pendingMax` from which on nothing is taken, and below which it is again. */
  onShare: number
  offShare: number
  /** How long a set that is over is remembered, so that a late result finds it, ms. */
  tombstoneMs: number
  /** Sets remembered like that at most; the oldest are forgotten first. */
  tombstonesMax: number
  /** Bytes of a correlation id. */
  idBytesMax: number
}

export const gatherPolicy: GatherPolicy = {
  setsMax: 10_000,
  sourcesMax: 10_000,
  pendingMax: 10_000,
  onShare: 0.8,
  offShare: 0.5,
  tombstoneMs: 300_000,
  tombstonesMax: 10_000,
  idBytesMax: 256,
}

/** One correlation: who is expected, and who has answered. */
export interface GatherSet {
  readonly id: string
  readonly expected: ReadonlySet<string>
  readonly received: Set<string>
  /** Ms of the monotonic clock. */
  readonly openedAt: number
  readonly dueAt: number
  duplicates: number
  unexpected: number
}

/** How a set ended. */
export interface GatherEnd {
  correlation: string
  status: 'complete' | 'partial'
  /** Sources from which a result was expected, and came. */
  expected: number
  received: number
  /** Sources from which none came in time. */
  missing: string[]
  /** Results that did not count: a second one of a source, and those of others. */
  duplicates: number
  unexpected: number
  durationMs: number
}

/**
 * What becomes of a result. `held`: not looked at, to be offered again when there is room; `late`:
 * its set is over; `unknown`: nobody ever opened that set, or it is long forgotten.
 */
export type Verdict = 'taken' | 'duplicate' | 'unexpected' | 'late' | 'unknown' | 'held'

/** Whether a result counts for a set, and notes it. One source counts once, whatever it sends. */
export function judge(set: GatherSet, source: string): 'taken' | 'duplicate' | 'unexpected' {
  if (!set.expected.has(source)) {
    set.unexpected += 1
    return 'unexpected'
  }
  if (set.received.has(source)) {
    set.duplicates += 1
    return 'duplicate'
  }
  set.received.add(source)
  return 'taken'
}

/** Only those who are expected are ever received, so counting them compares the sets. */
export function isComplete({ expected, received }: GatherSet): boolean {
  return received.size === expected.size
}

export function endOf(set: GatherSet, at: number): GatherEnd {
  const { id, expected, received, openedAt, duplicates, unexpected } = set
  const missing = [...expected].filter((source) => !received.has(source))
  return {
    correlation: id,
    status: missing.length === 0 ? 'complete' : 'partial',
    expected: expected.size,
    received: received.size,
    missing,
    duplicates,
    unexpected,
    durationMs: Math.max(0, at - openedAt),
  }
}

/** Whether nothing is taken for now: one threshold to begin, a lower one to end. */
export function isHeldBack(wasHeld: boolean, pending: number, policy: GatherPolicy): boolean {
  const share = wasHeld ? policy.offShare : policy.onShare
  return wasHeld ? pending > policy.pendingMax * share : pending >= policy.pendingMax * share
}

/** What is wrong with a set that somebody wants to open. */
export function flawOfSet(
  idBytes: number,
  sources: number,
  policy: GatherPolicy,
): string | undefined {
  if (idBytes < 1 || idBytes > policy.idBytesMax) {
    return `correlation: expected 1 to ${policy.idBytesMax} bytes, got ${idBytes}`
  }
  // Nobody expected would be complete before anything was sent.
  if (sources < 1 || sources > policy.sourcesMax) {
    return `sources: expected 1 to ${policy.sourcesMax}, got ${sources}`
  }
  return undefined
}

export type GatherEvent =
  | { type: 'stop' }
  /** The next set is due in so many ms; undefined: none is open. */
  | { type: 'gather.due'; inMs: number | undefined }
  /** So many results wait for somebody to take them, and whether that is too many. */
  | { type: 'gather.pressure'; isOn: boolean }

export interface GatherContext {
  /** Until the next set is due, ms. */
  dueMs: number
}

/** The life of the one actor that gathers: it is told of deadlines and pressure, not of results. */
export const gatherMachine = setup({
  types: { context: {} as GatherContext, events: {} as GatherEvent },
  actions: {
    noteDue: assign(({ event }) =>
      event.type === 'gather.due' && event.inMs !== undefined ? { dueMs: event.inMs } : {},
    ),
    /** Ends what is due, and tells when the next one is. */
    expire: () => {
      throw new Error('bind expire in actors/gather.ts')
    },
    /** Ends what is open: nobody will gather it any more. */
    endAll: () => {
      throw new Error('bind endAll in actors/gather.ts')
    },
  },
  guards: {
    isDue: ({ event }) => event.type === 'gather.due' && event.inMs !== undefined,
    isOn: ({ event }) => event.type === 'gather.pressure' && event.isOn,
    isOff: ({ event }) => event.type === 'gather.pressure' && !event.isOn,
  },
  delays: { untilDue: ({ context }) => context.dueMs },
}).createMachine({
  id: 'gather',
  context: { dueMs: 0 },
  initial: 'gathering',
  states: {
    gathering: {
      tags: ['ready'],
      type: 'parallel',
      on: { stop: 'stopped' },
      states: {
        sets: {
          initial: 'none',
          states: {
            none: { on: { 'gather.due': { guard: 'isDue', target: 'open', actions: 'noteDue' } } },
            open: {
              after: { untilDue: { actions: 'expire' } },
              on: {
                'gather.due': [
                  { guard: 'isDue', target: 'open', reenter: true, actions: 'noteDue' },
                  { target: 'none' },
                ],
              },
            },
          },
        },
        intake: {
          initial: 'accepting',
          states: {
            accepting: { on: { 'gather.pressure': { guard: 'isOn', target: 'holding' } } },
            holding: { on: { 'gather.pressure': { guard: 'isOff', target: 'accepting' } } },
          },
        },
      },
    },
    stopped: { type: 'final', entry: 'endAll' },
  },
})
