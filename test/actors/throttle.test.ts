import { afterEach, describe, expect, test } from 'bun:test'
import { NotAcceptingError } from '../../actors/errors.ts'
import type { Execution } from '../../actors/ports.ts'
import { Slots } from '../../actors/slots.ts'
import { Throttle } from '../../actors/throttle.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, drain, sourceOf } from './feed.ts'
import { beginWorker, isEmpty, jobs, resultsOf } from './working.ts'
import { dispatch, finished, kindOf, memoryWorld, ok, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

const share = (of: number): Throttle => {
  const throttle = new Throttle()
  throttle.set(of)
  return throttle
}

describe('a throttle', () => {
  test('leaves at least one of anything, unless nothing is to be done', () => {
    const shares = [1, 0.5, 0.25, 0].map(share)
    expect(shares.map((throttle) => throttle.of(64))).toEqual([64, 32, 16, 0])
    expect(shares.map((throttle) => throttle.of(3))).toEqual([3, 1, 1, 0])
  })

  test('tells of changes alone, and of none any more to those who have left', () => {
    const throttle = new Throttle()
    const heard: number[] = []
    const leave = throttle.listen((now) => heard.push(now))
    for (const now of [1, 0.5, 0.5, 0]) throttle.set(now)
    leave()
    throttle.set(1)
    expect(heard).toEqual([0.5, 0])
  })
})

describe('slots', () => {
  test('fewer of them take nothing away, and go round when as few are taken', async () => {
    const slots = new Slots(2)
    expect([slots.take(), slots.take()]).toEqual([undefined, undefined])
    slots.resize(1)
    const got: number[] = []
    const wait = slots.take()?.then(() => got.push(1))
    slots.give()
    await Promise.resolve()
    expect(got).toEqual([])
    slots.give()
    await wait
    expect(got).toEqual([1])
  })

  test('more of them go to those who wait, in order', async () => {
    const slots = new Slots(0)
    const got: number[] = []
    const waits = [1, 2, 3].map((id) => slots.take()?.then(() => got.push(id)))
    slots.resize(2)
    await waits[0]
    await waits[1]
    expect(got).toEqual([1, 2])
    slots.give()
    await waits[2]
    expect(got).toEqual([1, 2, 3])
  })

  test('whoever need not wait any more is let through, and gives back what he got', async () => {
    const slots = new Slots(1)
    expect(slots.take()).toBeUndefined()
    const over = new AbortController()
    const wait = slots.take(over.signal)
    over.abort()
    await wait
    // Nobody gets what is beyond the size.
    slots.give()
    const next = slots.take()
    expect(next).toBeInstanceOf(Promise)
    slots.give()
    await next
  })
})

/** Tasks that run until they are told to end. */
function held() {
  let ends = Promise.withResolvers<void>()
  let running = 0
  let most = 0
  const run = async (): Promise<Execution> => {
    running += 1
    most = Math.max(most, running)
    await ends.promise
    running -= 1
    return ok
  }
  return {
    run,
    get running() {
      return running
    },
    get most() {
      return most
    },
    endAll() {
      ends.resolve()
      ends = Promise.withResolvers<void>()
    },
  }
}

describe('a worker that is throttled', () => {
  test('runs so much less side by side, and more again at once', async () => {
    const world = makeWorld()
    const tasks = held()
    const throttle = share(0.5)
    await dispatch(world, 'r-1', jobs(10))
    beginWorker(world, { ...kindOf('job', tasks.run), concurrency: 4 }, { throttle })
    await eventually(() => expect(tasks.running).toBe(2))
    throttle.set(1)
    await eventually(() => expect(tasks.running).toBe(4))
    expect(tasks.most).toBe(4)
    tasks.endAll()
  })

  test('with no share lets what runs finish, and begins nothing until it goes on', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const tasks = held()
    const throttle = new Throttle()
    await dispatch(world, 'r-1', jobs(5))
    beginWorker(world, { ...kindOf('job', tasks.run), concurrency: 2 }, { throttle })
    await eventually(() => expect(tasks.running).toBe(2))
    throttle.set(0)
    await dispatch(world, 'r-2', jobs(3))
    tasks.endAll()
    await eventually(() => expect(tasks.running).toBe(0))
    // What ended is told, though the rest of its envelope waits.
    await resultsOf(bodies, 2)
    expect(tasks.running).toBe(0)
    expect((await world.mailboxes.depth('work.job')).waiting).toBe(1)
    throttle.set(1)
    await eventually(() => expect(tasks.running).toBe(2))
    const rest = resultsOf(bodies, 8)
    const ending = setInterval(() => tasks.endAll(), 1)
    expect(await rest).toHaveLength(8)
    clearInterval(ending)
    await isEmpty(world)
    expect(tasks.most).toBe(2)
  })

  test('with no share hands back what waits at hand when it has to stop', async () => {
    const world = makeWorld()
    const throttle = share(0)
    await dispatch(world, 'r-1', jobs(3))
    const runs: number[] = []
    const kind = kindOf('job', (_, { seq }) => {
      runs.push(seq)
      return ok
    })
    const worker = beginWorker(world, kind, { throttle, graceMs: () => 1 })
    await worker.ready()
    await worker.stop()
    expect(await world.mailboxes.depth('work.job')).toMatchObject({ waiting: 1, active: 0 })
    beginWorker(world, kind)
    await isEmpty(world)
    expect(runs.toSorted((a, b) => a - b)).toEqual([0, 1, 2])
  })
})

describe('a dispatcher that is throttled', () => {
  test('with no share spools what was let in, and sends it when it goes on', async () => {
    const world = makeWorld()
    const throttle = share(0)
    const it = beginDispatcher(world, { throttle })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(7)) })
    expect(run.state).toBe('running')
    expect(await world.mailboxes.depth('work.job')).toMatchObject({ waiting: 0 })
    throttle.set(1)
    await drain(world, 'work.job', 'at once')
    expect((await finished(world, run.id)).counts.ok).toBe(7)
  })

  test('refuses new runs, with the reason that it is given, and counts that', async () => {
    const world = makeWorld()
    const paused = new NotAcceptingError('paused', 'upgrade', 5000)
    let refusal: NotAcceptingError | undefined = paused
    const it = beginDispatcher(world, { refusal: () => refusal })
    await it.ready()
    const submit = () => it.submit({ source: sourceOf(jobs(1)) })
    expect(await submit().catch((error: unknown) => error)).toBe(paused)
    expect(await world.accounting.list({ limit: 10 })).toEqual([])
    refusal = undefined
    expect((await submit()).run.total).toBe(1)
  })
})
