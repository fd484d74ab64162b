/** The front of the log: what a record looks like, and that it is one line of JSON. */
import { describe, expect, test } from 'bun:test'
import { anything, assert, constantFrom, dictionary, oneof, property, string } from 'fast-check'
import type { LogLevel } from '../../actors/ports.ts'
import { pinoLog } from '../../runtime/log/pino.ts'

function begin(level: LogLevel = 'debug', thread = 'main') {
  const lines: { level: LogLevel; line: string }[] = []
  const log = pinoLog({ level, thread, write: (line, at) => lines.push({ level: at, line }) })
  const records = () => lines.map(({ line }) => JSON.parse(line) as Record<string, unknown>)
  return { lines, log, records }
}

describe('a log record', () => {
  test('has time, level, process, thread, logger, stream, its fields and its sentence', () => {
    const { log, records } = begin()
    const before = Date.now()
    log.info({ run: 'r-1', tasks: 7 }, 'something happened')
    const [record] = records()
    expect(record).toEqual({
      ts_ms: expect.any(Number),
      level: 'info',
      pid: process.pid,
      thread: 'main',
      logger: 'muster',
      stream: 'log',
      run: 'r-1',
      tasks: 7,
      msg: 'something happened',
    })
    expect(Number(record?.['ts_ms'])).toBeGreaterThanOrEqual(before)
    expect(Number(record?.['ts_ms'])).toBeLessThanOrEqual(Date.now())
  })

  test('is handed on with its level, none below the wanted one', () => {
    const { lines, log } = begin('info')
    for (const level of ['debug', 'info', 'warn', 'error'] as const) log[level]({}, level)
    expect(lines.map(({ level }) => level)).toEqual(['info', 'warn', 'error'])
  })

  test('has the stack of an error and of its causes as exc', () => {
    const { log, records } = begin()
    const cause = new TypeError('the cause')
    log.warn({ name: 'x', error: new Error('it broke', { cause }) }, 'broken')
    const [record] = records()
    expect(record).toMatchObject({ name: 'x', error: 'it broke', msg: 'broken' })
    expect(record?.['exc']).toContain('Error: it broke')
    expect(record?.['exc']).toContain('caused by: TypeError: the cause')
  })

  test('may be of another logger and stream', () => {
    const { log, records } = begin('debug', 'process-1')
    log.info({ logger: 'greet', stream: 'task', a: 1 }, 'said')
    expect(records()[0]).toMatchObject({
      thread: 'process-1',
      logger: 'greet',
      stream: 'task',
      a: 1,
    })
  })

  test('has no key twice: a field of a taken name steps aside', () => {
    const { lines, log, records } = begin()
    log.info({ pid: 1, level: 'x', msg: 'm', ts_ms: 2, thread: 't', logger: 3 }, 'kept')
    expect(records()[0]).toMatchObject({
      pid: process.pid,
      pid_: 1,
      level: 'info',
      level_: 'x',
      msg: 'kept',
      msg_: 'm',
      ts_ms_: 2,
      thread: 'main',
      thread_: 't',
      logger: 'muster',
      logger_: 3,
    })
    const keys = [...(lines[0]?.line ?? '').matchAll(/"(\w+)":/g)].map(([, key]) => key)
    expect(new Set(keys).size).toBe(keys.length)
  })

  test('is one line of valid JSON, whatever is logged', () => {
    const names = oneof(string(), constantFrom('pid', 'msg', 'logger', 'stream', 'exc', 'err'))
    const values = anything({ withBigInt: true, withDate: true, withMap: true })
    assert(
      property(dictionary(names, values), string({ unit: 'binary' }), (fields, message) => {
        const { lines, log } = begin()
        log.warn(fields, message)
        expect(lines).toHaveLength(1)
        const line = lines[0]?.line ?? ''
        expect(line.indexOf('\n')).toBe(line.length - 1)
        expect(JSON.parse(line)).toMatchObject({ level: 'warn', pid: process.pid })
      }),
    )
  })

  test('can be made of fields that refer to themselves', () => {
    const { log, records } = begin()
    const self: Record<string, unknown> = {}
    self['self'] = self
    log.info({ self }, 'round')
    expect(records()[0]).toMatchObject({ msg: 'round' })
  })
})
