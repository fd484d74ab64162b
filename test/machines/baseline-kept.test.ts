import { describe, expect, test } from 'bun:test'
import { Baseline } from '../../machines/baseline.ts'

const day = 24 * 3_600_000

function usual(at: number): Baseline {
  const baseline = new Baseline()
  for (let index = 0; index < 10; index += 1) {
    baseline.add({ redisMs: index % 2 === 0 ? 8 : 12 }, at + index)
  }
  return baseline
}

const isUnusual = (baseline: Baseline, at: number) =>
  baseline.deviations({ redisMs: 100 }, at).some(({ z }) => z > 3)

describe('what is usual', () => {
  test('is known after a restart as it was before', () => {
    const before = usual(1000)
    const kept: unknown = JSON.parse(JSON.stringify(before.kept()))
    const after = new Baseline()
    expect(isUnusual(after, 2000)).toBe(false)
    after.recall(kept, 2000)
    expect(after.deviations({ redisMs: 16 }, 2000)).toEqual(
      before.deviations({ redisMs: 16 }, 2000),
    )
    expect(isUnusual(after, 2000)).toBe(true)
  })

  test('is forgotten after a week, and what lies ahead is not believed', () => {
    const late = new Baseline()
    late.recall(usual(0).kept(), 8 * day)
    expect(isUnusual(late, 8 * day)).toBe(false)
    const early = new Baseline()
    early.recall(usual(2 * day).kept(), day)
    expect(isUnusual(early, 3 * day)).toBe(false)
  })

  test('comes before what is measured since', () => {
    const baseline = new Baseline()
    baseline.add({ redisMs: 5 }, 5000)
    baseline.recall(usual(1000).kept(), 5000)
    expect(baseline.kept().metrics['redisMs']?.slice(-2)).toEqual([5000, 5])
  })

  test.each([
    [undefined],
    [null],
    ['x'],
    [{}],
    [{ version: 2, metrics: { redisMs: [1, 2] } }],
    [{ version: 1, metrics: { redisMs: ['a'] } }],
    [{ version: 1, metrics: { redisMs: [1, null] } }],
    [{ version: 1, metrics: { redisMs: 7 } }],
    [{ version: 1, metrics: { other: [1, 2] } }],
  ])('is nothing where %j was kept', (kept) => {
    const baseline = new Baseline()
    baseline.recall(kept, 10)
    expect(baseline.kept()).toEqual({ version: 1, metrics: {} })
  })
})
