import { afterEach, describe, expect, test } from 'bun:test'
import { NotAcceptingError } from '../../actors/errors.ts'
import type { Message } from '../../actors/ports.ts'
import { testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, countTo, drain, sourceOf, tap } from './feed.ts'
import { finished, memoryWorld, taskOf, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(clock?: Parameters<typeof memoryWorld>[0]): World {
  const world = memoryWorld(clock)
  worlds.push(world)
  return world
}

const jobs = (count: number) => Array.from({ length: count }, () => taskOf('job'))
const waiting = async (world: World) => (await world.mailboxes.depth('work.job')).waiting

describe('a dispatcher', () => {
  test('puts what finds its turn straight into the mailboxes', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const { run, resumed } = await it.submit({ source: sourceOf(jobs(23)), reason: 'audit' })
    expect([run.total, run.state, run.reason, resumed]).toEqual([23, 'running', 'audit', false])
    const { envelopes, seqs } = await drain(world, 'work.job', 'at once')
    const over = await finished(world, run.id)
    expect(over.counts.ok).toBe(23)
    expect(seqs()).toEqual(countTo(23))
    expect(envelopes.map(({ tasks }) => tasks.length)).toEqual([5, 5, 5, 5, 3])
    expect(await world.admission.used('work.job')).toBe(0)
  })

  test('names the run before it reads its source', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const feed = tap()
    const names: string[] = []
    const submitted = it.submit({ source: feed.source, onOpen: (run) => names.push(run) })
    await eventually(() => expect(names).toHaveLength(1))
    feed.end()
    expect((await submitted).run.id).toBe(names[0] ?? '')
  })

  test('a run without tasks is complete at once', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const { run } = await it.submit({ source: sourceOf([]) })
    expect([run.state, run.total]).toEqual(['completed', 0])
  })

  test('rejected lines are kept with the run, and the good ones are taken', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const rejection = { line: 1, path: 'kind', message: 'expected a known kind' }
    const { run } = await it.submit({
      source: async function* () {
        yield {
          lines: 2,
          read: [
            { line: 1, bytes: 9, rejection },
            { line: 2, bytes: 9, accepted: taskOf('job') },
          ],
        }
      },
    })
    expect([run.total, run.rejectedCount, run.rejected]).toEqual([1, 1, [rejection]])
    expect(await waiting(world)).toBe(1)
  })

  test('gives out what its tokens allow, and the rest as they come', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const it = beginDispatcher(world, { rate: 10, burst: 5 }, clock.timers)
    await it.ready()
    const submitted = it.submit({ source: sourceOf(jobs(15)) })
    await clock.pass(5)
    await submitted
    expect(await waiting(world)).toBe(1)
    await clock.pass(494)
    expect(await waiting(world)).toBe(1)
    await clock.pass(1)
    expect(await waiting(world)).toBe(2)
    await clock.pass(500)
    expect(await waiting(world)).toBe(3)
  })

  test('runs share the turns in the order in which they ask', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const it = beginDispatcher(world, { inFlightMax: 5 }, clock.timers)
    await it.ready()
    const other = await drain(world, 'work.job', 'when told')
    const large = it.submit({ source: sourceOf(jobs(50), 50) })
    await clock.pass(10)
    const small = it.submit({ source: sourceOf(jobs(5)) })
    await clock.pass(10)
    const [{ run: first }, { run: second }] = await Promise.all([large, small])
    for (let round = 0; round < 3; round += 1) {
      await other.complete()
      await clock.settle()
    }
    expect(other.envelopes.map(({ run }) => run)).toContain(second.id)
    expect(other.envelopes.length).toBe(4)
    expect(other.envelopes.filter(({ run }) => run === first.id).length).toBe(3)
  })
})

describe('a full dispatcher', () => {
  test('refuses a run beyond its limit of live runs', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { runsMax: 1 })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(1)) })
    const refusal = await it.submit({ source: sourceOf(jobs(1)) }).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(NotAcceptingError)
    expect(refusal).toMatchObject({ reason: 'full', code: 'NOT_ACCEPTING_FULL' })
    await drain(world, 'work.job', 'at once')
    await finished(world, run.id)
    await eventually(() => it.submit({ source: sourceOf(jobs(1)) }))
  })

  test('refuses a run for which its spool has no room, or lets its source wait', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 5, spoolMax: 20 })
    await it.ready()
    await it.submit({ source: sourceOf(jobs(20)) })
    const tooMany = it.submit({ source: sourceOf(jobs(10)), tasks: 10 })
    expect(await tooMany.catch((error: unknown) => error)).toMatchObject({ reason: 'full' })
    const few = await it.submit({ source: sourceOf(jobs(5)), tasks: 5 })
    expect(few.run.total).toBe(5)

    const patient = makeWorld()
    const waits = beginDispatcher(patient, { inFlightMax: 5, spoolMax: 20, whenFull: 'wait' })
    await waits.ready()
    await waits.submit({ source: sourceOf(jobs(20)) })
    const late = waits.submit({ source: sourceOf(jobs(10)), tasks: 10 })
    await drain(patient, 'work.job', 'at once')
    expect((await late).run.total).toBe(10)
  })
})

