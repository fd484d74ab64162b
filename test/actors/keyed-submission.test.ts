/** Submissions under one key, of which one at a time feeds the run. */
import { afterEach, describe, expect, test } from 'bun:test'
import type { Source } from '../../actors/source.ts'
import type { AcceptedTask } from '../../actors/task.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, countTo, drain, sourceOf, tap } from './feed.ts'
import { finished, memoryWorld, taskOf, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

const jobs = (count: number, first = 0) =>
  Array.from({ length: count }, (_, index) => taskOf('job', { id: `t-${first + index}` }))
const others = (count: number) => jobs(count, 1000)

/** With hashes that can be read. */
function hashed(source: Source, tasks: readonly AcceptedTask[]): Source {
  return async function* (afterLine) {
    let from = 0
    for await (const { lines, read: whole } of source(0)) {
      const read = whole.slice(Math.max(0, afterLine - from))
      const of = (count: number) =>
        tasks
          .slice(0, count)
          .map(({ task }) => task.id)
          .join()
      yield { lines: Math.max(lines, afterLine), read, hashes: { from, to: lines, of } }
      from = lines
    }
  }
}
const bodyOf = (tasks: readonly AcceptedTask[], size = 5) => hashed(sourceOf(tasks, size), tasks)

/** As if a node had opened it that read so many lines and no more. */
async function openElsewhere(world: World, driver: string, lines: readonly AcceptedTask[]) {
  const key = { name: 'k', ttlMs: 60_000 }
  await world.accounting.open({ id: 'r-elsewhere', createdAt: 0, driver, key })
  await world.accounting.commit('r-elsewhere', {
    afterLine: 0,
    lines: lines.length,
    linesHash: lines.map(({ task }) => task.id).join(),
    feeder: 'r-elsewhere',
    accepted: 0,
    rejected: lines.map((_, line) => ({ line: line + 1, path: '', message: 'none of ours' })),
    spool: [],
  })
}

describe('a run that another node feeds', () => {
  const seen = jobs(3)

  test('is waited for, and gone on with when that node is gone', async () => {
    const world = makeWorld()
    let isGone = false
    const it = beginDispatcher(world, { isGone: (driver) => driver === 'far' && isGone })
    await it.ready()
    await openElsewhere(world, 'far', seen)
    const opened: unknown[] = []
    const tasks = [...seen, ...jobs(4, 3)]
    const onOpen = (...told: unknown[]) => opened.push(told)
    const submitted = it.submit({ source: bodyOf(tasks), key: 'k', onOpen })
    const waited = it.submit({ source: bodyOf(tasks, 2), key: 'k' })
    const other = it.submit({ source: bodyOf(others(9)), key: 'k' })
    const refusal = await other.catch((error: unknown) => error)
    expect(refusal).toMatchObject({ name: 'ConflictError', code: 'IDEMPOTENCY_CONFLICT' })
    expect(String(refusal)).toMatch(/r-elsewhere.+first 3 lines/)
    expect(opened).toEqual([])
    isGone = true
    const { run, resumed } = await submitted
    expect([run.id, run.total, resumed]).toEqual(['r-elsewhere', 4, true])
    expect((await waited).run).toMatchObject({ id: 'r-elsewhere', total: 4 })
    expect(opened.length).toBeLessThanOrEqual(1)
    const { seqs } = await drain(world, 'work.job', 'at once')
    await finished(world, run.id)
    expect(seqs()).toEqual(countTo(4))
  })

  test('is gone on with as soon as somebody else drives it', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    await openElsewhere(world, 'far', seen)
    const submitted = it.submit({ source: bodyOf([...seen, ...jobs(2, 3)]), key: 'k' })
    await world.accounting.adopt('r-elsewhere', 'farther')
    expect((await submitted).run).toMatchObject({ id: 'r-elsewhere', total: 2 })
  })

  test('is compared to its end when it ends there', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    await openElsewhere(world, 'far', seen)
    const [same, more, fewer] = [seen, jobs(4), jobs(2)].map((tasks) =>
      it.submit({ source: bodyOf(tasks), key: 'k' }).catch((error: unknown) => error),
    )
    expect(String(await fewer)).toContain('it has 3 lines')
    await world.accounting.close('r-elsewhere')
    expect(await same).toMatchObject({ run: { id: 'r-elsewhere' }, resumed: true })
    expect(String(await more)).toContain('it has 3 lines, this one has more')
  })

  test('and who lost his place to another compares as well, and adds nothing', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const [first, wrong] = [tap(), tap()]
    const tasks = jobs(6)
    const opened = Promise.withResolvers<string>()
    const source = hashed(first.source, tasks)
    const submitted = it.submit({ source, key: 'k', onOpen: opened.resolve })
    const run = await opened.promise
    first.push(tasks.slice(0, 2))
    await eventually(async () => expect((await world.accounting.get(run))?.lines).toBe(2))
    // It was taken for dead, and its place by another that is ahead.
    await world.accounting.feed(run, 'heir', 'far', run)
    await world.accounting.commit(run, {
      afterLine: 2,
      lines: 6,
      linesHash: tasks.map(({ task }) => task.id).join(),
      feeder: 'heir',
      accepted: 2,
      rejected: [],
      spool: [],
    })
    first.push(tasks.slice(2, 4))
    first.push(tasks.slice(4))
    first.end()
    await world.accounting.close(run)
    expect(await submitted).toMatchObject({ run: { id: run, total: 2 }, resumed: false })
    const late = it.submit({ source: hashed(wrong.source, others(6)), key: 'k' })
    const refusal = late.catch((error: unknown) => error)
    wrong.push(others(6))
    expect(await refusal).toMatchObject({ code: 'IDEMPOTENCY_CONFLICT' })
  })
})

