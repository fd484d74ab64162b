/** What a node measures of itself for its audit, against what a Prometheus would say. */
import { describe, expect, test } from 'bun:test'
import { array, assert, integer, property } from 'fast-check'
import { LoopLag } from '../../runtime/telemetry/loop-lag.ts'
import { metrics } from '../../runtime/telemetry/names.ts'
import { Tally } from '../../runtime/telemetry/tally.ts'
import { quantileOf, sampleMs, VitalsWindow } from '../../runtime/telemetry/vitals.ts'

const minute = 60_000

function windowed() {
  let now = 1000
  let requests = 0
  const monotonic = () => now
  const tally = new Tally()
  const lag = new LoopLag(monotonic, () => {})
  const peakRequests = (isLast: boolean) => {
    const peak = requests
    if (isLast) requests = 0
    return peak
  }
  const vitals = new VitalsWindow({ tally, lag, peakRequests, monotonic })
  return {
    tally,
    lag,
    vitals,
    requests: (most: number) => {
      requests = Math.max(requests, most)
    },
    /** Time goes by, with a sample as often as there is one. */
    pass: (ms: number) => {
      for (const until = now + ms; now < until; ) {
        now = Math.min(until, now + sampleMs)
        vitals.sample()
      }
    },
  }
}

test('a node of which nothing is measured yet has no lag, and nothing else to tell', () => {
  const { vitals } = windowed()
  expect(vitals.measure()).toEqual({
    p99LatencySeconds: 0,
    eventLoopLagSeconds: undefined,
    blockingEvents: 0,
    blockingSeconds: 0,
    activeRequests: 0,
    queueWaitSeconds: 0,
    tasksStarted: 0,
    tasksCompleted: 0,
  })
})

test('the largest lag of 15 minutes counts, and then no more', () => {
  const { lag, vitals, pass } = windowed()
  lag.merge([1500])
  pass(minute)
  lag.merge([20])
  expect(vitals.measure().eventLoopLagSeconds).toBe(1.5)
  pass(13 * minute)
  lag.merge([20])
  expect(vitals.measure().eventLoopLagSeconds).toBe(1.5)
  pass(3 * minute)
  expect(vitals.measure().eventLoopLagSeconds).toBe(0.02)
})

test('blocks and waiting are averages over 15 minutes', () => {
  const { tally, vitals, pass } = windowed()
  tally.observe('blocking_duration_seconds', [], 9)
  tally.observe('threadpool_queue_wait_seconds', [], 5)
  pass(10 * minute)
  tally.observe('blocking_duration_seconds', [], 1)
  tally.observe('threadpool_queue_wait_seconds', [], 2, 3)
  const { blockingSeconds, queueWaitSeconds } = vitals.measure()
  expect(blockingSeconds).toBe(5)
  expect(queueWaitSeconds).toBeCloseTo((5 + 6) / 4, 9)
  pass(6 * minute)
  expect(vitals.measure().blockingSeconds).toBe(1)
  expect(vitals.measure().queueWaitSeconds).toBeCloseTo(2, 9)
  pass(16 * minute)
  expect(vitals.measure().blockingSeconds).toBe(0)
})

test('the latency is that of 5 minutes', () => {
  const { tally, vitals, pass } = windowed()
  tally.observe('http_request_duration_seconds', [], 3, 100)
  pass(minute)
  expect(vitals.measure().p99LatencySeconds).toBeGreaterThan(2.5)
  pass(5 * minute)
  tally.observe('http_request_duration_seconds', [], 0.0004, 100)
  expect(vitals.measure().p99LatencySeconds).toBeCloseTo(0.00099, 9)
})

test('most requests at a time count, also of those between two samples', () => {
  const { requests, vitals, pass } = windowed()
  requests(7)
  expect(vitals.measure().activeRequests).toBe(7)
  pass(minute)
  requests(2)
  expect(vitals.measure().activeRequests).toBe(7)
  pass(16 * minute)
  expect(vitals.measure().activeRequests).toBe(0)
})

test('counters are told whole', () => {
  const { tally, vitals, pass } = windowed()
  tally.add('blocking_events_total', [], 4)
  tally.add('threadpool_tasks_started_total', [], 9)
  tally.add('threadpool_tasks_completed_total', [], 5)
  pass(60 * minute)
  const { blockingEvents, tasksStarted, tasksCompleted } = vitals.measure()
  expect([blockingEvents, tasksStarted, tasksCompleted]).toEqual([4, 9, 5])
})

test('a worker process that says nothing has an event loop that stands', () => {
  const { lag, vitals } = windowed()
  lag.merge([20])
  expect(vitals.measure(1900).eventLoopLagSeconds).toBe(0.02)
  expect(vitals.measure(6000).eventLoopLagSeconds).toBe(5)
})

describe('a quantile', () => {
  const { buckets } = metrics.http_request_duration_seconds
  const zeros = () => Array.from({ length: buckets.length + 2 }, () => 0)

  test('lies within its bucket, as far as its share of it', () => {
    const numbers = zeros()
    numbers[3] = 10
    expect(quantileOf(0.5, buckets, numbers)).toBeCloseTo(0.0075, 9)
    expect(quantileOf(1, buckets, numbers)).toBe(0.01)
  })

  test('above all buckets is the last bound, as Prometheus has it', () => {
    const numbers = zeros()
    numbers[buckets.length] = 5
    expect(quantileOf(0.99, buckets, numbers)).toBe(10)
  })

  test('is in the bucket of the observation that it is, whatever the numbers', () => {
    const counts = array(integer({ min: 0, max: 50 }), {
      minLength: buckets.length,
      maxLength: buckets.length,
    })
    assert(
      property(counts, integer({ min: 1, max: 100 }), (inBuckets, percent) => {
        const numbers = [...inBuckets, 0, 0]
        const values = inBuckets.flatMap((count, index) =>
          Array.from({ length: count }, () => buckets[index] ?? 0),
        )
        const quantile = quantileOf(percent / 100, buckets, numbers)
        if (values.length === 0) {
          expect(quantile).toBe(0)
          return
        }
        // The rank may fall on a bound but for the last digit of a fraction.
        const rank = Math.ceil((percent / 100) * values.length - 1e-9)
        const upper = values[Math.max(0, rank - 1)] ?? 0
        const lower = buckets[buckets.indexOf(upper as (typeof buckets)[number]) - 1] ?? 0
        expect(quantile).toBeWithin(lower - 1e-9, upper + 1e-9)
      }),
    )
  })
})
