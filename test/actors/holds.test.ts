import { describe, expect, test } from 'bun:test'
import { aborts, Holds, isStopped } from '../../actors/holds.ts'
import type { Hold, RunNotice } from '../../actors/ports-runs.ts'
import { memoryWorld } from './world.ts'

/** Accounts whose answers come when the test says, with what held then. */
function slowAccounts() {
  const listeners: ((notice: RunNotice | undefined) => void)[] = []
  const questions: PromiseWithResolvers<Map<string, Hold>>[] = []
  const { log, logged } = memoryWorld()
  return {
    log,
    logged,
    questions,
    accounting: {
      async watch(listener: (notice: RunNotice | undefined) => void) {
        listeners.push(listener)
        return async () => undefined
      },
      holds() {
        const question = Promise.withResolvers<Map<string, Hold>>()
        questions.push(question)
        return question.promise
      },
    },
    tell(notice: Partial<RunNotice> | undefined) {
      const whole: RunNotice | undefined =
        notice === undefined ? undefined : { run: 'r-1', done: 0, state: 'running', ...notice }
      for (const listener of listeners) listener(whole)
    },
    async answer(holds: Record<string, Hold> = {}) {
      questions.shift()?.resolve(new Map(Object.entries(holds)))
      await Promise.resolve()
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

async function opened(before: Record<string, Hold> = {}) {
  const accounts = slowAccounts()
  const holds = new Holds(accounts)
  const opening = holds.open()
  await new Promise((resolve) => setImmediate(resolve))
  await accounts.answer(before)
  await opening
  return { ...accounts, holds }
}

describe('what holds runs back', () => {
  test('is known when it is opened, and asked for once', async () => {
    const { holds, questions } = await opened({ 'r-1': 'paused', 'r-2': 'cancelled' })
    expect([holds.of('r-1'), holds.of('r-2'), holds.of('r-3')]).toEqual([
      'paused',
      'cancelled',
      undefined,
    ])
    await holds.open()
    expect(questions).toEqual([])
  })

  test('changes with every notice, and whoever listens is told of changes alone', async () => {
    const { holds, tell } = await opened()
    const heard: (Hold | undefined)[] = []
    const unlisten = holds.listen('r-1', (hold) => heard.push(hold))
    tell({ hold: 'paused' })
    tell({ hold: 'paused', done: 3 })
    tell({ run: 'r-2', hold: 'cancelled' })
    tell({})
    tell({ hold: 'halted-soon' })
    unlisten()
    tell({})
    expect(heard).toEqual(['paused', undefined, 'halted-soon'])
    expect([holds.of('r-1'), holds.of('r-2')]).toEqual([undefined, 'cancelled'])
  })

  test('is forgotten with the end of a run', async () => {
    const { holds, tell } = await opened({ 'r-1': 'cancelled' })
    tell({ hold: 'cancelled', state: 'cancelled' })
    expect(holds.of('r-1')).toBeUndefined()
  })

  test('is asked for anew where notices may be lost', async () => {
    const { holds, tell, answer } = await opened({ 'r-1': 'paused', 'r-2': 'paused' })
    const heard: (Hold | undefined)[] = []
    holds.listen('r-1', (hold) => heard.push(hold))
    tell(undefined)
    await answer({ 'r-2': 'paused', 'r-3': 'halted-now' })
    expect(heard).toEqual([undefined])
    expect(['r-1', 'r-2', 'r-3'].map((run) => holds.of(run))).toEqual([
      undefined,
      'paused',
      'halted-now',
    ])
  })

  test('is what the last notice said, though an older answer comes after it', async () => {
    const { holds, tell, answer } = await opened({ 'r-1': 'paused' })
    tell(undefined)
    // Said after the question was answered, and heard before.
    tell({})
    tell({ run: 'r-2', hold: 'cancelled' })
    await answer({ 'r-1': 'paused' })
    expect([holds.of('r-1'), holds.of('r-2')]).toEqual([undefined, 'cancelled'])
  })

  test('is the answer to the last question, whichever comes first', async () => {
    const { holds, tell, questions } = await opened()
    tell(undefined)
    const looking = holds.look()
    const [first, second] = questions
    second?.resolve(new Map([['r-1', 'paused']]))
    await looking
    expect(holds.of('r-1')).toBe('paused')
    first?.resolve(new Map([['r-1', 'cancelled']]))
    await new Promise((resolve) => setImmediate(resolve))
    expect(holds.of('r-1')).toBe('paused')
  })

  test('is not taken for known by who opens it while another does', async () => {
    const accounts = slowAccounts()
    const holds = new Holds(accounts)
    let known = 0
    for (const _ of [1, 2]) void holds.open().then(() => (known += 1))
    await new Promise((resolve) => setImmediate(resolve))
    expect([known, accounts.questions.length]).toEqual([0, 1])
    await accounts.answer({ 'r-1': 'paused' })
    expect(known).toBe(2)
  })

  test('is asked for again by the next who opens it, when the first was refused', async () => {
    const accounts = slowAccounts()
    const holds = new Holds(accounts)
    const refused = holds.open().catch(String)
    await new Promise((resolve) => setImmediate(resolve))
    accounts.questions.shift()?.reject(new Error('Redis is away'))
    expect(await refused).toBe('Error: Redis is away')
    const opening = holds.open()
    await new Promise((resolve) => setImmediate(resolve))
    await accounts.answer({ 'r-1': 'paused' })
    await opening
    expect(holds.of('r-1')).toBe('paused')
  })
})

test.each<[Hold | 'nothing', boolean, boolean]>([
  ['nothing', false, false],
  ['paused', false, false],
  ['halted-soon', true, false],
  ['halted-now', true, true],
  ['cancelled', true, true],
])('%s: is it stopped for good, does it abort what runs', (word, stopped, aborted) => {
  const hold = word === 'nothing' ? undefined : word
  expect([isStopped(hold), aborts(hold)]).toEqual([stopped, aborted])
})