describe('a dispatcher on its way out', () => {
  test('takes no new runs, and goes on with those it has', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 5 })
    await it.ready()
    const feed = tap()
    const submitted = it.submit({ source: feed.source })
    feed.push(jobs(5))
    await eventually(async () => expect(await waiting(world)).toBe(1))
    expect(it.accepting).toBe(true)
    it.closeIntake()
    expect(it.accepting).toBe(false)
    const refusal = await it.submit({ source: sourceOf(jobs(1)) }).catch((error: unknown) => error)
    expect(refusal).toMatchObject({ reason: 'draining' })
    feed.push(jobs(5))
    feed.end()
    const { run } = await submitted
    await drain(world, 'work.job', 'at once')
    expect((await finished(world, run.id)).counts.ok).toBe(10)
  })

  test('stopped, it lets go of a submitter whose source says nothing', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const feed = tap()
    const opened = Promise.withResolvers<void>()
    const submitted = it.submit({ source: feed.source, onOpen: () => opened.resolve() })
    const refusal = submitted.catch((error: unknown) => error)
    feed.push(jobs(3))
    await eventually(async () => expect(await waiting(world)).toBe(1))
    await it.stop()
    expect(await refusal).toMatchObject({ reason: 'draining' })
    const [run] = await world.accounting.unfinished()
    expect((await world.accounting.get(run ?? ''))?.closed).toBe(false)
  })

  test('stopped, it leaves in the spool what was not sent', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 5 })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(30)) })
    await it.stop()
    const progress = await world.accounting.get(run.id)
    expect([progress?.spooled, progress?.closed, await waiting(world)]).toEqual([25, true, 1])
  })
})

describe('runs of a driver that is gone', () => {
  async function leave(world: World) {
    const it = beginDispatcher(world, { inFlightMax: 5, driver: 'gone' })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(30)), content: 'c' })
    await it.stop()
    return run.id
  }

  test('are taken over, and go on from what is durable', async () => {
    const world = makeWorld()
    const run = await leave(world)
    const heir = beginDispatcher(world, { isGone: (driver) => driver === 'gone', driver: 'heir' })
    await heir.ready()
    const { seqs } = await drain(world, 'work.job', 'at once')
    expect((await finished(world, run)).counts.ok).toBe(30)
    expect(seqs()).toEqual(countTo(30))
    expect((await world.accounting.get(run))?.driver).toBe('heir')
  })

  test('of one that lives are left alone', async () => {
    const world = makeWorld()
    const run = await leave(world)
    const other = beginDispatcher(world, { isGone: () => false, driver: 'other' })
    await other.ready()
    await drain(world, 'work.job', 'at once')
    await eventually(async () => expect(await waiting(world)).toBe(0))
    const progress = await world.accounting.get(run)
    expect([progress?.driver, progress?.spooled]).toEqual(['gone', 25])
  })

  test('with an unread source are gone on with, and resumed by the same content', async () => {
    const world = makeWorld()
    const first = beginDispatcher(world, { inFlightMax: 5, driver: 'gone' })
    await first.ready()
    const feed = tap()
    first.submit({ source: feed.source, content: 'c' }).catch(() => undefined)
    feed.push(jobs(5))
    feed.push(jobs(5))
    await eventually(async () => {
      const [run] = await world.accounting.unfinished()
      expect((await world.accounting.get(run ?? ''))?.lines).toBe(10)
    })
    await first.stop()
    const heir = beginDispatcher(world, { isGone: (driver) => driver === 'gone', driver: 'heir' })
    await heir.ready()
    const { seqs } = await drain(world, 'work.job', 'at once')
    await eventually(() => expect(seqs()).toEqual(countTo(10)))
    const { run, resumed } = await heir.submit({ source: sourceOf(jobs(14)), content: 'c' })
    expect([run.total, resumed]).toEqual([14, true])
    expect((await finished(world, run.id)).counts.ok).toBe(14)
    expect(seqs()).toEqual(countTo(14))
  })
})

test('what could not be sent takes nobody else his turn', async () => {
  const clock = testClock()
  const world = makeWorld(clock)
  let refusals = 0
  const mailboxes = {
    ...world.mailboxes,
    async send(messages: readonly Message[]) {
      if (refusals > 0) {
        refusals -= 1
        throw new Error('Redis is away')
      }
      await world.mailboxes.send(messages)
    },
  }
  const it = beginDispatcher(world, { mailboxes, inFlightMax: 9 }, clock.timers)
  await it.ready()
  const submitted = it.submit({ source: sourceOf(jobs(10)) })
  await clock.pass(5)
  const { run } = await submitted
  expect((await world.accounting.get(run.id))?.spooled).toBe(5)
  refusals = 3
  const { complete, seqs } = await drain(world, 'work.job', 'when told')
  await clock.settle()
  await complete()
  await clock.pass(10_000)
  expect([refusals, seqs()]).toEqual([0, countTo(10)])
  await complete()
  await clock.settle()
  expect((await world.accounting.get(run.id))?.run.state).toBe('completed')
})
