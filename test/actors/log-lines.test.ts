/** The queue before the writer: bounded, in order, and without loss of what must not be lost. */
import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, nat, oneof, property, record } from 'fast-check'
import { LogLines, type LogLinesOptions } from '../../actors/log-lines.ts'
import type { LogLevel } from '../../actors/ports.ts'
import type { LogLine } from '../../actors/ports-log.ts'
import { testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'
import { lineOf, saidBy } from './log-writing.ts'

const levels: LogLevel[] = ['debug', 'info', 'warn', 'error']

function queue(more: Partial<LogLinesOptions> = {}) {
  const clock = testClock()
  const dropped: LogLevel[] = []
  const told: string[] = []
  const lines = new LogLines({
    queueMax: 100,
    queueBytesMax: 1_000_000,
    batchBytes: 100_000,
    clock,
    random: seededRandom(7).next,
    meter: { dropped: (level) => dropped.push(level) },
    ...more,
  })
  lines.listen({ waiting: () => told.push('waiting'), enough: () => told.push('enough') })
  return { clock, dropped, lines, told }
}

const fill = (lines: LogLines, level: LogLevel, count: number) => {
  for (let index = 0; index < count; index += 1) lines.push(lineOf(level, index))
}

/** Takes all that wait. */
function takeAll(lines: LogLines): LogLine[] {
  const all: LogLine[] = []
  for (let batch = lines.next(); batch.length > 0; batch = lines.next()) {
    all.push(...batch)
    lines.written()
  }
  return all
}

describe('the queue of the log', () => {
  test('gives its lines in order, and the same ones until they are written', () => {
    const { lines } = queue()
    fill(lines, 'info', 3)
    const first = lines.next()
    lines.push(lineOf('info', 'later'))
    expect(lines.next()).toBe(first)
    expect([saidBy(first), lines.depth]).toEqual([[0, 1, 2], 4])
    lines.written()
    expect([saidBy(lines.next()), lines.depth]).toEqual([['later'], 1])
  })

  test('gives no more bytes at once than a batch may have, but one line at least', () => {
    const size = lineOf('info', 1).bytes
    const { lines, told } = queue({ batchBytes: 2 * size + 1 })
    fill(lines, 'info', 5)
    lines.push(lineOf('info', 'x'.repeat(99)))
    lines.push(lineOf('info', 6))
    const counts: number[] = []
    for (let batch = lines.next(); batch.length > 0; batch = lines.next()) {
      counts.push(batch.length)
      lines.written()
    }
    expect([counts, told]).toEqual([
      [2, 2, 1, 1, 1],
      ['waiting', 'enough'],
    ])
  })

  test('says when what waits is due: by its age, or at once when it is enough', () => {
    const { clock, lines } = queue({ batchBytes: 200 })
    expect(lines.dueMs(500)).toBeUndefined()
    fill(lines, 'info', 1)
    clock.advance(200)
    expect(lines.dueMs(500)).toBe(300)
    clock.advance(400)
    expect(lines.dueMs(500)).toBe(0)
    lines.next()
    expect(lines.dueMs(500)).toBeUndefined()
    fill(lines, 'info', 20)
    expect(lines.dueMs(500)).toBe(0)
  })

  test('keeps a tenth of debug and info when it is fuller than 80 %', () => {
    const { dropped, lines } = queue({ queueMax: 100_000, queueBytesMax: 1e9 })
    fill(lines, 'warn', 80_001)
    fill(lines, 'info', 10_000)
    const kept = lines.depth - 80_001
    expect(kept).toBeGreaterThan(850)
    expect(kept).toBeLessThan(1150)
    expect(dropped).toHaveLength(10_000 - kept)
  })

  test('drops the oldest info for a warning when it is full, and grows when there is none', () => {
    const { dropped, lines } = queue()
    fill(lines, 'info', 80)
    fill(lines, 'warn', 20)
    fill(lines, 'error', 50)
    expect([lines.depth, dropped]).toEqual([100, Array.from({ length: 50 }, () => 'info')])
    fill(lines, 'warn', 80)
    expect([lines.depth, lines.fullness, dropped.length]).toEqual([150, 1.5, 80])
    const left = takeAll(lines)
    expect(left.filter(({ level }) => level === 'info')).toEqual([])
    expect(left).toHaveLength(150)
  })

  test('is full of few lines when they are long', () => {
    const { dropped, lines } = queue({ queueBytesMax: 10_000 })
    for (const level of ['info', 'info', 'debug', 'warn'] as const) {
      lines.push(lineOf(level, 'x'.repeat(5000)))
    }
    expect(dropped).toEqual(['debug', 'info'])
    expect(takeAll(lines).map(({ level }) => level)).toEqual(['info', 'warn'])
  })

  test('tells what it dropped once it is over, by level', () => {
    const { lines } = queue({ random: () => 0.99 })
    fill(lines, 'warn', 90)
    fill(lines, 'info', 3)
    fill(lines, 'debug', 2)
    expect(lines.takeDropped()).toBeUndefined()
    takeAll(lines)
    expect(lines.takeDropped()).toEqual({ info: 3, debug: 2 })
    expect(lines.takeDropped()).toBeUndefined()
  })

  test('tells it every 10 s while it goes on, and at the end', () => {
    const { clock, lines } = queue({ random: () => 0.99 })
    fill(lines, 'warn', 90)
    fill(lines, 'info', 3)
    clock.advance(9999)
    expect(lines.takeDropped()).toBeUndefined()
    clock.advance(1)
    expect(lines.takeDropped()).toEqual({ info: 3 })
    fill(lines, 'info', 1)
    expect(lines.takeDropped()).toBeUndefined()
    expect(lines.takeDropped(true)).toEqual({ info: 1 })
  })

  test('is stuck when what it gave is not written for a second', () => {
    const { clock, lines } = queue()
    fill(lines, 'info', 1)
    clock.advance(5000)
    expect(lines.isStuck).toBe(false)
    lines.next()
    clock.advance(1001)
    expect(lines.isStuck).toBe(true)
    lines.written()
    expect(lines.isStuck).toBe(false)
  })

  test('loses no warning, whatever is pushed and written when; keeps order and count', () => {
    const step = oneof(
      record({ push: constantFrom(...levels), count: nat(30) }),
      constantFrom('next' as const, 'written' as const),
    )
    assert(
      property(array(step, { maxLength: 60 }), (steps) => {
        const { dropped, lines } = queue({ queueMax: 20, batchBytes: 150 })
        const pushed: LogLevel[] = []
        const written: LogLine[] = []
        let atHand: readonly LogLine[] = []
        for (const one of steps) {
          if (one === 'next') atHand = lines.next()
          else if (one === 'written') {
            written.push(...atHand)
            atHand = []
            lines.written()
          } else {
            for (let index = 0; index < one.count; index += 1) {
              lines.push(lineOf(one.push, pushed.length))
              pushed.push(one.push)
            }
          }
        }
        written.push(...takeAll(lines))
        const numbers = saidBy(written).map(Number)
        expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
        expect(new Set(numbers).size).toBe(numbers.length)
        for (const level of levels) {
          const came = pushed.filter((one) => one === level).length
          const went = written.filter((one) => one.level === level).length
          const missed = dropped.filter((one) => one === level).length
          expect(went + missed).toBe(came)
          if (level === 'warn' || level === 'error') expect(missed).toBe(0)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('has no more lines than it may, as long as some of them can be dropped', () => {
    const { lines } = queue({ queueMax: 20 })
    const random = seededRandom(3)
    let warnings = 0
    for (let index = 0; index < 2000; index += 1) {
      const level = random.pick(['info', 'debug', 'warn'] as const)
      if (level === 'warn') warnings += 1
      lines.push(lineOf(level, index))
      expect(lines.depth).toBeLessThanOrEqual(Math.max(20, warnings))
    }
  })
})
