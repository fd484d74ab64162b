/** Runs that are paused, cancelled, halted and windowed, and tasks that wait for others. */
import { afterEach, describe, expect, test } from 'bun:test'
import type { AcceptedTask } from '../../actors/task.ts'
import { type Floor, type FloorOptions, nothingIsLeft, openFloor } from './controlling.ts'
import { beginDispatcher, countTo, sourceOf, tap } from './feed.ts'
import { failed, taskOf } from './world.ts'

const floors: Floor[] = []
afterEach(async () => {
  // The clock stands still: nobody is waited for.
  for (const { world } of floors.splice(0)) void world.close()
})

async function open(options: FloorOptions = {}): Promise<Floor> {
  const floor = await openFloor(options)
  floors.push(floor)
  return floor
}

const jobs = (count: number, task = {}) =>
  countTo(count).map((seq) => taskOf('job', { id: `t-${seq}`, ...task }))
const forEver = 1_000_000_000

async function submit(floor: Floor, tasks: readonly AcceptedTask[], more = {}): Promise<string> {
  const submitting = floor.dispatcher.submit({ source: sourceOf(tasks), ...more })
  await floor.clock.pass(100)
  return (await submitting).run.id
}

describe('a run that is cancelled', () => {
  test('starts nothing more, aborts what runs and ends with the reason', async () => {
    const floor = await open({ work: () => ({ ms: forEver }), dispatcher: { inFlightMax: 40 } })
    const run = await submit(floor, jobs(100))
    expect(floor.running.size).toBeGreaterThan(0)
    const before = floor.starts.length
    await floor.world.accounting.control(run, 'cancel', 'enough')
    const over = await floor.over(run)
    expect(over).toMatchObject({ state: 'cancelled', stopReason: 'enough', total: 100 })
    expect(over.counts).toMatchObject({ cancelled: 100, pending: 0 })
    expect(floor.starts.length).toBe(before)
    const codes = (await floor.lines(run)).map(({ error }) => error?.code)
    expect(codes.filter((code) => code === 'ABORTED').length).toBe(before)
    expect(codes.filter((code) => code === 'CANCELLED').length).toBe(100 - before)
    await nothingIsLeft(floor)
  })

  test('reads its source no further, though that says nothing any more', async () => {
    const floor = await open()
    const feed = tap()
    const opened = Promise.withResolvers<string>()
    const submitting = floor.dispatcher.submit({ source: feed.source, onOpen: opened.resolve })
    const run = await opened.promise
    feed.push(jobs(5))
    await floor.clock.pass(50)
    await floor.world.accounting.control(run, 'cancel', 'enough')
    const over = await floor.over(run)
    expect(over).toMatchObject({ state: 'cancelled', total: 5 })
    expect(over.counts).toMatchObject({ ok: 5, pending: 0 })
    expect((await submitting).run.id).toBe(run)
  })

  test('ends what waits for its time, its next attempt, others or its turn', async () => {
    const floor = await open({
      work: () => ({ ms: 10, execution: failed }),
      dispatcher: { inFlightMax: 12 },
    })
    const tasks = [
      ...jobs(5, { delayMs: forEver }),
      ...countTo(5).map((seq) => taskOf('job', { id: `u-${seq}` })),
      taskOf('job', { id: 'v', dependsOn: ['t-1'] }),
      taskOf('job', { id: 'w', dependsOn: ['v', 'u-0'] }),
      ...countTo(20).map((seq) => taskOf('job', { id: `x-${seq}` })),
    ]
    const run = await submit(floor, tasks)
    await floor.world.accounting.control(run, 'cancel', 'enough')
    const over = await floor.over(run)
    expect(over.state).toBe('cancelled')
    expect(over.counts).toMatchObject({ cancelled: tasks.length, pending: 0 })
    await nothingIsLeft(floor)
  })

  test('does not wait for its turn, nor for room, behind another that has them all', async () => {
    const floor = await open({
      work: () => ({ ms: forEver }),
      dispatcher: { inFlightMax: 20, depthMax: 20 },
    })
    const other = await submit(floor, jobs(30))
    const run = await submit(floor, jobs(30))
    expect((await floor.progress(run)).spooled).toBe(30)
    await floor.world.accounting.control(run, 'cancel', 'enough')
    const over = await floor.over(run)
    expect(over.counts).toMatchObject({ cancelled: 30 })
    expect((await floor.progress(other)).run.counts).toMatchObject({ pending: 30 })
    await floor.world.accounting.control(other, 'cancel', 'that too')
    await floor.over(other)
    await nothingIsLeft(floor)
  })

  test('ends on the node that takes it over', async () => {
    const floor = await open({ work: () => ({ ms: forEver }), dispatcher: { inFlightMax: 20 } })
    const { world, clock } = floor
    const driver = 'gone'
    await world.accounting.open({ id: 'r-orphan', createdAt: 0, driver })
    await world.accounting.control('r-orphan', 'cancel', 'enough')
    await floor.dispatcher.adopt('r-orphan', { lease: 'coordinator', epoch: 1 })
    await clock.settle()
    expect(await floor.over('r-orphan')).toMatchObject({ state: 'cancelled', total: 0 })
  })
})

