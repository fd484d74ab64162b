/**
 * What is made of probes of an endpoint: whether it may be used, how quick and how reliable it is,
 * and how soon it is asked again. One that wavers is asked more often, one that is steady less; it
 * takes longer to become calm than to be alarmed, so that it does not swing between the two.
 */

export interface ProbePolicy {
  /** Between two probes of an endpoint that is neither wavering nor steady, ms. */
  intervalMs: number
  /** Failures in a row that make it offline. */
  failuresMax: number
  /** How long it is not used after that, unless it recovers, ms. */
  cooldownMs: number
}

/** How often it is asked. */
export type ProbePace = 'alert' | 'normal' | 'calm'

export type EndpointState = 'unknown' | 'online' | 'failing' | 'offline'

/** What is known of an endpoint; times are epoch ms. */
export interface EndpointRecord {
  state: EndpointState
  pace: ProbePace
  /** In a row, up to now. */
  failures: number
  successes: number
  /** Moving averages: of what succeeded, and of whether it did. */
  latencyMs: number
  successRate: number
  /** Not to be used before, unless it recovers. */
  cooldownUntil?: number
  probedAt?: number
  /** When its state was last another one. */
  changedAt?: number
  lastError?: string
}

/** What one probe came to. */
export interface ProbeResult {
  isOk: boolean
  durationMs: number
  error?: string
}

export const unknownEndpoint: EndpointRecord = {
  state: 'unknown',
  pace: 'normal',
  failures: 0,
  successes: 0,
  latencyMs: 750,
  successRate: 0.85,
}

/** Of the newest sample in a moving average. */
const newestShare = 0.2
/** Successes in a row after which one that wavered is asked as usual, and then less often. */
const settledAfter = 3
const calmAfter = 10
const paceFactor: Record<ProbePace, number> = { alert: 1 / 3, normal: 1, calm: 2 }

/** What is known after one more probe. */
export function probed(
  before: EndpointRecord,
  result: ProbeResult,
  at: number,
  policy: ProbePolicy,
): EndpointRecord {
  const { isOk, durationMs, error } = result
  const successes = isOk ? before.successes + 1 : 0
  const failures = isOk ? 0 : before.failures + 1
  const state = isOk ? 'online' : failures >= policy.failuresMax ? 'offline' : 'failing'
  const cooldownUntil = cooldownOf(before, state, at, policy)
  const changedAt = state === before.state ? before.changedAt : at
  return {
    state,
    pace: paceOf(before.pace, state, successes),
    failures,
    successes,
    // Of a failure nobody knows how long it would have taken.
    latencyMs: isOk ? average(before.latencyMs, durationMs) : before.latencyMs,
    successRate: average(before.successRate, isOk ? 1 : 0),
    probedAt: at,
    ...(changedAt === undefined ? {} : { changedAt }),
    ...(cooldownUntil === undefined ? {} : { cooldownUntil }),
    ...(isOk || error === undefined ? {} : { lastError: error }),
  }
}

/** A recovery ends it; one that is over begins anew while nothing has recovered. */
function cooldownOf(
  { cooldownUntil }: EndpointRecord,
  state: EndpointState,
  at: number,
  { cooldownMs }: ProbePolicy,
): number | undefined {
  if (state === 'online') return undefined
  if (state !== 'offline') return cooldownUntil
  return cooldownUntil === undefined || cooldownUntil <= at ? at + cooldownMs : cooldownUntil
}

function paceOf(before: ProbePace, state: EndpointState, successes: number): ProbePace {
  if (state === 'failing') return 'alert'
  // What is down for good is not worth the haste.
  if (state === 'offline') return 'normal'
  if (before === 'alert') return successes >= settledAfter ? 'normal' : 'alert'
  return successes >= calmAfter ? 'calm' : before
}

function average(before: number, sample: number): number {
  return before + newestShare * (sample - before)
}

/** Until it is asked again, ms. */
export function probeIntervalMs({ pace }: EndpointRecord, { intervalMs }: ProbePolicy): number {
  return intervalMs * paceFactor[pace]
}

/** Whether it may be used. */
export function isUsable({ state, cooldownUntil }: EndpointRecord, at: number): boolean {
  return state !== 'offline' && !(cooldownUntil !== undefined && cooldownUntil > at)
}
