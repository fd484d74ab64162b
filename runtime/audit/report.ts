/** The report of an audit, as it is written and printed: contract section 9. */
import { z } from 'zod'
import { type Health, healthStatuses, type Vital } from '../../machines/health.ts'

/** The queries of an audit by their keys in metrics.yaml, and what each measures. */
export const vitalOfQuery = {
  p99_latency: 'p99LatencySeconds',
  event_loop_lag: 'eventLoopLagSeconds',
  blocking_events_total: 'blockingEvents',
  blocking_duration_avg: 'blockingSeconds',
  peak_active_requests: 'activeRequests',
  threadpool_queue_wait: 'queueWaitSeconds',
  threadpool_tasks_started: 'tasksStarted',
  threadpool_tasks_completed: 'tasksCompleted',
} as const satisfies Record<string, Vital>

export type QueryKey = keyof typeof vitalOfQuery
export const queryKeys = Object.keys(vitalOfQuery) as QueryKey[]

const missingSchema = z.object({
  query: z.string(),
  reason: z.enum(['key absent', 'query failed', 'empty', 'not a number']),
  /** What came instead. */
  detail: z.string().optional(),
})

/** What an audit was not told, and so counted as 0.0. */
export type Missing = z.infer<typeof missingSchema>

/** What a report must be to be believed; others' fields are passed over. */
export const reportSchema = z.object({
  status: z.enum(healthStatuses),
  runtime_health_score: z.number(),
  p99_latency_ms: z.number(),
  max_event_loop_lag_ms: z.number(),
  blocking_events: z.number(),
  avg_blocking_duration_s: z.number(),
  peak_active_requests: z.number(),
  threadpool_queue_wait_s: z.number(),
  threadpool_backlog: z.number(),
  failure_modes: z.array(
    z.object({
      type: z.string(),
      severity: z.enum(['HIGH', 'MEDIUM']),
      description: z.string(),
    }),
  ),
  findings: z.array(z.string()),
  missing: z.array(missingSchema),
})

export type AuditReport = z.infer<typeof reportSchema>

/** @param missing what the telemetry lacked; more is added when the score is no number */
export function reportOf(health: Health, missing: readonly Missing[]): AuditReport {
  const { vitals, score, status, backlog, failureModes, findings, blind } = health
  const overflow: Missing = { query: 'runtime_health_score', reason: 'not a number' }
  return {
    status,
    runtime_health_score: rounded(score, 2),
    p99_latency_ms: rounded(vitals.p99LatencySeconds * 1000, 2),
    max_event_loop_lag_ms: rounded(vitals.eventLoopLagSeconds * 1000, 2),
    blocking_events: Math.trunc(vitals.blockingEvents),
    avg_blocking_duration_s: rounded(vitals.blockingSeconds, 2),
    peak_active_requests: Math.trunc(vitals.activeRequests),
    threadpool_queue_wait_s: rounded(vitals.queueWaitSeconds, 2),
    threadpool_backlog: Math.trunc(backlog),
    failure_modes: failureModes,
    findings,
    missing: [...missing, ...(blind.includes('score') ? [overflow] : [])],
  }
}

/** What the sensors of a node did not see. */
export function missingOf({ blind }: Health): Missing[] {
  return queryKeys
    .filter((query) => blind.includes(vitalOfQuery[query]))
    .map((query) => ({ query, reason: 'empty' }))
}

/** Whether `--fail-on-critical` fails on it. */
export function isCritical({ status }: AuditReport): boolean {
  return status === 'CRITICAL' || status === 'COLLAPSE_RISK'
}

/** To the nearest, and of two that are as near to the even one: as reports always were. */
export function rounded(value: number, digits: 0 | 2): number {
  if (!Number.isFinite(value)) return 0
  // In binary only multiples of a half, or of an eighth, lie exactly between two roundings.
  const isBetween = Math.abs((value * 2 ** (digits + 1)) % 2) === 1
  if (!isBetween) return Number(value.toFixed(digits))
  const scaled = value * 10 ** digits
  const lower = Math.floor(scaled)
  return (lower % 2 === 0 ? lower : lower + 1) / 10 ** digits
}

export interface Printed {
  target: string
  /** Where the thresholds come from. */
  config: string
  /** How a status is drawn. */
  paint: (status: string) => string
}

/** The report for people. */
export function reportText(report: AuditReport, { target, config, paint }: Printed): string {
  const { status, runtime_health_score: score, findings, missing } = report
  const bar = '='.repeat(60)
  const lines = [
    bar,
    'ASYNC RUNTIME AUDITOR',
    bar,
    `Target: ${target}`,
    `Config: ${config}`,
    '',
    `Runtime Status: ${paint(status)}`,
    `Runtime Health Score: ${rounded(score, 0)}`,
    '',
    ...(findings.length === 0
      ? ['No major runtime issues detected.']
      : ['Findings:', ...findings.map((finding) => ` - ${finding}`)]),
    '',
  ]
  if (missing.length > 0) {
    lines.push('Missing telemetry, counted as 0.0:')
    lines.push(...missing.map((each) => ` - ${missingText(each)}`), '')
  }
  return `${lines.join('\n')}\n`
}

export function missingText({ query, reason, detail }: Missing): string {
  return `${query}: ${reason}${detail === undefined ? '' : ` (${detail})`}`
}
