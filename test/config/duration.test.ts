import { expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { formatDuration, parseDuration } from '../../config/duration.ts'

test('a duration is an amount and a unit', () => {
  expect(['500ms', '10s', '2m', '1h', '1.5s', '1.1m', '0ms', ' 3s '].map(parseDuration)).toEqual([
    500, 10_000, 120_000, 3_600_000, 1500, 66_000, 0, 3000,
  ])
})

test('what is no duration, or no whole number of milliseconds, is undefined', () => {
  const wrong = [
    '',
    '10',
    's',
    '10 s',
    '-1s',
    '10S',
    '1d',
    '1h30m',
    '1e3s',
    '.5s',
    '0.5ms',
    '10sec',
  ]
  expect(wrong.map(parseDuration)).toEqual(wrong.map(() => undefined))
  expect(parseDuration(`${Number.MAX_SAFE_INTEGER}h`)).toBeUndefined()
})

test('a duration is written in the largest unit that says it exactly', () => {
  expect([0, 250, 3333, 10_000, 90_000, 120_000, 3_600_000].map(formatDuration)).toEqual([
    '0ms',
    '250ms',
    '3333ms',
    '10s',
    '90s',
    '2m',
    '1h',
  ])
})

test('what is written is read as the same duration', () => {
  fc.assert(
    fc.property(fc.nat({ max: 1e12 }), (ms) => {
      expect(parseDuration(formatDuration(ms))).toBe(ms)
    }),
  )
})