describe('a run that is paused', () => {
  test('ends what runs, starts nothing, gives back what it had, and goes on in order', async () => {
    const floor = await open({ work: () => ({ ms: 50 }), kind: { concurrency: 2 } })
    const run = await submit(floor, jobs(40, { key: 'k' }))
    await floor.world.accounting.control(run, 'pause', 'lunch')
    await floor.clock.pass(60_000)
    const { length } = floor.starts
    const paused = await floor.progress(run)
    expect(paused.run).toMatchObject({ state: 'paused', stopReason: 'lunch' })
    expect(paused.run.counts).toMatchObject({ ok: length, pending: 40 - length })
    expect(paused).toMatchObject({ spooled: 40 - length })
    await nothingIsLeft(floor)
    await floor.world.accounting.control(run, 'resume', 'back')
    const over = await floor.over(run)
    expect(over).toMatchObject({ state: 'completed' })
    expect(over.counts).toMatchObject({ ok: 40 })
    expect(floor.starts.map(({ seq }) => seq)).toEqual(countTo(40))
    await nothingIsLeft(floor)
  })

  test('does not lose the attempts of a task that was between two of them', async () => {
    const floor = await open({
      work: ({ seq, attempt }) => ({
        ms: 10,
        ...(seq === 2 && attempt < 4 ? { execution: failed } : {}),
      }),
      backoffMs: 10_000,
    })
    const run = await submit(floor, jobs(5, { key: 'k' }))
    for (let round = 0; round < 2; round += 1) {
      await floor.clock.pass(5000)
      await floor.world.accounting.control(run, 'pause', 'a')
      await floor.clock.pass(60_000)
      expect(await floor.progress(run)).toMatchObject({ spooled: 3 })
      await floor.world.accounting.control(run, 'resume', 'b')
    }
    const over = await floor.over(run)
    expect(over.counts).toMatchObject({ ok: 5 })
    const attempts = floor.starts.map(({ seq, attempt }) => `${seq}#${attempt}`)
    expect(attempts).toEqual(['0#1', '1#1', '2#1', '2#2', '2#3', '2#4', '3#1', '4#1'])
    const line = (await floor.lines(run))[2]
    expect(line).toMatchObject({ seq: 2, outcome: 'ok', attempt: 4 })
  })

  test('keeps its order though it goes on when only some of it was put back', async () => {
    const floor = await open({ work: () => ({ ms: 10 }) })
    const { accounting } = floor.world
    const { park } = accounting
    let parks = 0
    accounting.park = async (envelope) => {
      const isParked = await park(envelope)
      parks += 1
      // Those behind it in its mailbox have not been delivered yet.
      if (parks === 1) await accounting.control(envelope.run, 'resume', 'b')
      return isParked
    }
    const submitting = floor.dispatcher.submit({ source: sourceOf(jobs(40, { key: 'k' })) })
    await floor.clock.pass(15)
    const run = (await submitting).run.id
    await accounting.control(run, 'pause', 'a')
    expect((await floor.over(run)).counts).toMatchObject({ ok: 40 })
    expect(floor.starts.map(({ seq }) => seq)).toEqual(countTo(40))
    expect(parks).toBeGreaterThan(1)
    await nothingIsLeft(floor)
  })

  test.each(['paused', 'resumed'])('goes on, %s, under another dispatcher', async (how) => {
    const floor = await open({ work: () => ({ ms: 10 }), dispatcher: { inFlightMax: 20 } })
    const { world, clock } = floor
    const run = await submit(floor, [...jobs(50, { key: 'k' })])
    await world.accounting.control(run, 'pause', 'a')
    await clock.pass(100)
    const stopping = floor.dispatcher.stop()
    await clock.pass(100)
    await stopping
    if (how === 'resumed') await world.accounting.control(run, 'resume', 'b')
    floor.dispatcher = beginDispatcher(
      world,
      { driver: 'n-2', isGone: (driver) => driver === 'n-1', inFlightMax: 20 },
      clock.timers,
    )
    await floor.dispatcher.ready()
    await clock.pass(100)
    if (how === 'paused') {
      expect((await floor.progress(run)).run.state).toBe('paused')
      expect(floor.inFlight()).toBe(0)
      await world.accounting.control(run, 'resume', 'b')
    }
    expect((await floor.over(run)).counts).toMatchObject({ ok: 50 })
    expect(floor.starts.map(({ seq }) => seq)).toEqual(countTo(50))
    await nothingIsLeft(floor)
  })

  test('counts what was put back, though nobody heard of it', async () => {
    const floor = await open({ work: () => ({ ms: 10 }) })
    const { world, clock } = floor
    const run = await submit(floor, jobs(50, { key: 'k' }), { window: { tasks: 20 } })
    floor.isDeaf = true
    await world.accounting.control(run, 'pause', 'a')
    await clock.pass(100)
    expect(floor.inFlight()).toBeGreaterThan(0)
    floor.isDeaf = false
    floor.hearsAgain()
    await clock.pass(100)
    expect(floor.inFlight()).toBe(0)
    await world.accounting.control(run, 'resume', 'b')
    expect((await floor.over(run)).counts).toMatchObject({ ok: 50 })
    await nothingIsLeft(floor)
  })

  test('leaves the others alone', async () => {
    const floor = await open({ work: () => ({ ms: 5 }), dispatcher: { inFlightMax: 10 } })
    const run = await submit(floor, jobs(0))
    expect((await floor.over(run)).total).toBe(0)
    const feed = tap()
    const opened = Promise.withResolvers<string>()
    void floor.dispatcher.submit({ source: feed.source, onOpen: opened.resolve })
    const paused = await opened.promise
    await floor.world.accounting.control(paused, 'pause', 'a')
    feed.push(jobs(50))
    await floor.clock.pass(100)
    const other = await submit(floor, jobs(50))
    expect((await floor.over(other)).counts).toMatchObject({ ok: 50 })
    expect((await floor.progress(paused)).run.counts).toMatchObject({ ok: 0, pending: 50 })
    await floor.world.accounting.control(paused, 'resume', 'b')
    feed.end()
    expect((await floor.over(paused)).counts).toMatchObject({ ok: 50 })
    await nothingIsLeft(floor)
  })

  test('is known to be paused by a dispatcher that asked before and was not told', async () => {
    const floor = await open({ work: () => ({ ms: 10 }) })
    const { world, clock } = floor
    await world.accounting.open({ id: 'r-late', createdAt: 0, driver: 'gone' })
    await world.accounting.control('r-late', 'pause', 'a')
    const { adopt } = world.accounting
    // Resumed after it was asked, and before it was taken up.
    world.accounting.adopt = async (run, driver, fence) => {
      const progress = await adopt(run, driver, fence)
      await world.accounting.control(run, 'resume', 'b')
      await clock.settle()
      return progress
    }
    await floor.dispatcher.adopt('r-late', { lease: 'coordinator', epoch: 1 })
    await clock.settle()
    const again = floor.dispatcher.submit({ source: sourceOf(jobs(0)) })
    await clock.pass(50)
    await again
    await world.accounting.control('r-late', 'cancel', 'c')
    expect(await floor.over('r-late')).toMatchObject({ state: 'cancelled' })
  })
})

