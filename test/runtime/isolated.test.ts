/** Handlers in threads and processes of their own: what they do there costs only their own task. */
import { afterAll, describe, expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { FencedError, UsageError } from '../../actors/errors.ts'
import { defineTask } from '../../actors/kind.ts'
import type { Execution, Executor, Log } from '../../actors/ports.ts'
import type { Fence } from '../../actors/ports-fleet.ts'
import { loadConfig } from '../../config/load.ts'
import { kindsOf } from '../../runtime/kinds.ts'
import { readTasksFile } from '../../runtime/tasks-file.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import type { Doing } from '../kit/handlers.tasks.ts'
import { contextOf, silent } from './command-runner.ts'

const { config } = loadConfig({ fileValues: {}, fileName: 'test', env: {} })
const worker = { ...config.worker, handlerMemoryMax: 400 * 2 ** 20 }
const file = fileURLToPath(new URL('../kit/handlers.tasks.ts', import.meta.url))
const { tasks } = await readTasksFile(file)
const lines: unknown[] = []
const log: Log = { ...silent, warn: (fields, message) => lines.push([fields, message]) }
const kinds = kindsOf(tasks, worker, log)
const isLinux = process.platform === 'linux'
if (!isLinux) console.log('skipped: the memory of a process is looked up in /proc, on Linux')
afterAll(async () => {
  for (const { executor } of kinds.values()) await executor.stop()
})

function executorOf(place: string): Executor {
  const kind = kinds.get(`kit.${place}`)
  if (kind === undefined) throw new Error(`expected a kind kit.${place}`)
  return kind.executor
}

const run = async (place: string, does: Doing, timeoutMs = 20_000, fence?: Fence) =>
  executorOf(place).run(
    { input: { does, value: 1 }, timeoutMs },
    { ...contextOf(), ...(fence === undefined ? {} : { fence }) },
  )

/** That the next one is none the worse. */
async function goesOn(place: string): Promise<void> {
  expect((await run(place, 'echo')).outcome).toBe('ok')
}

for (const place of ['thread', 'process']) {
  describe(`a handler in a ${place} of its own`, () => {
    const died = ({ outcome, stage, error }: Execution) => {
      expect([outcome, stage, error?.code]).toEqual(['failed', 'run', 'HANDLER_DIED'])
      expect(error?.message).toStartWith(`its ${place} came to an end under it: `)
    }

    test('that hangs is ended, and is a timeout', async () => {
      const began = performance.now()
      const { outcome, error } = await run(place, 'hang', 200)
      expect([outcome, error?.code]).toEqual(['timeout', 'TIMEOUT'])
      expect(error?.message).toContain(`ended with its ${place}`)
      expect(performance.now() - began).toBeLessThan(15_000)
      await goesOn(place)
    })

    test('that exits costs its own task alone', async () => {
      const beside = run(place, 'wait', 1500)
      died(await run(place, 'exit'))
      expect((await beside).outcome).toBe('timeout')
      await goesOn(place)
    })

    test('that throws where nobody waits for it costs its own task alone', async () => {
      died(await run(place, 'crash later'))
      await goesOn(place)
    })

    test('that does not heed its signal is ended all the same', async () => {
      const cancel = new AbortController()
      const context = { ...contextOf(), signal: cancel.signal }
      const running = executorOf(place).run({ input: { does: 'sulk' } }, context)
      cancel.abort()
      expect((await running).error?.code).toBe('ABORTED')
      await goesOn(place)
    })

    test('that is told to end while it starts does not have all its time', async () => {
      for (const afterMs of [0, 1, 5, 20, 50]) {
        const cancel = new AbortController()
        const task = { input: { does: 'hang', value: 1 }, timeoutMs: 30_000 }
        const began = performance.now()
        const running = executorOf(place).run(task, contextOf(cancel.signal))
        setTimeout(() => cancel.abort(), afterMs)
        const { outcome, error } = await running
        expect([outcome, error?.code]).toEqual(['failed', 'ABORTED'])
        expect(performance.now() - began).toBeLessThan(15_000)
      }
      await goesOn(place)
    })

    test('that throws a TerminalError is not tried again', async () => {
      expect((await run(place, 'give up')).stage).toBe('terminal')
    })

    test('logs through its node, and knows which task it is', async () => {
      lines.length = 0
      const { output } = await run(place, 'log')
      expect(output).toEqual({ run: 'r-test', seq: 7, attempt: 1 })
      await eventually(() => expect(lines).toHaveLength(1))
      expect(lines[0]).toMatchObject([
        { logger: `kit.${place}`, n: 1, error: { message: 'inner' } },
        'a line',
      ])
    })

    test('asks its fence, and is refused by it, as if it were at home', async () => {
      const kept = new Map<string, string>()
      const fence: Fence = {
        lease: 'l',
        epoch: 5,
        assert: () => undefined,
        put: async (key, value) => void kept.set(key, value),
        get: async (key) => kept.get(key),
        check: () => Promise.reject(new FencedError('l', 5, 'there is a newer one')),
      }
      const { output } = await run(place, 'fence', 20_000, fence)
      expect(output).toEqual({ read: 'v', refusal: 'FENCED', asserted: true, epoch: 5 })
    })
  })
}

describe('a process of a handler', () => {
  test('is another one than that of the node, and is used again', async () => {
    const first = (await run('process', 'pid')).output
    expect(first).not.toBe(process.pid)
    expect((await run('process', 'pid')).output).toBe(first)
  })

  test.skipIf(!isLinux)('that takes too much memory is ended', async () => {
    const { outcome, error } = await run('process', 'grow')
    expect([outcome, error?.code]).toEqual(['failed', 'HANDLER_DIED'])
    expect(error?.message).toMatch(/bytes of memory; worker.handlerMemoryMax is|SIGKILL/)
    await goesOn('process')
  })
})

describe('setup and teardown', () => {
  test.each(['inline', 'thread', 'process'])('are called once each (%s)', async (place) => {
    const path = join(temporaryDirectory(), 'diary')
    process.env['MUSTER_TEST_DIARY'] = path
    const own = kindsOf(tasks, worker, silent).get(`kit.${place}`)?.executor
    await own?.start()
    for (const value of [1, 2, 3]) {
      expect(await own?.run({ input: { does: 'echo', value } }, contextOf())).toMatchObject({
        outcome: 'ok',
        output: value,
      })
    }
    await own?.stop()
    delete process.env['MUSTER_TEST_DIARY']
    await eventually(() => expect(existsSync(path)).toBe(true))
    await eventually(() => expect(readFileSync(path, 'utf8')).toBe(`${place} up\n${place} down\n`))
  })

  test('as long as setup throws, tasks fail and are tried again', async () => {
    let tries = 0
    const shy = defineTask({
      kind: 'shy',
      input: z.unknown(),
      setup() {
        tries += 1
        if (tries === 1) throw new Error('not yet')
      },
      run: () => 'ran',
    })
    const executor = kindsOf([shy], worker, silent).get('shy')?.executor
    const first = await executor?.run({}, contextOf())
    expect([first?.outcome, first?.stage, first?.error?.message]).toEqual([
      'failed',
      'start',
      'setup: not yet',
    ])
    expect(await executor?.run({}, contextOf())).toEqual({ outcome: 'ok', output: 'ran' })
  })
})

describe('where a handler runs', () => {
  test('a kind that comes from no file runs inline, and the log says so', () => {
    lines.length = 0
    const made = defineTask({ kind: 'made', input: z.unknown(), profile: 'cpu', run() {} })
    kindsOf([made], worker, log)
    expect(lines).toEqual([
      [{ kind: 'made', executor: 'thread' }, expect.stringContaining('runs inline')],
    ])
  })

  test('one that asks for inline is left there without a word', () => {
    lines.length = 0
    const input = z.unknown()
    kindsOf(
      [defineTask({ kind: 'm', input, profile: 'cpu', executor: 'inline', run() {} })],
      worker,
      log,
    )
    expect(lines).toEqual([])
  })

  test('another place than the three is refused', () => {
    const bad = { kind: 'b', input: z.unknown(), executor: 'moon' as 'inline', run() {} }
    expect(() => defineTask(bad)).toThrow(UsageError)
    expect(() => defineTask(bad)).toThrow('executor: expected one of inline, thread, process, got')
  })
})
