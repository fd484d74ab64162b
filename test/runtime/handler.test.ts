import { describe, expect, test } from 'bun:test'
import { z } from 'zod'
import { TerminalError } from '../../actors/errors.ts'
import { defineTask, type TaskContext } from '../../actors/kind.ts'
import type { Execution, LogLevel } from '../../actors/ports.ts'
import type { Task } from '../../actors/task.ts'
import { handlerExecutor } from '../../runtime/execute/handler.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const limits = { timeoutMs: 5000, outputBytesMax: 1024, log: silent }

type Run = (input: unknown, context: TaskContext) => unknown

interface Asked {
  input?: z.ZodType
  task?: Task
  signal?: AbortSignal
  timeoutMs?: number
}

function start(run: Run, asked: Asked = {}): Execution | Promise<Execution> {
  const { input = z.unknown(), task = {}, timeoutMs } = asked
  const definition = defineTask({
    kind: 'tested',
    input,
    run,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  })
  const signal = asked.signal ?? new AbortController().signal
  const context = { run: 'r-1', seq: 7, kind: 'tested', attempt: 2, signal }
  return handlerExecutor(definition, limits).run(task, context)
}

const execute: (...words: Parameters<typeof start>) => Promise<Execution> = async (...words) =>
  start(...words)

/** A handler that never ends, unless it is told to. */
const untilAborted: Run = (_, { signal }) =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

function cycle(): object {
  const self: Record<string, unknown> = {}
  self['self'] = self
  return self
}

describe('what a handler gives back', () => {
  test.each([
    ['nothing', undefined],
    ['null', null],
    ['a number', 7],
    ['an object', { a: [1, 'b', null] }],
    ['an object with a field called then', JSON.parse('{"then":"no promise"}')],
    ['as much text as is kept', 'x'.repeat(1024)],
  ])('%s is its output', async (_what, output) => {
    const expected = output === undefined ? { outcome: 'ok' } : { outcome: 'ok', output }
    expect(await execute(() => output)).toEqual(expected as Execution)
    expect(await execute(async () => output)).toEqual(expected as Execution)
  })

  test('at once, when the handler gives it at once', () => {
    expect(start(() => 1)).not.toBeInstanceOf(Promise)
  })

  test.each<[string, () => unknown]>([
    ['a BigInt', () => 1n],
    ['a BigInt inside', () => ({ size: 1n })],
    ['a cycle', cycle],
    ['a function', () => () => 1],
    ['a symbol', () => Symbol('s')],
    [
      'what throws when it is written',
      () => ({
        toJSON: () => {
          throw new Error('no')
        },
      }),
    ],
    [
      'what throws something without text',
      () => ({
        toJSON: () => {
          throw Object.create(null)
        },
      }),
    ],
    ['more text than is kept', () => 'x'.repeat(1025)],
    ['more bytes than are kept', () => '検'.repeat(400)],
    ['a huge object', () => Array.from({ length: 100_000 }, (_, at) => ({ at }))],
  ])('%s is a fault that no other try would mend', async (_what, make) => {
    for (const run of [make, async () => make()]) {
      const { outcome, output, error, stage } = await execute(run)
      expect({ outcome, output, stage }).toEqual({
        outcome: 'failed',
        output: undefined,
        stage: 'terminal',
      })
      expect(error?.code).toBe('OUTPUT')
      expect(error?.message).toMatch(/its output (is not JSON: .|has \d+ bytes; at most 1024)/)
    }
  })
})

describe('what a handler throws', () => {
  const coded = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
  test.each<[string, unknown, { code: string; message: string }]>([
    ['an error', new RangeError('too far'), { code: 'RangeError', message: 'too far' }],
    ['an error with a code', coded, { code: 'ECONNREFUSED', message: 'refused' }],
    ['an error without text', new Error(), { code: 'Error', message: 'Error' }],
    ['text', 'just text', { code: 'Error', message: 'just text' }],
    ['null', null, { code: 'Error', message: 'null' }],
    ['undefined', undefined, { code: 'Error', message: 'undefined' }],
    ['a symbol', Symbol('s'), { code: 'Error', message: 'Symbol(s)' }],
    [
      'what has no text',
      Object.create(null),
      { code: 'Error', message: 'threw something that has no text' },
    ],
  ])('%s fails the attempt, at once or later', async (_what, thrown, error) => {
    const failed: Execution = { outcome: 'failed', error, stage: 'run' }
    const now = () => {
      throw thrown
    }
    expect(await execute(now)).toEqual(failed)
    expect(await execute(async () => now())).toEqual(failed)
  })

  test('a TerminalError ends the task, also one of another copy of the library', async () => {
    const foreign = Object.assign(new Error('gone'), { name: 'TerminalError', code: 'GONE' })
    for (const thrown of [new TerminalError('gone', { code: 'GONE' }), foreign]) {
      const execution = await execute(() => Promise.reject(thrown))
      expect(execution).toEqual({
        outcome: 'failed',
        error: { code: 'GONE', message: 'gone' },
        stage: 'terminal',
      })
    }
  })

  test('what its own checks throw is no fault of its input', async () => {
    const execution = await execute(() => z.string().parse(1))
    expect(execution).toMatchObject({
      outcome: 'failed',
      stage: 'run',
      error: { code: 'ZodError' },
    })
  })
})

