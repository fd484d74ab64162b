import { describe, expect, test } from 'bun:test'
import { assert, double, property } from 'fast-check'
import { assessHealth, defaultThresholds } from '../../machines/health.ts'
import { healthLevel, reportHealth, type Sensor } from '../../machines/health-level.ts'

const levelOf = (score: number) => healthLevel(score, defaultThresholds)

describe('the level of health', () => {
  test.each([
    [0, 1],
    [200, 0.85],
    [400, 0.7],
    [800, 0.55],
    [1200, 0.4],
    [1850, 0.25],
    [2500, 0.1],
    [5000, 0.05],
    [250_000, 0.001],
  ])('of a score of %d is %d', (score, level) => {
    expect(levelOf(score)).toBeCloseTo(level, 9)
  })

  test('is between 0 and 1, and falls whenever the score rises', () => {
    const scores = double({ min: 0, max: 1e9, noNaN: true })
    assert(
      property(scores, double({ min: 0.01, max: 1e6, noNaN: true }), (score, more) => {
        const level = levelOf(score)
        expect(level).toBeGreaterThan(0)
        expect(level).toBeLessThanOrEqual(1)
        expect(levelOf(score + more)).toBeLessThan(level)
      }),
    )
  })

  test('is below 0.7, where a node reflects, when its status is not HEALTHY', () => {
    assert(
      property(double({ min: 0, max: 10_000, noNaN: true }), (score) => {
        const { status } = assessHealth({ activeRequests: score })
        const isLow = levelOf(score) < 0.7
        // At the very threshold it is DEGRADED, and not yet below.
        if (score !== defaultThresholds.degradedScore) expect(isLow).toBe(status !== 'HEALTHY')
      }),
    )
  })

  test('goes by the thresholds that are set', () => {
    const thresholds = { degradedScore: 100, criticalScore: 200, collapseScore: 300 }
    const levels = [50, 100, 150, 300].map((score) => healthLevel(score, thresholds))
    expect(levels.map((level) => level.toFixed(6))).toEqual([
      '0.850000',
      '0.700000',
      '0.550000',
      '0.100000',
    ])
  })
})

const seeing = { eventLoopLagSeconds: 0, blockingSeconds: 0, queueWaitSeconds: 0 }
const sensors: Sensor[] = [
  { name: 'loopDelay', state: 'proved' },
  { name: 'queueWait', state: 'measuring' },
  { name: 'redisLatency', state: 'blind' },
  { name: 'loopUtilization', state: 'off' },
]
const report = (measured: object) => reportHealth({ measured, sensors }, defaultThresholds)

describe('the report of a node on itself', () => {
  test('is HEALTHY when what it needs is seen and well', () => {
    expect(report(seeing)).toMatchObject({
      status: 'HEALTHY',
      score: 0,
      level: 1,
      coverage: { seeing: 2, of: 4 },
      because: [],
    })
  })

  test.each(['eventLoopLagSeconds', 'blockingSeconds', 'queueWaitSeconds'] as const)(
    'is never HEALTHY without %s, and has no level then',
    (name) => {
      for (const bad of [undefined, Number.NaN, Number.POSITIVE_INFINITY]) {
        const blind = report({ ...seeing, [name]: bad })
        expect(blind.status).toBe('UNKNOWN')
        expect(blind.level).toBeUndefined()
      }
    },
  )

  test('is bad when what is seen is bad, whatever is not seen', () => {
    const blind = report({ ...seeing, eventLoopLagSeconds: undefined, queueWaitSeconds: 5 })
    expect(blind).toMatchObject({ status: 'CRITICAL', score: 1500 })
    expect(blind.level).toBeLessThan(0.4)
  })

  test('says what makes the score, the heaviest first, and nothing that does not matter', () => {
    const { because } = report({
      eventLoopLagSeconds: 0.3,
      blockingSeconds: 2.25,
      queueWaitSeconds: 0.01,
    })
    expect(because).toEqual(['blocked for 2.3 s at a time', 'event loop late by 300 ms'])
  })
})
