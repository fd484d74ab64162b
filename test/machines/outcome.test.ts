import { expect, test } from 'bun:test'
import { isOutcome, noCounts, outcomeCode, outcomeOf, outcomes } from '../../machines/outcome.ts'

test('the numbers of the outcomes stand in Redis and never change', () => {
  expect(outcomes.map((outcome) => [outcomeCode(outcome), outcome] as const)).toEqual([
    [1, 'ok'],
    [2, 'failed'],
    [3, 'timeout'],
    [4, 'cancelled'],
    [5, 'expired'],
    [6, 'dead'],
    [7, 'unreached'],
  ])
})

test('a number gives its outcome back, and 0 and what is beyond give none', () => {
  for (const outcome of outcomes) expect(outcomeOf(outcomeCode(outcome))).toBe(outcome)
  for (const code of [0, 8, 15, -1, Number.NaN]) expect(outcomeOf(code)).toBeUndefined()
})

test('an outcome is one of the seven words', () => {
  expect(outcomes.every(isOutcome)).toBe(true)
  for (const word of ['', 'OK', 'pending', 'length', 'toString'])
    expect(isOutcome(word)).toBe(false)
})

test('counts begin at nothing, with a place for each outcome and for what is pending', () => {
  expect(noCounts()).toEqual(
    Object.fromEntries([...outcomes, 'pending'].map((name) => [name, 0])) as never,
  )
  const counts = noCounts()
  counts.ok = 1
  expect(noCounts().ok).toBe(0)
})