test('whoever leaves while it waits is let go of, and the run is not', async () => {
  const world = makeWorld()
  const it = beginDispatcher(world)
  await it.ready()
  await openElsewhere(world, 'far', jobs(3))
  const left = new AbortController()
  const waiting = it.submit({ source: bodyOf(jobs(4)), key: 'k', signal: left.signal })
  const silent = it.submit({ source: hashed(tap().source, []), key: 'k', signal: left.signal })
  const ends = [waiting, silent].map((submitted) => submitted.catch((error: unknown) => error))
  left.abort(new Error('left'))
  for (const end of ends) expect(await end).toEqual(new Error('left'))
  expect(await world.accounting.get('r-elsewhere')).toMatchObject({ closed: false, lines: 3 })
})

test('a dispatcher that is full gives the run there is, and opens no other', async () => {
  const world = makeWorld()
  const it = beginDispatcher(world, { runsMax: 1 })
  await it.ready()
  const { run } = await it.submit({ source: bodyOf(jobs(3)), key: 'k' })
  expect((await it.submit({ source: bodyOf(jobs(3)), key: 'k' })).run.id).toBe(run.id)
  const other = it.submit({ source: bodyOf(jobs(3)), key: 'other' })
  expect(await other.catch((error: unknown) => error)).toMatchObject({ reason: 'full' })
  expect(await world.accounting.runOfKey('other')).toBeUndefined()
})

test('a run cancelled in mid-source is the run of its key, for the lines it has', async () => {
  const world = makeWorld()
  const it = beginDispatcher(world)
  await it.ready()
  const feed = tap()
  const tasks = jobs(9)
  const opened = Promise.withResolvers<string>()
  const source = hashed(feed.source, tasks)
  const submitted = it.submit({ source, key: 'k', onOpen: opened.resolve })
  const run = await opened.promise
  feed.push(tasks.slice(0, 4))
  await eventually(async () => expect((await world.accounting.get(run))?.lines).toBe(4))
  await world.accounting.control(run, 'cancel', 'enough')
  await submitted
  const again = await it.submit({ source: bodyOf(tasks), key: 'k' })
  expect(again).toMatchObject({ run: { id: run, total: 4 }, resumed: true })
  const other = it.submit({ source: bodyOf(others(9)), key: 'k' })
  expect(await other.catch((error: unknown) => error)).toMatchObject({
    code: 'IDEMPOTENCY_CONFLICT',
  })
})
