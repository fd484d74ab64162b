import { expect, jest, test } from 'bun:test'
import { LoopLag } from '../../runtime/telemetry/loop-lag.ts'

/**
 * Looks in so many ms of a loop that nothing holds up.
 * @param used share of a core that the process uses
 */
function looksOf(
  prepare: (lag: LoopLag, pass: (ms: number) => void) => void,
  ms: number,
  used = 0,
): number {
  jest.useFakeTimers()
  let nowMs = 0
  const lag = new LoopLag(
    () => nowMs,
    () => {},
    () => nowMs * used,
  )
  const pass = (much: number) => {
    for (let passed = 0; passed < much; passed += 1) {
      nowMs += 1
      jest.advanceTimersByTime(1)
    }
  }
  try {
    lag.start({ collects: true })
    prepare(lag, pass)
    lag.take()
    pass(ms)
    return lag.take().length
  } finally {
    lag.stop()
    jest.useRealTimers()
  }
}

test('work at hand is looked at closely', () => {
  expect(looksOf((lag) => lag.taken(), 2000)).toBe(100)
})

test('at rest few looks wake the processor', () => {
  expect(looksOf((_lag, pass) => pass(2000), 2000)).toBe(2)
})

test('a process that does something nobody told of does not rest', () => {
  expect(looksOf((_lag, pass) => pass(5000), 2000, 0.3)).toBe(100)
  expect(looksOf((_lag, pass) => pass(5000), 2000, 0.03)).toBe(2)
})

test('what stood still while nothing was at hand is seen, though work comes first', () => {
  jest.useFakeTimers()
  const seen: number[] = []
  let nowMs = 0
  const lag = new LoopLag(
    () => nowMs,
    (ms) => seen.push(ms),
    () => 0,
  )
  try {
    lag.start({ collects: false })
    for (; nowMs < 1990; nowMs += 1) jest.advanceTimersByTime(1)
    // Nothing is run for so long, and then what came meanwhile goes before the timers.
    nowMs += 400
    lag.taken()
    expect(seen).toEqual([390])
  } finally {
    lag.stop()
    jest.useRealTimers()
  }
})

test('the first work after a rest is looked at closely from its beginning', () => {
  const woken = (lag: LoopLag, pass: (ms: number) => void) => {
    pass(2500)
    lag.taken()
  }
  expect(looksOf(woken, 100)).toBe(5)
})

test('work that has just ended is followed by more: only a while later it is rest', () => {
  const worked = (lag: LoopLag) => {
    lag.taken()
    lag.taken()
    lag.released()
    lag.released()
  }
  expect(looksOf(worked, 1000)).toBe(50)
})

test('a block on purpose is seen by the next look, and counts nowhere', async () => {
  const seen: number[] = []
  const lag = new LoopLag(
    () => performance.now(),
    (ms) => seen.push(ms),
  )
  lag.start({ collects: false })
  try {
    const proof = await lag.prove()
    expect(proof?.sawMs).toBeGreaterThanOrEqual(50)
    expect(seen).toEqual([])
  } finally {
    lag.stop()
  }
})
