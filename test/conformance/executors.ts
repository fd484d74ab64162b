/** What every executor keeps, whatever it runs and wherever. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { ExecuteContext, Execution, Executor } from '../../actors/ports.ts'

export interface ExecutorUnderTest {
  name: string
  executor: Executor
  /** An input whose output, through `told`, is this word. */
  says(word: string): unknown
  told(execution: Execution): unknown
  /** An input that runs and says no, and the code of the error. */
  refuses: { input: unknown; code: string }
  /** An input that takes a minute at least, and can be ended. */
  lasts: unknown
  /** What no schema of the kind lets pass. */
  unfit: unknown
}

const contextOf = (seq: number, signal = new AbortController().signal): ExecuteContext => ({
  run: 'r-conformance',
  seq,
  kind: 'any',
  attempt: 1,
  signal,
})

export function executorSuite(subject: () => ExecutorUnderTest, name: string): void {
  describe(`${name} as an executor`, () => {
    let it: ExecutorUnderTest
    const run = async (input: unknown, timeoutMs?: number, context = contextOf(0)) =>
      it.executor.run({ input, ...(timeoutMs === undefined ? {} : { timeoutMs }) }, context)

    beforeAll(async () => {
      it = subject()
      await it.executor.start()
    })
    afterAll(() => it.executor.stop())

    test('says ok of work that went well, with its output', async () => {
      const execution = await run(it.says('word'))
      expect([execution.outcome, execution.error, it.told(execution)]).toEqual([
        'ok',
        undefined,
        'word',
      ])
    })

    test('says failed of work that said no, and that it ran', async () => {
      const { outcome, stage, error } = await run(it.refuses.input)
      expect([outcome, stage, error?.code]).toEqual(['failed', 'run', it.refuses.code])
      expect(error?.message).not.toBe('')
    })

    test('says of an input that does not fit that trying again is useless', async () => {
      const { outcome, stage, error } = await run(it.unfit)
      expect([outcome, stage, error?.code]).toEqual(['failed', 'terminal', 'INPUT'])
    })

    test('ends work whose time is up, and says timeout', async () => {
      const began = performance.now()
      const { outcome, stage, error } = await run(it.lasts, 300)
      expect([outcome, stage, error?.code]).toEqual(['timeout', 'run', 'TIMEOUT'])
      expect(performance.now() - began).toBeLessThan(10_000)
    })

    test('ends work that is not wanted any more', async () => {
      const cancel = new AbortController()
      const running = run(it.lasts, 60_000, contextOf(1, cancel.signal))
      // Whatever runs beside it from its start to its end gives it the time to begin.
      await run(it.says('beside'))
      cancel.abort()
      const { outcome, error } = await running
      expect([outcome, error?.code]).toEqual(['failed', 'ABORTED'])
    })

    test('does not go on with work that was not wanted before it began', async () => {
      const { outcome, error } = await run(it.lasts, 60_000, contextOf(2, AbortSignal.abort()))
      expect([outcome, error?.code]).toEqual(['failed', 'ABORTED'])
    })

    test('keeps apart what runs at a time', async () => {
      const words = Array.from({ length: 24 }, (_, index) => `word-${index}`)
      const all = await Promise.all(
        words.map((word, seq) => run(it.says(word), 60_000, contextOf(seq))),
      )
      expect(all.map((execution) => it.told(execution))).toEqual(words)
    })

    test('can be stopped twice and started again', async () => {
      await it.executor.stop()
      await it.executor.stop()
      await it.executor.start()
      await it.executor.start()
      expect(it.told(await run(it.says('again')))).toBe('again')
    })

    test('writes results that are JSON', async () => {
      for (const input of [it.says('x'), it.refuses.input]) {
        const execution = await run(input)
        expect(JSON.parse(JSON.stringify(execution))).toEqual(execution)
      }
    })
  })
}
