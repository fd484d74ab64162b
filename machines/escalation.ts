/**
 * When too many of something become an alarm. An escalation opens as soon as its window holds the
 * threshold, may be acknowledged, and closes when the window has held less than half of that for a
 * while: one that hovers about the threshold stays open. Only a window that is known can close one.
 *
 * And the life of whoever counts: together with the other nodes, or alone while they cannot be
 * reached.
 */
import { fromPromise, setup } from 'xstate'
import { type Owned, ownedBy } from './service.ts'

export type EscalationState = 'open' | 'acknowledged' | 'closed'

export interface Escalation {
  metric: string
  state: EscalationState
  /** Epoch ms by the clock of the windows, like all times here. */
  openedAt: number
  /** Most that its window held. */
  peak: number
  /** Since when its window has held little. */
  calmSince?: number
  acknowledgedAt?: number
  /** What was said when it was acknowledged. */
  reason?: string
  closedAt?: number
  /** Grows by one with each change. */
  version: number
}

export interface EscalationPolicy {
  /** What its window must hold to open one. */
  threshold: number
  /** How long it must have held less than half of that to close it. */
  calmMs: number
}

/** A window as it is: `atLeast`, when what others have counted is not known. */
export interface WindowNow {
  at: number
  count: number
  isWhole: boolean
}

/** The escalation after a look at its window; undefined when nothing changes. */
export function escalate(
  metric: string,
  before: Escalation | undefined,
  window: WindowNow,
  { threshold, calmMs }: EscalationPolicy,
): Escalation | undefined {
  const { at, count } = window
  const version = (before?.version ?? 0) + 1
  if (before === undefined || before.state === 'closed') {
    if (count < threshold) return undefined
    return { metric, state: 'open', openedAt: at, peak: count, version }
  }
  const { calmSince, ...noisy } = before
  const isLow = count < threshold / 2
  // It may hold more than is known.
  if (isLow && !window.isWhole) return undefined
  if (!isLow) {
    if (count <= before.peak && calmSince === undefined) return undefined
    return { ...noisy, peak: Math.max(before.peak, count), version }
  }
  if (calmSince === undefined) return { ...before, calmSince: at, version }
  if (at - calmSince < calmMs) return undefined
  return { ...before, state: 'closed', closedAt: at, version }
}

/** Undefined when it is acknowledged already; one that is closed cannot be. */
export function acknowledge(
  before: Escalation,
  at: number,
  reason: string | undefined,
): Escalation | undefined {
  if (before.state !== 'open') return undefined
  return {
    ...before,
    state: 'acknowledged',
    acknowledgedAt: at,
    ...(reason === undefined ? {} : { reason }),
    version: before.version + 1,
  }
}

export type EscalationEvent =
  | { type: 'stop' }
  | { type: 'service.failed'; error: unknown }
  /** What was counted here is with that of the others, and the windows are known. */
  | { type: 'windows.known' }
  | { type: 'windows.unknown' }

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/escalation.ts`)))

export const escalationMachine = setup({
  types: { events: {} as EscalationEvent },
  actors: { open: unbound('open'), close: unbound('close') },
  actions: {
    fail: ({ event }) => {
      if (event.type === 'service.failed') throw event.error
    },
  },
}).createMachine({
  id: 'escalation',
  initial: 'starting',
  states: {
    starting: {
      invoke: { src: 'open', input: ownedBy, onDone: 'together' },
      on: { stop: 'stopping' },
    },
    together: {
      tags: ['ready'],
      on: {
        stop: 'stopping',
        'service.failed': { actions: 'fail' },
        'windows.unknown': 'alone',
      },
    },
    /** Counts on, for itself; what it counts is added to the windows when they can be reached. */
    alone: {
      tags: ['ready'],
      on: {
        stop: 'stopping',
        'service.failed': { actions: 'fail' },
        'windows.known': 'together',
      },
    },
    stopping: {
      invoke: { src: 'close', input: ownedBy, onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
