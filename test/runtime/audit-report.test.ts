import { describe, expect, test } from 'bun:test'
import { assessHealth } from '../../machines/health.ts'
import { isCritical, missingOf, reportOf, reportText, rounded } from '../../runtime/audit/report.ts'

const health = assessHealth({
  p99LatencySeconds: 0.0123456,
  eventLoopLagSeconds: 1.234567,
  blockingEvents: 7.9,
  blockingSeconds: 1.125,
  activeRequests: 120.5,
  queueWaitSeconds: 0.125,
  tasksStarted: 10,
  tasksCompleted: 4,
})

test('a report has every field under its name, rounded as reports always were', () => {
  expect(reportOf(health, [])).toEqual({
    status: 'COLLAPSE_RISK',
    runtime_health_score: 2507.85,
    p99_latency_ms: 12.35,
    max_event_loop_lag_ms: 1234.57,
    blocking_events: 7,
    avg_blocking_duration_s: 1.12,
    peak_active_requests: 120,
    threadpool_queue_wait_s: 0.12,
    threadpool_backlog: 6,
    failure_modes: [
      {
        type: 'EVENT_LOOP_STARVATION',
        severity: 'HIGH',
        description: 'Synchronous blocking is stalling the event loop scheduler.',
      },
    ],
    findings: [
      'Event-loop starvation detected.',
      'Long-duration synchronous blocking observed.',
      'Customer-visible latency hides runtime instability.',
      'Concurrent load saturation detected.',
      'Threadpool backlog accumulation detected.',
    ],
    missing: [],
  })
})

describe('a number is rounded', () => {
  // What Python's round() says, whose reports these were.
  test.each<[number, 0 | 2, number]>([
    [0.125, 2, 0.12],
    [0.375, 2, 0.38],
    [0.625, 2, 0.62],
    [2.675, 2, 2.67],
    [1.005, 2, 1],
    [-0.125, 2, -0.12],
    [1234.565, 2, 1234.57],
    [400.5, 0, 400],
    [401.5, 0, 402],
    [0.5, 0, 0],
    [0.6, 0, 1],
    [Number.NaN, 2, 0],
    [Number.POSITIVE_INFINITY, 2, 0],
  ])('%p to %p digits is %p', (value, digits, result) => {
    expect(rounded(value, digits)).toBe(result)
  })
})

test('a score beyond all numbers is missing', () => {
  const report = reportOf(assessHealth({ eventLoopLagSeconds: 1e308 }), [])
  expect(report.missing).toEqual([{ query: 'runtime_health_score', reason: 'not a number' }])
})

test('what a node does not measure is missing under the name of its query', () => {
  expect(missingOf(health)).toEqual([])
  expect(missingOf(assessHealth({ p99LatencySeconds: 1, activeRequests: 0 }))).toEqual(
    [
      'event_loop_lag',
      'blocking_events_total',
      'blocking_duration_avg',
      'threadpool_queue_wait',
      'threadpool_tasks_started',
      'threadpool_tasks_completed',
    ].map((query) => ({ query, reason: 'empty' })),
  )
})

test('only CRITICAL and COLLAPSE_RISK are critical', () => {
  const at = (score: number) => isCritical(reportOf(assessHealth({ activeRequests: score }), []))
  expect([0, 400, 1200, 2500].map(at)).toEqual([false, false, true, true])
})

describe('the text', () => {
  const printed = { target: 'http://p:9090', config: 'metrics.yaml', paint: (s: string) => s }

  test('has the banner, the place, the status, the score and the findings', () => {
    expect(reportText(reportOf(health, []), printed)).toBe(
      `${'='.repeat(60)}
ASYNC RUNTIME AUDITOR
${'='.repeat(60)}
Target: http://p:9090
Config: metrics.yaml

Runtime Status: COLLAPSE_RISK
Runtime Health Score: 2508

Findings:
 - Event-loop starvation detected.
 - Long-duration synchronous blocking observed.
 - Customer-visible latency hides runtime instability.
 - Concurrent load saturation detected.
 - Threadpool backlog accumulation detected.

`,
    )
  })

  test('says when nothing was found, and what was not seen', () => {
    const missing = [{ query: 'p99_latency', reason: 'query failed', detail: 'HTTP 500' }] as const
    const text = reportText(reportOf(assessHealth({}), missing), printed)
    expect(text).toContain('Runtime Status: HEALTHY\nRuntime Health Score: 0\n\nNo major runtime')
    expect(text).toContain(' - p99_latency: query failed (HTTP 500)\n')
  })
})
