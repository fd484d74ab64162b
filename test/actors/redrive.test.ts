import { afterEach, expect, test } from 'bun:test'
import type { Dispatcher } from '../../actors/dispatcher.ts'
import type { Envelope } from '../../actors/envelope.ts'
import { NotAcceptingError, UnavailableError } from '../../actors/errors.ts'
import type { NewLetter } from '../../actors/ports-letters.ts'
import { redrive, redrivesMax } from '../../actors/redrive.ts'
import { letterOf, messageLetter } from '../conformance/letters.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher } from './feed.ts'
import { memoryWorld, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

async function scene(letters: readonly NewLetter[]) {
  const world = memoryWorld()
  worlds.push(world)
  await world.letters.put(letters)
  const dispatcher = beginDispatcher(world)
  await dispatcher.ready()
  const options = { ...world, dispatcher }
  const envelopes: Envelope[] = []
  await world.mailboxes.receive(
    'work.job',
    { concurrency: 1, ordered: false },
    async (delivery) => {
      envelopes.push(delivery.body as Envelope)
    },
  )
  const heads = async () => {
    const { items } = await world.letters.list({ limit: 100 })
    return Object.fromEntries(items.map(({ id, ...head }) => [id, head]))
  }
  return { world, options, envelopes, heads }
}

const failureOf = (error: unknown) => error

const runOf = async (world: World, id = '') => (await world.accounting.get(id))?.run

test('dead tasks run again in a new run for each of their old ones', async () => {
  const { world, options, envelopes, heads } = await scene([
    letterOf('r-1', 4),
    letterOf('r-2', 0),
    letterOf('r-1', 3, { reason: 'at-most-once' }),
  ])
  const ids = ['r-1.4', 'r-2.0', 'r-1.3']
  const done = await redrive(options, { ids }, 'the disk is back')
  expect(done.refused).toEqual([])
  const [first = '', second = ''] = [...new Set(done.redriven.map(({ run }) => run ?? ''))]
  expect(done).toEqual({
    redriven: [
      { id: 'r-1.3', run: first },
      { id: 'r-1.4', run: first },
      { id: 'r-2.0', run: second },
    ],
    refused: [],
  })
  const reason = 'the disk is back'
  expect(await runOf(world, first)).toMatchObject({ total: 2, parent: 'r-1', reason })
  expect(await runOf(world, second)).toMatchObject({ total: 1, parent: 'r-2', reason })
  await eventually(() => expect(envelopes.length).toBe(2))
  const tasks = envelopes.find(({ run }) => run === first)?.tasks
  // In the order they had in their run.
  expect(tasks?.map(({ id }) => id)).toEqual(['t-3', 't-4'])
  expect(await heads()).toMatchObject({
    'r-1.3': { state: 'redriven', redrives: 1, redrivenAs: [first] },
    'r-2.0': { state: 'redriven', redrives: 1, redrivenAs: [second] },
  })
})

test('what they waited for counts no more; everything else is as it was', async () => {
  const task = {
    kind: 'job',
    priority: 'high',
    input: { n: 1 },
    target: 'web001',
    labels: { a: 'b' },
    delivery: 'at-most-once',
    timeoutMs: 5,
  } as const
  const waited = { dependsOn: ['k-0'], delayMs: 60_000, dedupeKey: 'k', dedupeTtlMs: 1000 }
  const { options, envelopes } = await scene([letterOf('r-1', 0, { task: { ...task, ...waited } })])
  await redrive(options, { ids: ['r-1.0'] }, 'again')
  await eventually(() => expect(envelopes.length).toBe(1))
  const { kind, priority, ...rest } = task
  expect(envelopes[0]).toMatchObject({ kind, priority })
  expect(envelopes[0]?.tasks).toEqual([rest])
})

test('a letter is redriven three times, and then refused with the reason', async () => {
  const { options } = await scene([letterOf('r-1', 0)])
  for (let time = 0; time < redrivesMax; time += 1) {
    const { redriven } = await redrive(options, { ids: ['r-1.0', 'r-1.0'] }, 'again')
    expect(redriven.length).toBe(1)
  }
  const refused = [{ id: 'r-1.0', code: 'REDRIVEN_OFTEN', message: expect.any(String) }]
  const last = await redrive(options, { ids: ['r-1.0'] }, 'again')
  expect(last).toEqual({ redriven: [], refused })
  expect(last.refused[0]?.message).toContain('redriven 3 times')
})

test('a task that dies in its redrive goes on counting, before it can be put', async () => {
  const { world, options, envelopes } = await scene([letterOf('r-1', 0)])
  let id = 'r-1.0'
  for (let time = 1; time <= redrivesMax; time += 1) {
    const { redriven } = await redrive(options, { ids: [id] }, 'again')
    const run = redriven[0]?.run ?? ''
    await eventually(() => expect(envelopes.length).toBe(time))
    await world.letters.put([letterOf(run, 0)])
    const [letter] = await world.letters.get([`${run}.0`])
    expect(letter).toMatchObject({ state: 'open', redrives: time, redriveOf: id })
    id = `${run}.0`
  }
  expect((await redrive(options, { ids: [id] }, 'again')).refused).toMatchObject([
    { id, code: 'REDRIVEN_OFTEN' },
  ])
  // Those that stand for a later one do not come again by a filter; the worn one is told.
  expect(await redrive(options, { filter: {} }, 'again')).toMatchObject({
    redriven: [],
    refused: [{ id, code: 'REDRIVEN_OFTEN' }],
  })
})

test('a filter takes all that fit, and what was redriven only by its id', async () => {
  const many = Array.from({ length: 1200 }, (_, seq) => letterOf('r-1', seq))
  const { world, options } = await scene([...many, letterOf('r-2', 0, { kind: 'other' })])
  await redrive(options, { ids: ['r-1.5'] }, 'again')
  const { redriven, refused, more } = await redrive(options, { filter: { kind: 'job' } }, 'all')
  expect([redriven.length, refused, more]).toEqual([1199, [], undefined])
  const [run, ...others] = new Set(redriven.map((each) => each.run))
  expect(others).toEqual([])
  expect(await runOf(world, run)).toMatchObject({ total: 1199, parent: 'r-1' })
  expect((await redrive(options, { filter: { kind: 'job' } }, 'all')).redriven).toEqual([])
  expect((await redrive(options, { ids: ['r-1.5'] }, 'again')).redriven.length).toBe(1)
})

test('a message goes back to its mailbox once it is understood, and not before', async () => {
  const known: Envelope = {
    v: 1,
    run: 'r-1',
    mailbox: 'work.job',
    kind: 'job',
    priority: 'low',
    attempt: 1,
    readyAt: 0,
    seqs: [[0, 1]],
    tasks: [{}],
  }
  const { world, options, envelopes, heads } = await scene([
    messageLetter('newer'),
    messageLetter('known', { message: { id: 'known', body: known } }),
  ])
  const ids = ['work.job/newer', 'work.job/known']
  expect(await redrive(options, { ids }, 'upgraded')).toEqual({
    redriven: [{ id: 'work.job/known', mailbox: 'work.job' }],
    refused: [{ id: 'work.job/newer', code: 'ENVELOPE_VERSION', message: expect.any(String) }],
  })
  await eventually(() => expect(envelopes).toEqual([known]))
  expect(await heads()).toMatchObject({
    'work.job/newer': { state: 'open', redrives: 0 },
    'work.job/known': { state: 'redriven', redrives: 1 },
  })
  expect((await redrive(options, { ids: ['work.job/known'] }, 'again')).refused).toMatchObject([
    { code: 'REDRIVEN' },
  ])
  // A node that does not know it was quicker.
  await world.letters.put([messageLetter('known')])
  expect((await redrive(options, { filter: {} }, 'again')).redriven.length).toBe(1)
  await eventually(() => expect(envelopes.length).toBe(2))
})

test('what nobody knows is refused', async () => {
  const { options } = await scene([])
  expect(await redrive(options, { ids: ['r-9.9'] }, 'again')).toEqual({
    redriven: [],
    refused: [{ id: 'r-9.9', code: 'NOT_FOUND', message: expect.any(String) }],
  })
})

test('a redrive that is not accepted is not counted', async () => {
  const draining = new NotAcceptingError('draining', 'this node is draining', 5000)
  const dispatcher = { submit: () => Promise.reject(draining) }
  for (const each of [undefined, dispatcher]) {
    const { options, heads } = await scene([letterOf('r-1', 0)])
    const refused = redrive({ ...options, dispatcher: each }, { ids: ['r-1.0'] }, 'again')
    expect(await refused.catch(failureOf)).toBeInstanceOf(NotAcceptingError)
    expect(await heads()).toMatchObject({ 'r-1.0': { state: 'open', redrives: 0 } })
  }
})

test('one that breaks off goes on with the same run when it is asked for again', async () => {
  const letters = Array.from({ length: 3 }, (_, seq) => letterOf('r-1', seq))
  const { options, heads, world } = await scene(letters)
  const runs: string[] = []
  const breaking: Pick<Dispatcher, 'submit'> = {
    async submit(submission) {
      const submitted = await options.dispatcher.submit({
        ...submission,
        // Its source ends too early, as that of a node that is killed.
        source: () => {
          throw new UnavailableError('killed')
        },
        onOpen: (run, resumed) => {
          runs.push(run)
          submission.onOpen?.(run, resumed)
        },
      })
      return submitted
    },
  }
  const wanted = { filter: { run: 'r-1' } }
  const broken = redrive({ ...options, dispatcher: breaking }, wanted, 'again')
  expect(await broken.catch(failureOf)).toBeInstanceOf(Error)
  expect(await heads()).toMatchObject({ 'r-1.0': { state: 'open', redrives: 1 } })
  const { redriven } = await redrive(options, wanted, 'again')
  expect(redriven.map(({ run }) => run)).toEqual([runs[0], runs[0], runs[0]] as string[])
  expect(await runOf(world, runs[0])).toMatchObject({ total: 3, parent: 'r-1' })
})
