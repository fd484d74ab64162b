/**
 * How well a node is, between 0 and 1, as the state of the system goes by it: the score of the
 * audit, told so that more is better. And what the sensors of a node make of it together.
 */
import {
  assessHealth,
  type FailureMode,
  type HealthStatus,
  type HealthThresholds,
  healthStatuses,
  type Measured,
  type Vital,
} from './health.ts'

/** As a node tells it of itself: what it cannot see it does not call healthy. */
export const liveStatuses = [...healthStatuses, 'UNKNOWN'] as const
export type LiveStatus = HealthStatus | 'UNKNOWN'

export type ScoreThresholds = Pick<
  HealthThresholds,
  'degradedScore' | 'criticalScore' | 'collapseScore'
>

/**
 * 1 without any load; 0.7, 0.4 and 0.1 where the scores of DEGRADED, CRITICAL and COLLAPSE_RISK
 * begin, straight lines between them, and beyond ever closer to 0. It falls whenever the score
 * rises. So a node reflects (below 0.7) when its status is DEGRADED or worse, and is well again
 * (from 0.8 on) at two thirds of that score: in between nothing changes.
 */
export function healthLevel(score: number, thresholds: ScoreThresholds): number {
  const { degradedScore, criticalScore, collapseScore } = thresholds
  const points = [
    [0, 1],
    [degradedScore, 0.7],
    [criticalScore, 0.4],
    [collapseScore, 0.1],
  ] as const
  for (const [index, [upper, end]] of points.entries()) {
    const [lower, begin] = points[index - 1] ?? [0, 1]
    if (score <= upper) return upper === lower ? end : along(score, lower, upper, begin, end)
  }
  return (0.1 * collapseScore) / score
}

function along(score: number, lower: number, upper: number, begin: number, end: number): number {
  return begin + ((end - begin) * Math.max(0, score - lower)) / (upper - lower)
}

export const sensorNames = [
  'loopDelay',
  'blocking',
  'loopUtilization',
  'queueWait',
  'backlog',
  'activeWork',
  'requests',
  'memory',
  'redisLatency',
  'logQueue',
] as const
export type SensorName = (typeof sensorNames)[number]

export interface Sensor {
  name: SensorName
  /** `proved`: it saw what was done for it to see. `off`: there is nothing to see here, or this
   * runtime only pretends to see it. */
  state: 'proved' | 'measuring' | 'blind' | 'off'
  /** What it sees now, where that is a number. */
  value?: number
  unit?: 'ms' | 'bytes' | 'count' | 'share'
  /** What is above it is too much. */
  limit?: number
  /** Why it sees nothing, or what more there is to say. */
  note?: string
}

/** What a node is to be called healthy by: without one of these nobody can tell. */
const needed: readonly Vital[] = ['eventLoopLagSeconds', 'blockingSeconds', 'queueWaitSeconds']

export interface HealthSeen {
  measured: Measured
  sensors: readonly Sensor[]
}

export interface HealthReport {
  status: LiveStatus
  /** 0 is best; there is no worst. */
  score: number
  /** 0 to 1, 1 is best; not there while the status is UNKNOWN. */
  level?: number
  coverage: { seeing: number; of: number }
  /** What makes the score, the heaviest first, each as a phrase. */
  because: string[]
  failureModes: FailureMode[]
  findings: string[]
  sensors: readonly Sensor[]
}

export function reportHealth(seen: HealthSeen, thresholds: HealthThresholds): HealthReport {
  const { measured, sensors } = seen
  const health = assessHealth(measured, thresholds)
  const { status, score, vitals, backlog, failureModes, findings, blind } = health
  const unseen = [...needed, 'score' as const].filter((name) => blind.includes(name))
  // What is seen is bad enough, whatever the rest would say.
  const isUnknown = status === 'HEALTHY' && unseen.length > 0
  const seeing = sensors.filter(({ state }) => state === 'proved' || state === 'measuring')
  const weights: [points: number, phrase: string][] = [
    [
      vitals.eventLoopLagSeconds * 1500,
      `event loop late by ${seconds(vitals.eventLoopLagSeconds)}`,
    ],
    [vitals.blockingSeconds * 400, `blocked for ${seconds(vitals.blockingSeconds)} at a time`],
    [vitals.queueWaitSeconds * 300, `idle workers ${seconds(vitals.queueWaitSeconds)} late`],
    [backlog * 8, `${backlog} envelopes more than its workers take`],
    [vitals.activeRequests, `${vitals.activeRequests} requests at a time`],
  ]
  return {
    status: isUnknown ? 'UNKNOWN' : status,
    score,
    ...(isUnknown ? {} : { level: healthLevel(score, thresholds) }),
    coverage: { seeing: seeing.length, of: sensors.length },
    because: weights
      .filter(([points]) => points >= thresholds.degradedScore / 10)
      .toSorted(([one], [other]) => other - one)
      .map(([, phrase]) => phrase),
    failureModes,
    findings,
    sensors,
  }
}

function seconds(value: number): string {
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${Math.round(value * 10) / 10} s`
}
