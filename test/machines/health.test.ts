import { describe, expect, test } from 'bun:test'
import { assert, constantFrom, double, oneof, property, record } from 'fast-check'
import {
  assessHealth,
  defaultThresholds,
  healthStatuses,
  type Measured,
  type Vital,
} from '../../machines/health.ts'

const vital = (name: Vital, value: number): Measured => ({ [name]: value })

/** All sensors are there and see nothing. */
const calm: Measured = {
  p99LatencySeconds: 0,
  eventLoopLagSeconds: 0,
  blockingEvents: 0,
  blockingSeconds: 0,
  activeRequests: 0,
  queueWaitSeconds: 0,
  tasksStarted: 0,
  tasksCompleted: 0,
}

const typesOf = (measured: Measured) => assessHealth(measured).failureModes.map(({ type }) => type)
const findingsOf = (measured: Measured) => assessHealth(measured).findings

describe('the score', () => {
  test.each<[number, string, Measured]>([
    [0, 'HEALTHY', {}],
    [
      1624,
      'CRITICAL',
      {
        eventLoopLagSeconds: 0.5,
        blockingSeconds: 1,
        queueWaitSeconds: 1,
        tasksStarted: 10,
        tasksCompleted: 7,
        activeRequests: 150,
      },
    ],
    [1200, 'CRITICAL', { eventLoopLagSeconds: 0.8 }],
    [400.5, 'DEGRADED', { eventLoopLagSeconds: 0.267 }],
    [2500.05, 'COLLAPSE_RISK', { eventLoopLagSeconds: 1.6667 }],
    [400, 'DEGRADED', { blockingSeconds: 1 }],
    [300, 'HEALTHY', { queueWaitSeconds: 1 }],
    [24, 'HEALTHY', { tasksStarted: 3 }],
    [150, 'HEALTHY', { activeRequests: 150 }],
    [0, 'HEALTHY', { p99LatencySeconds: 60, blockingEvents: 1e6 }],
  ])('is %p, which is %s, of %p', (score, status, measured) => {
    const health = assessHealth(measured)
    expect(health.score).toBeCloseTo(score, 9)
    expect(health.status).toBe(status as typeof health.status)
  })

  test('takes more tasks completed than started for no backlog', () => {
    const { backlog, score } = assessHealth({ tasksStarted: 3, tasksCompleted: 5 })
    expect({ backlog, score }).toEqual({ backlog: 0, score: 0 })
  })

  test('counts what is no finite number as 0, and says so', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, undefined]) {
      const health = assessHealth({ ...calm, eventLoopLagSeconds: bad })
      expect(health.score).toBe(0)
      expect(health.vitals.eventLoopLagSeconds).toBe(0)
      expect(health.blind).toEqual(['eventLoopLagSeconds'])
    }
    expect(assessHealth(calm).blind).toEqual([])
    expect(assessHealth({}).blind).toHaveLength(Object.keys(calm).length)
  })

  test('that is beyond all numbers counts as 0, and says so', () => {
    const { score, status, blind } = assessHealth({ ...calm, eventLoopLagSeconds: 1e308 })
    expect({ score, status, blind }).toEqual({ score: 0, status: 'HEALTHY', blind: ['score'] })
  })

  test('never falls when anything gets worse, and no status gets better', () => {
    const amount = double({ min: 0, max: 1e6, noNaN: true })
    const worse = constantFrom<Vital[]>(
      'eventLoopLagSeconds',
      'blockingSeconds',
      'queueWaitSeconds',
      'activeRequests',
      'tasksStarted',
    )
    const vitals = record({
      eventLoopLagSeconds: amount,
      blockingSeconds: amount,
      queueWaitSeconds: amount,
      activeRequests: amount,
      tasksStarted: amount,
    })
    assert(
      property(vitals, worse, amount, (before, name, more) => {
        const [one, other] = [before, { ...before, [name]: before[name as 'tasksStarted'] + more }]
        const [was, is] = [assessHealth(one), assessHealth(other)]
        expect(is.score).toBeGreaterThanOrEqual(was.score)
        const rank = healthStatuses.indexOf(is.status)
        expect(rank).toBeGreaterThanOrEqual(healthStatuses.indexOf(was.status))
      }),
    )
  })

  test('is a finite number, whatever comes', () => {
    const anything = oneof(double(), constantFrom(undefined))
    const vitals = record({
      eventLoopLagSeconds: anything,
      blockingSeconds: anything,
      queueWaitSeconds: anything,
      activeRequests: anything,
      tasksStarted: anything,
      tasksCompleted: anything,
    })
    assert(
      property(vitals, (measured) => {
        const { score, backlog, vitals: seen } = assessHealth(measured)
        expect([score, backlog, ...Object.values(seen)].every(Number.isFinite)).toBe(true)
      }),
    )
  })
})

