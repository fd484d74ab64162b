/** Dispatchers that fail in part: the one that gives out turns, or the actor of a run. */
import { afterEach, describe, expect, test } from 'bun:test'
import type { AnyActorRef } from 'xstate'
import { pack } from '../../actors/envelope.ts'
import { UnavailableError } from '../../actors/errors.ts'
import { currentChild } from '../../actors/supervisor.ts'
import { treeOf } from '../../actors/tree.ts'
import type { Outcome } from '../../machines/outcome.ts'
import { testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, countTo, drain, sourceOf, tap } from './feed.ts'
import {
  type Begun,
  finished,
  itemsOf,
  memoryWorld,
  packLimits,
  taskOf,
  type World,
} from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

const jobs = (count: number) => Array.from({ length: count }, () => taskOf('job'))
const broke = new Error('broke')

/** Ends an actor as a bug in it would. */
function breakDown(actor: AnyActorRef): void {
  actor.send({ type: 'xstate.error.actor.bug', error: broke, actorId: 'bug' })
  expect(actor.getSnapshot()).toMatchObject({ status: 'error', error: broke })
}

const turnsOf = ({ actor }: Begun) => currentChild(actor, 'turns')
const runOf = ({ actor }: Begun, run: string) => currentChild(currentChild(actor, 'runs'), run)

/** Resolves when there is a new life of it. */
const newLife = (of: () => AnyActorRef, before: AnyActorRef) =>
  eventually(() => {
    const now = of()
    expect(now).not.toBe(before)
    expect(now.getSnapshot().hasTag('ready')).toBe(true)
    return now
  })

describe.each(['turns', 'run'] as const)('a dispatcher, part of which fails: %s', (part) => {
  const partOf = (life: Begun, run: string) => (part === 'turns' ? turnsOf(life) : runOf(life, run))

  test('goes on with what is in the spool, and nothing is lost', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 10 })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(60)) })
    const { seqs, complete } = await drain(world, 'work.job', 'when told')
    for (let round = 0; round < 3; round += 1) {
      const before = partOf(it, run.id)
      breakDown(before)
      await complete()
      await eventually(() => expect(partOf(it, run.id)).not.toBe(before))
    }
    await eventually(async () => {
      await complete()
      expect((await world.accounting.get(run.id))?.run.state).toBe('completed')
    })
    expect((await finished(world, run.id)).counts).toMatchObject({ ok: 60, pending: 0 })
    expect([...new Set(seqs())].toSorted((a, b) => a - b)).toEqual(countTo(60))
    expect(it.errors).toEqual([])
  })

  test('tells whose source it was reading what to do, and the same again goes on', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const feed = tap()
    const opened = Promise.withResolvers<string>()
    const submitted = it.submit({ source: feed.source, content: 'c', onOpen: opened.resolve })
    const refusal = submitted.catch((error: unknown) => error)
    const run = await opened.promise
    feed.push(jobs(5))
    feed.push(jobs(5))
    await eventually(async () => expect((await world.accounting.get(run))?.lines).toBe(10))
    breakDown(partOf(it, run))
    const told = await refusal
    expect(told).toBeInstanceOf(UnavailableError)
    expect(String(told)).toContain('submit the same again')
    await eventually(() => expect(partOf(it, run).getSnapshot().status).toBe('active'))
    const { seqs } = await drain(world, 'work.job', 'at once')
    const again = await eventually(() => it.submit({ source: sourceOf(jobs(14)), content: 'c' }))
    expect([again.run.id, again.run.total, again.resumed]).toEqual([run, 14, true])
    expect((await finished(world, run)).counts.ok).toBe(14)
    expect(seqs()).toEqual(countTo(14))
  })

  test('lets go of a submitter whose source says nothing', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const opened = Promise.withResolvers<string>()
    const submitted = it.submit({ source: tap().source, onOpen: opened.resolve })
    const refusal = submitted.catch((error: unknown) => error)
    const run = await opened.promise
    const before = await eventually(() => partOf(it, run))
    breakDown(before)
    expect(String(await refusal)).toContain('submit the same again')
  })

  test('leaves the other runs alone', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 5 })
    await it.ready()
    const [first, second] = [
      await it.submit({ source: sourceOf(jobs(20)) }),
      await it.submit({ source: sourceOf(jobs(20)) }),
    ]
    breakDown(partOf(it, first.run.id))
    await drain(world, 'work.job', 'at once')
    for (const { run } of [first, second]) {
      expect((await finished(world, run.id)).counts).toMatchObject({ ok: 20, pending: 0 })
    }
    await eventually(async () => expect(await world.admission.used('work.job')).toBe(0))
  })
})