describe('its input', () => {
  test('reaches it as its schema makes it', async () => {
    const input = z.object({ n: z.coerce.number(), word: z.string().default('none') })
    const execution = await execute((given) => given, { input, task: { input: { n: '5' } } })
    expect(execution).toEqual({ outcome: 'ok', output: { n: 5, word: 'none' } })
  })

  test('is {} when the task has none', async () => {
    expect(await execute((given) => given)).toEqual({ outcome: 'ok', output: {} })
  })

  test('that does not fit fails for good, and the handler is not run', async () => {
    let runs = 0
    const count = () => {
      runs += 1
    }
    const execution = await execute(count, { input: z.string(), task: { input: 5 } })
    expect(execution).toMatchObject({
      outcome: 'failed',
      stage: 'terminal',
      error: { code: 'INPUT' },
    })
    expect(runs).toBe(0)
  })
})

describe('its context', () => {
  test('tells run, seq and attempt, and logs', async () => {
    const levels: LogLevel[] = ['debug', 'info', 'warn', 'error']
    const execution = await execute((_, { run, seq, attempt, log, signal }) => {
      for (const level of levels) log[level]({}, 'said')
      return { run, seq, attempt, aborted: signal.aborted }
    })
    expect(execution.output).toEqual({ run: 'r-1', seq: 7, attempt: 2, aborted: false })
  })
})

describe('a time limit', () => {
  test.each<[string, Asked]>([
    ['of the task', { task: { timeoutMs: 20 }, timeoutMs: 60_000 }],
    ['of the definition', { timeoutMs: 20 }],
  ])('%s aborts what runs, and the attempt is a timeout', async (_whose, asked) => {
    const reason = Promise.withResolvers<unknown>()
    const watched: Run = (input, context) => {
      context.signal.addEventListener('abort', () => reason.resolve(context.signal.reason))
      return untilAborted(input, context)
    }
    const execution = await execute(watched, asked)
    const message = 'did not end within its limit of 20 ms'
    expect(execution).toEqual({
      outcome: 'timeout',
      error: { code: 'TIMEOUT', message },
      stage: 'run',
    })
    expect(await reason.promise).toHaveProperty('message', message)
  })

  test('ends the attempt even when the handler does not listen', async () => {
    const execution = await execute(() => new Promise(() => {}), { timeoutMs: 20 })
    expect(execution.outcome).toBe('timeout')
  })

  test('longer than a timer can hold is no limit of one millisecond', async () => {
    const slow: Run = () =>
      new Promise((resolve) => setImmediate(() => setImmediate(resolve, 'done')))
    const long = { timeoutMs: 2 ** 40 }
    expect(await execute(slow, long)).toEqual({ outcome: 'ok', output: 'done' })
  })

  test('that was kept leaves no timer behind', async () => {
    const { promise, resolve } = Promise.withResolvers<string>()
    let signal: AbortSignal | undefined
    const running = execute(
      (_, context) => {
        signal = context.signal
        return promise
      },
      { timeoutMs: 10 },
    )
    resolve('in time')
    expect(await running).toEqual({ outcome: 'ok', output: 'in time' })
    // A timer set later and for longer than the limit ends after it.
    await Promise.race([new Promise(() => {}), execute(untilAborted, { timeoutMs: 30 })])
    expect(signal?.aborted).toBe(false)
  })
})

describe('a task that is taken away', () => {
  test('is aborted while it runs', async () => {
    const controller = new AbortController()
    const running = execute(untilAborted, { signal: controller.signal })
    controller.abort()
    expect(await running).toMatchObject({ outcome: 'failed', error: { code: 'ABORTED' } })
  })

  test('before it ran is aborted at once', async () => {
    const execution = await execute(untilAborted, { signal: AbortSignal.abort() })
    expect(execution).toMatchObject({ outcome: 'failed', error: { code: 'ABORTED' } })
  })

  test('and fails afterwards fails unheard', async () => {
    const controller = new AbortController()
    const { promise, reject } = Promise.withResolvers<never>()
    const running = execute(() => promise, { signal: controller.signal })
    controller.abort()
    expect((await running).error?.code).toBe('ABORTED')
    reject(new Error('too late'))
  })
})