describe('a run with a limit to its failures', () => {
  test.each([
    ['soon', { failed: 3, ok: 8, cancelled: 0 }],
    ['now', { failed: 3, ok: 0, cancelled: 8 }],
  ] as const)('is halted %s: what never ran is unreached', async (mode, expected) => {
    const floor = await open({
      work: ({ seq }) => (seq < 3 ? { ms: 10, execution: failed } : { ms: 2000 }),
      kind: { concurrency: 8, attempts: 1 },
    })
    const halt = { mode, fail: { tasks: 3 } }
    const run = await submit(floor, jobs(30), { halt })
    const over = await floor.over(run)
    expect(over).toMatchObject({ state: 'halted', total: 30 })
    expect(over.counts).toMatchObject({ ...expected, unreached: 19, pending: 0 })
    const unreached = (await floor.lines(run)).filter(({ outcome }) => outcome === 'unreached')
    expect(unreached.every(({ error }) => error?.code === 'HALTED')).toBe(true)
    await nothingIsLeft(floor)
  })

  test('leaves what waited for its next attempt as failed, with its last error', async () => {
    const floor = await open({
      work: ({ seq }) => ({ ms: seq === 0 ? 40 : 10, execution: failed }),
      kind: { attempts: 6 },
    })
    const tasks = [taskOf('job', { attempts: 1 }), ...jobs(3)]
    const run = await submit(floor, tasks, { halt: { mode: 'soon', fail: { tasks: 1 } } })
    const over = await floor.over(run)
    expect(over.state).toBe('halted')
    expect(over.counts).toMatchObject({ failed: 4, unreached: 0 })
    const codes = (await floor.lines(run)).map(({ error }) => error?.code)
    expect(codes).toEqual(['BOOM', 'BOOM', 'BOOM', 'BOOM'])
  })
})

