/**
 * How well a runtime is: score, status, failure modes and findings, by fixed weights and thresholds
 * from what was measured of it. Fast answers say little: whatever holds up an event loop holds up
 * the clock that would time the answers as well.
 */

/** What is measured. Lengths of time are in seconds. */
export interface Vitals {
  /** 99th percentile of the time that requests took. */
  p99LatencySeconds: number
  /** The largest delay of the event loop. */
  eventLoopLagSeconds: number
  /** How often the event loop stood still. */
  blockingEvents: number
  /** How long it then stood, on average. */
  blockingSeconds: number
  /** Most requests at a time. */
  activeRequests: number
  /** How long tasks waited for a worker, on average. */
  queueWaitSeconds: number
  tasksStarted: number
  tasksCompleted: number
}

export type Vital = keyof Vitals

/** As the sensors give it; what is undefined or no finite number was not measured. */
export type Measured = { readonly [Name in Vital]?: number | undefined }

export interface HealthThresholds {
  /** A score of so much or more. */
  collapseScore: number
  criticalScore: number
  degradedScore: number
  /** More than so much, as everything that follows. */
  eventLoopLagSeconds: number
  blockingSeconds: number
  queueWaitSeconds: number
  backlog: number
  /** Requests at a time that are a failure mode. */
  activeRequests: number
  /** Requests at a time that are worth a finding. */
  activeRequestsWarning: number
  /** A lag that is hidden when the latency at the same time is below the next. */
  hiddenLagSeconds: number
  hidingLatencySeconds: number
}

export const defaultThresholds: HealthThresholds = {
  collapseScore: 2500,
  criticalScore: 1200,
  degradedScore: 400,
  eventLoopLagSeconds: 0.5,
  blockingSeconds: 1,
  queueWaitSeconds: 1,
  backlog: 3,
  activeRequests: 150,
  activeRequestsWarning: 100,
  hiddenLagSeconds: 1,
  hidingLatencySeconds: 0.15,
}

export const healthStatuses = ['HEALTHY', 'DEGRADED', 'CRITICAL', 'COLLAPSE_RISK'] as const
export type HealthStatus = (typeof healthStatuses)[number]

export interface FailureMode {
  type: string
  severity: 'HIGH' | 'MEDIUM'
  description: string
}

export interface Health {
  status: HealthStatus
  /** 0 is best; there is no worst. */
  score: number
  /** Tasks that were started and are not completed. */
  backlog: number
  /** What it was judged by: what was not measured is 0. */
  vitals: Vitals
  failureModes: FailureMode[]
  findings: string[]
  /**
   * What was not measured (of the score: what has no number). Whoever acts on a status must look
   * here too, for what nobody sees is judged as well.
   */
  blind: (Vital | 'score')[]
}

const names = [
  'p99LatencySeconds',
  'eventLoopLagSeconds',
  'blockingEvents',
  'blockingSeconds',
  'activeRequests',
  'queueWaitSeconds',
  'tasksStarted',
  'tasksCompleted',
] as const satisfies readonly Vital[]

export function assessHealth(
  measured: Measured,
  thresholds: HealthThresholds = defaultThresholds,
): Health {
  const vitals = Object.fromEntries(names.map((name) => [name, finite(measured[name])])) as {
    [Name in Vital]: number
  }
  const backlog = finite(Math.max(0, vitals.tasksStarted - vitals.tasksCompleted))
  const sum = sumOf(vitals, backlog)
  const score = finite(sum)
  return {
    status: statusOf(score, thresholds),
    score,
    backlog,
    vitals,
    failureModes: failureModesOf(vitals, backlog, thresholds),
    findings: findingsOf(vitals, backlog, thresholds),
    blind: [
      ...names.filter((name) => !Number.isFinite(measured[name])),
      ...(Number.isFinite(sum) ? [] : ['score' as const]),
    ],
  }
}

function finite(value: number | undefined): number {
  return value !== undefined && Number.isFinite(value) ? value : 0
}

/** The order of the terms is part of the formula: sums of fractions depend on it. */
function sumOf(vitals: Vitals, backlog: number): number {
  return (
    vitals.eventLoopLagSeconds * 1000 * 1.5 +
    vitals.blockingSeconds * 400 +
    vitals.queueWaitSeconds * 300 +
    backlog * 8 +
    vitals.activeRequests * 1
  )
}

function statusOf(score: number, thresholds: HealthThresholds): HealthStatus {
  if (score >= thresholds.collapseScore) return 'COLLAPSE_RISK'
  if (score >= thresholds.criticalScore) return 'CRITICAL'
  return score >= thresholds.degradedScore ? 'DEGRADED' : 'HEALTHY'
}

function failureModesOf(
  vitals: Vitals,
  backlog: number,
  thresholds: HealthThresholds,
): FailureMode[] {
  const { eventLoopLagSeconds, blockingSeconds, queueWaitSeconds, activeRequests } = vitals
  const modes: FailureMode[] = []
  if (
    eventLoopLagSeconds > thresholds.eventLoopLagSeconds &&
    blockingSeconds > thresholds.blockingSeconds
  ) {
    modes.push({
      type: 'EVENT_LOOP_STARVATION',
      severity: 'HIGH',
      description: 'Synchronous blocking is stalling the event loop scheduler.',
    })
  }
  if (queueWaitSeconds > thresholds.queueWaitSeconds && backlog > thresholds.backlog) {
    modes.push({
      type: 'THREADPOOL_SATURATION',
      severity: 'HIGH',
      description: 'Executor queue amplification detected.',
    })
  }
  if (activeRequests > thresholds.activeRequests) {
    modes.push({
      type: 'LOAD_SATURATION',
      severity: 'MEDIUM',
      description: 'Concurrent request pressure is approaching runtime limits.',
    })
  }
  return modes
}

/** Each on its own account, whatever the failure modes are. */
function findingsOf(vitals: Vitals, backlog: number, thresholds: HealthThresholds): string[] {
  const { eventLoopLagSeconds: lag, p99LatencySeconds: p99 } = vitals
  const isHidden = lag > thresholds.hiddenLagSeconds && p99 < thresholds.hidingLatencySeconds
  const all: [isSo: boolean, finding: string][] = [
    [lag > thresholds.eventLoopLagSeconds, 'Event-loop starvation detected.'],
    [
      vitals.blockingSeconds > thresholds.blockingSeconds,
      'Long-duration synchronous blocking observed.',
    ],
    [isHidden, 'Customer-visible latency hides runtime instability.'],
    [
      vitals.activeRequests > thresholds.activeRequestsWarning,
      'Concurrent load saturation detected.',
    ],
    [backlog > thresholds.backlog, 'Threadpool backlog accumulation detected.'],
    [
      vitals.queueWaitSeconds > thresholds.queueWaitSeconds,
      'Executor queue amplification detected.',
    ],
  ]
  return all.filter(([isSo]) => isSo).map(([, finding]) => finding)
}
