/** Ticks: moments that all who look equally often share. */
import { expect, test } from 'bun:test'
import { assert, double, integer, property } from 'fast-check'
import { everyTick, systemClock, untilTickMs } from '../../runtime/clock.ts'

const nowMs = double({ min: 0, max: 1e9, noNaN: true })
const periodMs = integer({ min: 1, max: 60_000 })

test('a tick is neither at once nor far away', () => {
  assert(
    property(nowMs, periodMs, (now, ms) => {
      const until = untilTickMs(now, ms)
      expect(until).toBeGreaterThanOrEqual(ms / 2 - 1e-6)
      expect(until).toBeLessThanOrEqual(ms * 1.5 + 1e-6)
    }),
  )
})

test('whoever looks as often meets the others, whenever he began', () => {
  assert(
    property(nowMs, nowMs, periodMs, (one, other, ms) => {
      const apart = (one + untilTickMs(one, ms) - other - untilTickMs(other, ms)) / ms
      expect(Math.abs(apart - Math.round(apart))).toBeLessThan(1e-6)
    }),
  )
})

test('who looks after each tick looks once in each period', () => {
  assert(
    property(nowMs, periodMs, double({ min: 0, max: 0.49, noNaN: true }), (now, ms, late) => {
      const first = now + untilTickMs(now, ms)
      const looked = first + late * ms
      expect(looked + untilTickMs(looked, ms) - first).toBeCloseTo(ms, 4)
    }),
  )
})

test('a wait for a tick ends at the tick, or at once when nobody waits any more', async () => {
  const ms = 400
  await systemClock.tick(ms)
  // A timer drops what is less than a millisecond; a loaded machine is late.
  expect((performance.now() + 1) % ms).toBeLessThan(ms / 2)
  const over = new AbortController()
  const waiting = systemClock.tick(3_600_000, over.signal)
  over.abort()
  await waiting
})

test('what is done at each tick is done until it is stopped', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  let looks = 0
  let ticks = 0
  const stop = everyTick(5, () => {
    looks += 1
    if (looks === 3) stop()
  })
  // Another one that goes on tells that more ticks have come.
  const stopWitness = everyTick(5, () => {
    ticks += 1
    if (ticks === 8) resolve()
  })
  await promise
  stopWitness()
  expect(looks).toBe(3)
})