describe('a run with a window', () => {
  test.each([
    [{ tasks: 5 }, 5],
    [{ percent: 5 }, 10],
    [{ tasks: 1 }, 1],
  ])('%p has never more tasks in flight', async (window, most) => {
    const floor = await open({ work: () => ({ ms: 20 }), kind: { concurrency: 64 } })
    const run = await submit(floor, jobs(200), { window })
    for (let round = 0; round < 3; round += 1) {
      await floor.clock.pass(25)
      await floor.world.accounting.control(run, 'pause', 'a')
      await floor.clock.pass(30)
      await floor.world.accounting.control(run, 'resume', 'b')
    }
    expect((await floor.over(run)).counts).toMatchObject({ ok: 200 })
    expect(floor.runningMost).toBeLessThanOrEqual(most)
    // It is used, or nothing was shown.
    expect(floor.runningMost).toBeGreaterThan(most / 2)
    await nothingIsLeft(floor)
  })
})

describe('tasks that wait for others', () => {
  test('a chain is run link by link, and ends where one is not ok', async () => {
    const floor = await open({
      work: ({ seq }) => ({ ms: 1, ...(seq === 60 ? { execution: failed } : {}) }),
      kind: { attempts: 1 },
    })
    const chain = countTo(100).map((seq) =>
      taskOf('job', { id: `t-${seq}`, ...(seq === 0 ? {} : { dependsOn: [`t-${seq - 1}`] }) }),
    )
    const run = await submit(floor, chain)
    const over = await floor.over(run)
    expect(over).toMatchObject({ state: 'completed' })
    expect(over.counts).toMatchObject({ ok: 60, failed: 1, unreached: 39 })
    expect(floor.starts.map(({ seq }) => seq)).toEqual(countTo(61))
    const last = (await floor.lines(run)).at(-1)
    expect(last?.error?.code).toBe('PARENT_NOT_OK')
    await nothingIsLeft(floor)
  })

  test('what names a line that was refused, or a later one, is refused as well', async () => {
    const floor = await open()
    const tasks = [
      taskOf('job', { id: 'a', dependsOn: ['b'] }),
      taskOf('job', { id: 'b' }),
      taskOf('job', { id: 'c', dependsOn: ['b', 'a'] }),
      taskOf('job', { id: 'd', dependsOn: ['d'] }),
      taskOf('job', { id: 'e', dependsOn: ['b'] }),
    ]
    const run = await submit(floor, tasks)
    const over = await floor.over(run)
    expect(over).toMatchObject({ total: 2, rejectedCount: 3 })
    expect(over.rejected.map(({ line, path }) => [line, path])).toEqual([
      [1, 'dependsOn.0'],
      [3, 'dependsOn.1'],
      [4, 'dependsOn.0'],
    ])
    expect(over.counts).toMatchObject({ ok: 2 })
  })

  test('a parent that ended long before its child was read is no one to wait for', async () => {
    const floor = await open()
    const feed = tap()
    const opened = Promise.withResolvers<string>()
    void floor.dispatcher.submit({ source: feed.source, onOpen: opened.resolve })
    const run = await opened.promise
    feed.push([taskOf('job', { id: 'a' })])
    await floor.clock.pass(1000)
    expect((await floor.progress(run)).run.counts).toMatchObject({ ok: 1 })
    feed.push([taskOf('job', { id: 'b', dependsOn: ['a'] })])
    feed.end()
    expect((await floor.over(run)).counts).toMatchObject({ ok: 2 })
  })

  test('may wait for tasks of their own key', async () => {
    const floor = await open({ work: () => ({ ms: 5 }) })
    const chain = countTo(30).map((seq) => {
      const dependsOn = seq % 3 === 0 || seq === 0 ? {} : { dependsOn: [`t-${seq - 1}`] }
      return taskOf('job', { id: `t-${seq}`, key: `k-${Math.floor(seq / 3)}`, ...dependsOn })
    })
    const run = await submit(floor, chain)
    expect((await floor.over(run)).counts).toMatchObject({ ok: 30 })
    for (const key of countTo(10)) {
      const seqs = floor.starts.filter((start) => start.key === `k-${key}`).map(({ seq }) => seq)
      expect(seqs).toEqual([3 * key, 3 * key + 1, 3 * key + 2])
    }
  })
})
