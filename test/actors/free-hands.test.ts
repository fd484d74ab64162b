import { describe, expect, test } from 'bun:test'
import { FreeHands } from '../../actors/free-hands.ts'
import { testClock } from '../kit/clock.ts'

function handsOf(count: number) {
  const clock = testClock()
  return { clock, hands: new FreeHands(count, clock), begun: clock.now() }
}

describe('what waits beside a free hand', () => {
  test('is counted from when it was ready', () => {
    const { clock, hands, begun } = handsOf(2)
    clock.advance(500)
    expect(hands.idleMs(begun + 200)).toBe(300)
    hands.take()
    expect(hands.idleMs(begun + 200)).toBe(300)
  })

  test('is not counted while all hands are full, however long it waits', () => {
    const { clock, hands, begun } = handsOf(2)
    hands.take()
    hands.take()
    clock.advance(60_000)
    expect(hands.idleMs(begun)).toBe(0)
    hands.give()
    expect(hands.idleMs(begun)).toBe(0)
    clock.advance(5)
    expect(hands.idleMs(begun)).toBe(5)
  })

  test('is not counted for the time before there was a worker', () => {
    const { hands, begun } = handsOf(1)
    expect(hands.idleMs(begun - 3_600_000)).toBe(0)
  })

  test('nor for the time in which it was not to take any', () => {
    const { clock, hands, begun } = handsOf(1)
    clock.advance(9000)
    hands.anew()
    clock.advance(7)
    expect(hands.idleMs(begun)).toBe(7)
  })

  test('of another clock, ahead of ours, is nothing', () => {
    const { hands, begun } = handsOf(1)
    expect(hands.idleMs(begun + 5000)).toBe(0)
  })
})
