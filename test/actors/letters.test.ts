import { afterEach, describe, expect, test } from 'bun:test'
import { anything, assert, property } from 'fast-check'
import { collector } from '../../actors/collector.ts'
import { type Envelope, resultsMailbox } from '../../actors/envelope.ts'
import {
  chainOf,
  crashNotes,
  isUnderstood,
  type LetterOptions,
  letterOfEnding,
  parkLetters,
  parkSchema,
  priorityIn,
  runnerNote,
} from '../../actors/letters.ts'
import type { Delivery, Message } from '../../actors/ports.ts'
import type { Ending } from '../../actors/settlement.ts'
import { testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { memoryWorld, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

/** Who keeps letters, and what was counted. */
function keeper(mailbox = 'work.job') {
  const world = memoryWorld()
  worlds.push(world)
  const counted: string[] = []
  const meter = { undelivered: (to: string, reason: string) => counted.push(`${to} ${reason}`) }
  const options: LetterOptions = { ...world, mailbox, node: 'n-1', meter }
  const kept = async () => (await world.letters.list({ limit: 100 })).items
  return { world, options, counted, kept }
}

const deliveryOf = (body: unknown, id = 'm-1'): Delivery => ({
  id,
  body,
  redeliveries: 0,
  signal: new AbortController().signal,
  notes: async () => ({}),
  note: async () => undefined,
})

const envelope: Envelope = {
  v: 1,
  run: 'r-1',
  mailbox: 'work.job',
  kind: 'job',
  priority: 'high',
  attempt: 1,
  readyAt: 0,
  seqs: [[7, 1]],
  tasks: [{ input: { n: 1 }, id: 'seven' }],
}

const endingOf = (code: string): Ending => ({
  seq: 7,
  task: { input: { n: 1 }, id: 'seven' },
  outcome: 'dead',
  startedAt: 5,
  durationMs: 0,
  execution: { outcome: 'failed', error: { code, message: 'it died' }, stage: 'terminal' },
  history: [],
  attempt: 1,
})

describe('the letter of a task that is dead', () => {
  test('has its whole line, why, where from, and who was lost', () => {
    const clock = testClock(5000)
    const by = { clock, node: 'n-1', worker: 'work.job' }
    const notes = {
      'kills:7': '1',
      ...crashNotes({ runner: runnerNote({ ...by, node: 'n-0' }) }, 7, 1),
      running: '7',
      runner: runnerNote(by),
    }
    const options = { mailbox: 'work.job', node: 'n-2', clock }
    expect(letterOfEnding(options, envelope, endingOf('POISON'), notes)).toEqual({
      id: 'r-1.7',
      at: clock.now(),
      mailbox: 'work.job',
      reason: 'poison',
      run: 'r-1',
      seq: 7,
      kind: 'job',
      error: { code: 'POISON', message: 'it died' },
      chain: [
        { at: clock.now(), node: 'n-0', worker: 'work.job' },
        { at: clock.now(), node: 'n-1', worker: 'work.job' },
      ],
      origin: { node: 'n-2', run: 'r-1' },
      task: { kind: 'job', priority: 'high', input: { n: 1 }, id: 'seven' },
    })
  })

  test.each([
    ['AT_MOST_ONCE', 'at-most-once'],
    ['POISON', 'poison'],
    ['WHATEVER', 'undeliverable'],
  ])('%s is %s', (code, reason) => {
    const options = { mailbox: 'work.job', node: 'n-2', clock: testClock() }
    expect(letterOfEnding(options, envelope, endingOf(code), {}).reason).toBe(reason as 'poison')
  })

  test('parked twice is one letter, and is not counted beside its settlement', async () => {
    const { options, counted, kept } = keeper()
    const letter = letterOfEnding(options, envelope, endingOf('POISON'), {})
    await parkLetters(options, [letter])
    await parkLetters(options, [letter])
    await parkLetters(options, [])
    expect((await kept()).map(({ id }) => id)).toEqual(['r-1.7'])
    expect(counted).toEqual([])
  })
})

describe('the chain of crashes', () => {
  test('is as long as the crashes, also where nobody noted who it was', () => {
    expect(chainOf({}, 7)).toEqual([])
    expect(chainOf({ 'kills:7': '2', 'kills:8': '5', running: '' }, 7)).toEqual([{}, {}])
    expect(chainOf({ 'kills:7': '1', running: '7' }, 7)).toEqual([{}, {}])
    expect(chainOf({ running: '8', runner: '{"node":"n-1"}' }, 7)).toEqual([])
  })

  test('of a task that must not run twice is the one that began it', () => {
    const note = runnerNote({ clock: testClock(9), node: 'n-1', worker: 'w' })
    expect(chainOf({ 'started:7': note }, 7)).toMatchObject([{ node: 'n-1', worker: 'w' }])
    expect(chainOf({ 'started:7': '1' }, 7)).toEqual([{}])
  })
})

describe('a message that is not understood', () => {
  test.each([
    ['of a newer version', { ...envelope, v: 2 }, 'schema', 'r-1'],
    ['of a newer version, in another shape', { v: 2, batch: [[1, 2]] }, 'schema', undefined],
    ['without a version', { run: 'r-9' }, 'schema', 'r-9'],
    ['that is no object', 'hello', 'schema', undefined],
    ['of this version that lacks what it must have', { v: 1, run: 'r-9' }, 'undeliverable', 'r-9'],
  ])('%s is kept whole', async (_, body, reason, run) => {
    const { world, options, counted, kept } = keeper()
    expect(await parkSchema(options, deliveryOf(body))).toBe(true)
    expect(await parkSchema(options, deliveryOf(body))).toBe(true)
    expect(counted).toEqual([`work.job ${reason}`])
    const [letter, ...others] = await kept()
    expect(others).toEqual([])
    expect(letter?.run).toBe(run)
    expect(letter).toMatchObject({ id: 'work.job/m-1', mailbox: 'work.job', reason })
    const [whole] = await world.letters.get(['work.job/m-1'])
    expect(whole?.message).toEqual({ id: 'm-1', body })
    expect(whole?.task).toBeUndefined()
  })

  test('of one name in two mailboxes is two letters', async () => {
    const { options, kept } = keeper()
    await parkSchema(options, deliveryOf({ v: 2 }))
    await parkSchema({ ...options, mailbox: resultsMailbox }, deliveryOf({ v: 2 }))
    expect((await kept()).map(({ id }) => id)).toEqual(['results/m-1', 'work.job/m-1'])
  })

  test('is the only kind that is kept', async () => {
    const { options, kept } = keeper()
    expect(await parkSchema(options, deliveryOf(envelope))).toBe(false)
    expect(await kept()).toEqual([])
    expect(isUnderstood(resultsMailbox, envelope)).toBe(false)
  })

  test('stays in its mailbox when it cannot be kept', async () => {
    const { options } = keeper()
    const letters = { put: () => Promise.reject(new Error('OOM')) }
    const parked = parkSchema({ ...options, letters }, deliveryOf({ v: 2 }))
    expect(await parked.catch(String)).toBe('Error: OOM')
  })

  test('can be anything', () => {
    assert(
      property(anything(), (body) => {
        expect(isUnderstood('work.job', body)).toBe(false)
        expect(['critical', 'high', 'normal', 'low']).toContain(priorityIn(body))
      }),
      { seed: 5, numRuns: 500 },
    )
  })
})

test('a collector keeps results of a newer version, and goes on with the others', async () => {
  const { world, kept } = keeper()
  const message = (id: string, body: unknown): Message => ({
    mailbox: resultsMailbox,
    id,
    priority: 'normal',
    delayMs: 0,
    body: body as Message['body'],
  })
  const times = { at: 1, startedAt: [0], durationMs: [1], queueMs: [0] }
  const results = { v: 1, run: 'r-1', mailbox: 'work.job', kind: 'job', attempt: 1 }
  const by = { node: 'n-1', worker: 'w', seqs: [[0, 1]], outcomes: '1', ...times }
  await world.accounting.open({ id: 'r-1', createdAt: 1, driver: 'test' })
  const chunk = { afterLine: 0, lines: 1, accepted: 1, rejected: [], spool: [] }
  await world.accounting.commit('r-1', chunk)
  await world.accounting.close('r-1')
  await world.mailboxes.send([
    message('newer', { ...results, ...by, v: 2, outcomes: ['ok'] }),
    message('known', { ...results, ...by }),
  ])
  const graceMs = () => 1000
  world.begin(collector({ ...world, node: 'n-1', batchMax: 5, hangMs: 30_000, graceMs }))
  await eventually(async () => {
    expect((await world.accounting.get('r-1'))?.run.counts.ok).toBe(1)
    expect(await world.mailboxes.depth(resultsMailbox)).toEqual({
      waiting: 0,
      active: 0,
      delayed: 0,
    })
  })
  expect(await kept()).toMatchObject([{ id: 'results/newer', reason: 'schema', run: 'r-1' }])
})
