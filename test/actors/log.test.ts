/** The writer of the log: when it writes, and what becomes of the lines when it cannot. */
import { describe, expect, test } from 'bun:test'
import { logWriter } from '../../actors/log.ts'
import { LogLines, type LogLinesOptions } from '../../actors/log-lines.ts'
import type { Log, LogLevel } from '../../actors/ports.ts'
import { testClock } from '../kit/clock.ts'
import { lineOf, saidBy, TestSink } from './log-writing.ts'
import { memoryWorld } from './world.ts'

function begin(more: Partial<LogLinesOptions> = {}, sink = new TestSink()) {
  const clock = testClock()
  const world = memoryWorld(clock)
  const dropped: LogLevel[] = []
  const lines = new LogLines({
    queueMax: 100,
    queueBytesMax: 1_000_000,
    batchBytes: 1000,
    clock,
    random: () => 0.99,
    meter: { dropped: (level) => dropped.push(level) },
    ...more,
  })
  const logged: { level: LogLevel; fields: Record<string, unknown>; message: string }[] = []
  const logAt = (level: LogLevel) => (fields: Record<string, unknown>, message: string) => {
    logged.push({ level, fields, message })
    lines.push(lineOf(level, message))
  }
  // What the writer has to say goes where everything goes.
  const log: Log = {
    debug: logAt('debug'),
    info: logAt('info'),
    warn: logAt('warn'),
    error: logAt('error'),
  }
  const spec = logWriter({ lines, sink, flushMs: 500, drainMs: 2000, clock, tell: world.tell, log })
  const life = world.begin(spec, clock.timers)
  const push = (level: LogLevel, ...messages: (string | number)[]) => {
    for (const message of messages) lines.push(lineOf(level, message))
  }
  const value = () => life.actor.getSnapshot().value
  return { clock, dropped, life, lines, logged, push, sink, value }
}

const never = () => new Promise<never>(() => {})
const refusal = () => {
  const refused = Promise.reject<void>(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
  refused.catch(() => undefined)
  return refused
}
const numbers = (length: number) => Array.from({ length }, (_, index) => index)

describe('the writer of the log', () => {
  test('writes what came before it was there, and then every half second', async () => {
    const { clock, life, push, sink } = begin()
    push('info', 'early')
    await life.ready()
    await clock.settle()
    expect(saidBy(sink.lines)).toEqual(['early'])
    push('info', 'one')
    await clock.pass(300)
    push('info', 'two')
    await clock.pass(199)
    expect(sink.batches).toHaveLength(1)
    await clock.pass(1)
    expect(sink.batches.map(saidBy)).toEqual([['early'], ['one', 'two']])
    expect(life.errors).toEqual([])
  })

  test('does not wait when there is enough, and goes on until there is less', async () => {
    const { clock, life, push, sink } = begin({ batchBytes: 100 })
    await life.ready()
    await clock.settle()
    push('info', ...numbers(20))
    await clock.settle()
    expect(sink.batches.length).toBeGreaterThan(4)
    await clock.pass(500)
    expect(saidBy(sink.lines)).toEqual(numbers(20))
  })

  test('tries again what could not be written, and says so once', async () => {
    const { clock, life, logged, push, sink, value } = begin()
    await life.ready()
    await clock.settle()
    sink.disk = refusal()
    push('info', 1)
    await clock.pass(500)
    expect(value()).toBe('resting')
    await clock.pass(5000)
    push('warn', 2)
    sink.disk = Promise.resolve()
    await clock.pass(5000)
    expect(saidBy(sink.lines)).toEqual([
      1,
      'the log cannot be written; it waits',
      2,
      'the log is written again',
    ])
    expect(logged.map(({ level, fields }) => [level, fields])).toEqual([
      ['warn', { code: 'ENOSPC', message: 'no space' }],
      ['info', { waiting: 2 }],
    ])
  })

  test('a disk that hangs costs no warning; what it does cost is told in one record', async () => {
    const { clock, dropped, life, lines, logged, push, sink } = begin()
    await life.ready()
    await clock.settle()
    const disk = Promise.withResolvers<void>()
    sink.disk = disk.promise
    push('warn', 'first')
    await clock.pass(500)
    for (let round = 0; round < 50; round += 1) {
      push('info', ...numbers(10))
      push('debug', 'd')
      push('warn', `w${round}`)
      push('error', `e${round}`)
    }
    await clock.pass(60_000)
    expect([sink.lines.length, lines.depth]).toEqual([0, 101])
    disk.resolve()
    await clock.pass(2000)
    const kept = sink.lines.map(({ level }) => level)
    expect(kept.filter((level) => level === 'error')).toHaveLength(50)
    // The one more is the record.
    expect(kept.filter((level) => level === 'warn')).toHaveLength(1 + 50 + 1)
    const counts = { info: count(dropped, 'info'), debug: count(dropped, 'debug') }
    expect(logged).toEqual([{ level: 'warn', fields: { dropped: counts }, message: 'log_dropped' }])
    expect(count(kept, 'info') + counts.info).toBe(500)
    expect(count(kept, 'debug') + counts.debug).toBe(50)
    expect(saidBy(sink.lines).at(-1)).toBe('log_dropped')
  })

  test('stopped, it writes all there is before it closes', async () => {
    const { clock, life, push, sink } = begin({ batchBytes: 100 })
    await life.ready()
    await clock.settle()
    push('info', ...numbers(15))
    await life.stop()
    expect(saidBy(sink.lines)).toEqual(numbers(15))
    expect(sink.asked).toEqual(['open', 'close'])
    expect(clock.armed).toBe(0)
  })

  test('stopped while it writes, it writes nothing twice', async () => {
    const { clock, life, push, sink } = begin()
    await life.ready()
    await clock.settle()
    const disk = Promise.withResolvers<void>()
    sink.disk = disk.promise
    push('info', 1)
    await clock.pass(500)
    push('info', 2)
    const stopped = life.stop()
    await clock.settle()
    disk.resolve()
    await stopped
    expect(saidBy(sink.lines)).toEqual([1, 2])
  })

  test.each([
    ['hangs', never],
    ['refuses', refusal],
  ])('stopped while the disk %s, it is over in 2 s and keeps the lines', async (_, disk) => {
    const { clock, life, lines, push, sink } = begin()
    await life.ready()
    await clock.settle()
    sink.disk = disk()
    push('warn', 1)
    const stopped = life.stop()
    await clock.pass(1999)
    expect(life.actor.getSnapshot().status).toBe('active')
    await clock.pass(1)
    await stopped
    expect([lines.depth > 0, life.errors]).toEqual([true, []])
  })
})

function count(levels: readonly LogLevel[], wanted: LogLevel): number {
  return levels.filter((level) => level === wanted).length
}
