import { describe, expect, test } from 'bun:test'
import { Baseline, spreadOf } from '../../machines/baseline.ts'

const minuteMs = 60_000

/** Of alternating values, so that mean and deviation are known. */
function alternating(low: number, high: number, samples: number): Baseline {
  const baseline = new Baseline()
  for (let index = 0; index < samples; index += 1) {
    const value = index % 2 === 0 ? low : high
    baseline.add({ taskSuccess: value, redisMs: value }, index * 1000)
  }
  return baseline
}

describe('baseline', () => {
  test('its deviation is that of a population', () => {
    expect(spreadOf([2, 4, 4, 4, 5, 5, 7, 9])).toEqual({ mean: 5, deviation: 2 })
  })

  test('high is bad from z 3 on, and an error from 4.5 on', () => {
    // Mean 10, deviation 2.
    const baseline = alternating(8, 12, 10)
    const of = (redisMs: number) => baseline.deviations({ redisMs }, 10_000)
    expect(of(15.9)).toEqual([])
    expect(of(1)).toEqual([])
    expect(of(16)).toMatchObject([{ metric: 'redisMs', mean: 10, z: 3, severity: 'warning' }])
    expect(of(18.9)).toMatchObject([{ severity: 'warning' }])
    expect(of(19)).toMatchObject([{ z: 4.5, severity: 'error' }])
  })

  test('low is bad from z -2.5 on, and an error from -4 on', () => {
    const baseline = alternating(0.875, 1.125, 10)
    const of = (taskSuccess: number) => baseline.deviations({ taskSuccess }, 10_000)
    expect(of(0.69)).toEqual([])
    expect(of(3)).toEqual([])
    expect(of(0.6875)).toMatchObject([{ z: -2.5, severity: 'warning' }])
    expect(of(0.5)).toMatchObject([{ z: -4, severity: 'error' }])
  })

  test.each([
    ['fewer than five samples', alternating(8, 12, 4)],
    ['no spread at all', alternating(10, 10, 20)],
  ])('with %s, fixed limits hold', (_, baseline) => {
    const of = (redisMs: number) => baseline.deviations({ redisMs }, 20_000)
    expect(of(5000)).toEqual([])
    expect(of(5001)).toMatchObject([{ z: 0, severity: 'warning' }])
    expect(baseline.deviations({ taskSuccess: 0.79 }, 20_000)).toHaveLength(1)
  })

  test('what was usual a week ago counts in its window only', () => {
    const baseline = new Baseline()
    for (let index = 0; index < 100; index += 1) {
      baseline.add({ redisMs: index % 2 === 0 ? 80 : 120 }, index * minuteMs)
    }
    const lateMs = 25 * 60 * minuteMs
    for (let index = 0; index < 10; index += 1) {
      baseline.add({ redisMs: index % 2 === 0 ? 8 : 12 }, lateMs + index * minuteMs)
    }
    const [worst] = baseline.deviations({ redisMs: 100 }, lateMs + 10 * minuteMs)
    expect(worst).toMatchObject({ z: 45, severity: 'error', mean: 10 })
    expect(['1h', '24h']).toContain(worst?.window ?? '')
  })

  test('of what is no number nothing is known', () => {
    const baseline = alternating(8, 12, 10)
    baseline.add({ redisMs: Number.NaN }, 10_000)
    expect(baseline.deviations({ redisMs: Number.POSITIVE_INFINITY }, 10_000)).toEqual([])
    expect(baseline.deviations({ redisMs: 16 }, 10_000)).toMatchObject([{ z: 3 }])
  })
})