test('a run may live for hours: its actor is ready at once', async () => {
  const clock = testClock()
  const world = memoryWorld(clock)
  worlds.push(world)
  const it = beginDispatcher(world, { inFlightMax: 5 }, clock.timers)
  await it.ready()
  const feed = tap()
  const opened = Promise.withResolvers<string>()
  const submitted = it.submit({ source: feed.source, onOpen: opened.resolve })
  feed.push(jobs(5))
  const run = await opened.promise
  await clock.pass(3 * 3_600_000)
  const { children } = treeOf(currentChild(it.actor, 'runs'), 'runs', 1)
  expect(children).toMatchObject([{ id: run, incarnation: 1, restarts: 0 }])
  feed.end()
  await clock.settle()
  expect((await submitted).run.total).toBe(5)
})

describe('a dispatcher whose turns have failed', () => {
  test('takes no run before it is up again, and says so', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const before = turnsOf(it)
    breakDown(before)
    expect(it.accepting).toBe(false)
    const refusal = await it.submit({ source: sourceOf(jobs(1)) }).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(UnavailableError)
    expect(String(refusal)).toContain('submit the same again')
    await newLife(() => turnsOf(it), before)
    expect(it.accepting).toBe(true)
    const { run } = await it.submit({ source: sourceOf(jobs(3)) })
    expect(run.total).toBe(3)
  })

  test('refuses a run that was just being opened: nobody would drive it', async () => {
    const world = makeWorld()
    const gate = Promise.withResolvers<void>()
    const accounting: World['accounting'] = {
      ...world.accounting,
      async open(run) {
        await gate.promise
        return world.accounting.open(run)
      },
    }
    const it = beginDispatcher(world, { accounting })
    await it.ready()
    const refusal = it.submit({ source: sourceOf(jobs(1)) }).catch((error: unknown) => error)
    const before = turnsOf(it)
    breakDown(before)
    gate.resolve()
    expect(String(await refusal)).toContain('submit the same again')
    await newLife(() => turnsOf(it), before)
  })

  test('hears of nothing in its earlier life any more', async () => {
    const world = makeWorld()
    let watching = 0
    const accounting: World['accounting'] = {
      ...world.accounting,
      async watch(listener) {
        watching += 1
        const unwatch = await world.accounting.watch(listener)
        return async () => {
          watching -= 1
          await unwatch()
        }
      },
    }
    const it = beginDispatcher(world, { accounting })
    await it.ready()
    for (let round = 0; round < 3; round += 1) {
      const before = turnsOf(it)
      breakDown(before)
      await newLife(() => turnsOf(it), before)
    }
    expect(watching).toBe(1)
  })

  test('and was told to take no more runs takes none in its next life', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    it.closeIntake()
    const before = turnsOf(it)
    breakDown(before)
    await newLife(() => turnsOf(it), before)
    const refusal = await it.submit({ source: sourceOf(jobs(1)) }).catch((error: unknown) => error)
    expect([it.accepting, refusal]).toMatchObject([false, { reason: 'draining' }])
  })
})

test('tasks that are done and in the spool still take no turns for ever', async () => {
  const world = makeWorld()
  const run = 'r-00000001'
  await world.accounting.open({ id: run, createdAt: 0, driver: 'n-1' })
  const spool = pack(run, itemsOf(jobs(20)), 0, { ...packLimits, tasksOf: () => 5 })
  const lines = { afterLine: 0, lines: 20, accepted: 20 }
  await world.accounting.commit(run, { ...lines, rejected: [], spool })
  await world.accounting.close(run)
  // Whoever drove it sent these, and could not take them off the spool any more.
  const settlement = { run, id: 's', mailbox: 'work.job', seqs: [[0, 10] as const] }
  await world.admission.reserve('work.job', run, 10, 10_000)
  await world.accounting.settle([{ ...settlement, outcomes: Array<Outcome>(10).fill('ok') }])
  await world.accounting.stored([settlement])
  const it = beginDispatcher(world, { inFlightMax: 5 })
  await it.ready()
  await drain(world, 'work.job', 'at once')
  expect((await finished(world, run)).counts).toMatchObject({ ok: 20, pending: 0 })
})