describe('the status', () => {
  const statusAt = (score: number) => assessHealth(vital('activeRequests', score)).status

  test('begins at its threshold', () => {
    expect([399.99, 400, 1199.99, 1200, 2499.99, 2500].map(statusAt)).toEqual([
      'HEALTHY',
      'DEGRADED',
      'DEGRADED',
      'CRITICAL',
      'CRITICAL',
      'COLLAPSE_RISK',
    ])
  })

  test('is by the thresholds given', () => {
    const thresholds = {
      ...defaultThresholds,
      degradedScore: 1,
      criticalScore: 2,
      collapseScore: 3,
    }
    const at = (score: number) => assessHealth(vital('activeRequests', score), thresholds).status
    expect([0, 1, 2, 3].map(at)).toEqual([...healthStatuses])
  })
})

describe('a failure mode', () => {
  test('of the event loop needs lag and blocking, both above their limits', () => {
    const of = (eventLoopLagSeconds: number, blockingSeconds: number) =>
      typesOf({ eventLoopLagSeconds, blockingSeconds })
    expect(of(0.51, 1.01)).toEqual(['EVENT_LOOP_STARVATION'])
    expect(of(0.5, 1.01)).toEqual([])
    expect(of(0.51, 1)).toEqual([])
  })

  test('of the pool needs waiting and a backlog, both above their limits', () => {
    const of = (queueWaitSeconds: number, tasksStarted: number) =>
      typesOf({ queueWaitSeconds, tasksStarted })
    expect(of(1.01, 4)).toEqual(['THREADPOOL_SATURATION'])
    expect(of(1, 4)).toEqual([])
    expect(of(1.01, 3)).toEqual([])
  })

  test('of load needs more than 150 requests', () => {
    expect(typesOf(vital('activeRequests', 151))).toEqual(['LOAD_SATURATION'])
    expect(typesOf(vital('activeRequests', 150))).toEqual([])
  })

  test('has a severity and says what it is', () => {
    const all = { eventLoopLagSeconds: 9, blockingSeconds: 9, queueWaitSeconds: 9 }
    expect(assessHealth({ ...all, tasksStarted: 9, activeRequests: 999 }).failureModes).toEqual([
      {
        type: 'EVENT_LOOP_STARVATION',
        severity: 'HIGH',
        description: 'Synchronous blocking is stalling the event loop scheduler.',
      },
      {
        type: 'THREADPOOL_SATURATION',
        severity: 'HIGH',
        description: 'Executor queue amplification detected.',
      },
      {
        type: 'LOAD_SATURATION',
        severity: 'MEDIUM',
        description: 'Concurrent request pressure is approaching runtime limits.',
      },
    ])
  })
})

describe('a finding', () => {
  test.each<[string, Measured, Measured]>([
    [
      'Event-loop starvation detected.',
      { eventLoopLagSeconds: 0.51, p99LatencySeconds: 1 },
      { eventLoopLagSeconds: 0.5 },
    ],
    [
      'Long-duration synchronous blocking observed.',
      { blockingSeconds: 1.01 },
      { blockingSeconds: 1 },
    ],
    ['Concurrent load saturation detected.', { activeRequests: 101 }, { activeRequests: 100 }],
    ['Threadpool backlog accumulation detected.', { tasksStarted: 4 }, { tasksStarted: 3 }],
    ['Executor queue amplification detected.', { queueWaitSeconds: 1.01 }, { queueWaitSeconds: 1 }],
  ])('%p is made above its limit, and not at it', (finding, above, at) => {
    expect(findingsOf(above)).toEqual([finding])
    expect(findingsOf(at)).toEqual([])
  })

  test('of hidden trouble needs a lag above 1 s and a latency below 0.15 s', () => {
    const hidden = 'Customer-visible latency hides runtime instability.'
    const of = (eventLoopLagSeconds: number, p99LatencySeconds: number) =>
      findingsOf({ eventLoopLagSeconds, p99LatencySeconds }).includes(hidden)
    expect(of(1.01, 0.149)).toBe(true)
    expect(of(1, 0.149)).toBe(false)
    expect(of(1.01, 0.15)).toBe(false)
  })

  test('stands in the order of the original, whatever the failure modes are', () => {
    const all = { eventLoopLagSeconds: 9, blockingSeconds: 9, queueWaitSeconds: 9 }
    expect(findingsOf({ ...all, tasksStarted: 9, activeRequests: 999 })).toEqual([
      'Event-loop starvation detected.',
      'Long-duration synchronous blocking observed.',
      'Customer-visible latency hides runtime instability.',
      'Concurrent load saturation detected.',
      'Threadpool backlog accumulation detected.',
      'Executor queue amplification detected.',
    ])
    expect(assessHealth(vital('activeRequests', 120)).failureModes).toEqual([])
  })

  test('is by the thresholds given', () => {
    const thresholds = { ...defaultThresholds, activeRequestsWarning: 1, activeRequests: 2 }
    const { findings, failureModes } = assessHealth(vital('activeRequests', 2), thresholds)
    expect(findings).toEqual(['Concurrent load saturation detected.'])
    expect(failureModes).toEqual([])
  })
})
