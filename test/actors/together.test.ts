/** Tasks that an executor takes ahead: who follows whom in a slot; and none is gained by it. */
import { afterEach, describe, expect, spyOn, test } from 'bun:test'
import { array, assert, asyncProperty, constantFrom, integer, nat, record } from 'fast-check'
import type { Kind } from '../../actors/kind.ts'
import type { ExecuteContext, Execution, Executor, Followed } from '../../actors/ports.ts'
import { Throttle } from '../../actors/throttle.ts'
import { eventually } from '../kit/eventually.ts'
import { beginWorker, isEmpty, jobs, resultsOf } from './working.ts'
import { dispatch, kindOf, memoryWorld, ok, packLimits, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

interface Course {
  /** Undefined: nothing is taken ahead; else how long until it is given back, in turns. */
  ahead?: 'taken' | { returnedAfter: number }
  /** Resolves when the task has ended; it has begun. */
  work(): Promise<unknown>
}

const nameOf = ({ run, seq }: ExecuteContext) => `${run}/${seq}`

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await Promise.resolve()
}

/** Takes tasks ahead, and writes down what comes of that. */
class Ahead implements Executor {
  readonly begun: string[] = []
  /** Who was taken to follow whom. */
  readonly followed: string[] = []
  running = 0
  most = 0
  readonly #ends = new Map<ExecuteContext, Promise<void>>()
  readonly #courseOf: (context: ExecuteContext) => Course

  constructor(courseOf: (context: ExecuteContext) => Course) {
    this.#courseOf = courseOf
  }

  async start(): Promise<void> {}
  async stop(): Promise<void> {}

  run(_: unknown, context: ExecuteContext): Promise<Execution> {
    return this.#begin(context)
  }

  follow(
    _: unknown,
    context: ExecuteContext,
    before: ExecuteContext,
    recall: AbortSignal,
  ): Promise<Followed | undefined> | undefined {
    const { ahead } = this.#courseOf(context)
    const end = this.#ends.get(before)
    if (ahead === undefined || end === undefined) return undefined
    this.followed.push(`${nameOf(context)} after ${nameOf(before)}`)
    const followed = Promise.withResolvers<Followed | undefined>()
    const begin = async () => {
      if (isReturned) return
      followed.resolve({ execution: await this.#begin(context), durationMs: 5 })
    }
    let isReturned = false
    const giveBack = () => {
      if (this.begun.includes(nameOf(context))) return
      isReturned = true
      // The word of it takes its time.
      void turns(5).then(() => followed.resolve(undefined))
    }
    void end.then(begin)
    recall.addEventListener('abort', giveBack)
    if (ahead !== 'taken') void turns(ahead.returnedAfter).then(giveBack)
    return followed.promise
  }

  async #begin(context: ExecuteContext): Promise<Execution> {
    this.begun.push(nameOf(context))
    this.running += 1
    this.most = Math.max(this.most, this.running)
    const end = this.#work(context)
    this.#ends.set(context, end)
    await end
    return ok
  }

  async #work(context: ExecuteContext): Promise<void> {
    await this.#courseOf(context).work()
    this.running -= 1
    this.#ends.delete(context)
  }
}

const kindWith = (executor: Executor, concurrency: number): Kind => ({
  ...kindOf('job', () => ok),
  executor,
  concurrency,
})

/** Each ends when it is told to, by its name. */
function gates() {
  const open = new Map<string, PromiseWithResolvers<void>>()
  const gateOf = (name: string) => {
    const gate = open.get(name) ?? Promise.withResolvers<void>()
    open.set(name, gate)
    return gate
  }
  return {
    wait: (context: ExecuteContext) => gateOf(nameOf(context)).promise,
    end: (...names: string[]) => {
      for (const name of names) gateOf(name).resolve()
    },
  }
}

describe('tasks that are taken ahead', () => {
  test('follow one in each slot, and are timed by who runs them', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    await dispatch(world, 'r', jobs(6))
    beginWorker(world, kindWith(executor, 2))
    await eventually(() => expect(executor.followed).toEqual(['r/2 after r/0', 'r/3 after r/1']))
    expect(executor.begun).toEqual(['r/0', 'r/1'])
    end('r/1')
    await eventually(() => expect(executor.followed).toContain('r/4 after r/3'))
    expect(executor.begun).toEqual(['r/0', 'r/1', 'r/3'])
    const before = world.clock.now()
    end('r/0', 'r/2', 'r/3', 'r/4', 'r/5')
    const results = await resultsOf(bodies, 6)
    expect(results[3]?.result.durationMs).toBe(5)
    expect(results[3]?.result.startedAt).toBeGreaterThanOrEqual(before - 5)
    expect(executor.most).toBe(2)
    await isEmpty(world)
  })

  test('that are given back take the first slot that is free', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({
      // Only behind the first, which takes long.
      ahead: context.seq === 2 ? { returnedAfter: 3 } : 'taken',
      work: () => (context.seq === 1 || context.seq > 2 ? turns(4) : wait(context)),
    }))
    await dispatch(world, 'r', jobs(40))
    beginWorker(world, kindWith(executor, 2))
    await eventually(() => expect(executor.begun).toContain('r/2'))
    // The second slot had some before it was given back, and none after that.
    expect(executor.begun.indexOf('r/2')).toBeLessThan(8)
    end('r/0', 'r/2')
    await isEmpty(world)
    expect(new Set(executor.begun).size).toBe(40)
    expect(executor.begun.length).toBe(40)
    expect(executor.most).toBe(2)
  })

  test('do not keep a slot from another run that waits', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    let tokens = 0
    const take = () => {
      tokens += 1
      return undefined
    }
    await dispatch(world, 'a', jobs(8))
    beginWorker(world, kindWith(executor, 2), { limiter: { take } })
    await eventually(() => expect(executor.followed).toEqual(['a/2 after a/0', 'a/3 after a/1']))
    await dispatch(world, 'b', jobs(2))
    // Five of the first, and one of the second: whoever has his token waits for a slot.
    await eventually(() => expect(tokens).toBe(6))
    // The first has waited for one of its own for longer.
    end('a/0', 'a/2', 'a/4')
    const order = ['a/0', 'a/1', 'a/2', 'a/4', 'b/0']
    await eventually(() => expect(executor.begun).toEqual(order))
    expect(executor.followed).toEqual(['a/2 after a/0', 'a/3 after a/1'])
    end('a/1', 'a/3', 'a/4', 'a/5', 'a/6', 'a/7', 'b/0', 'b/1')
    await isEmpty(world)
    expect(executor.begun.toSorted().join(' ')).toBe('a/0 a/1 a/2 a/3 a/4 a/5 a/6 a/7 b/0 b/1')
    expect(executor.most).toBe(2)
  })

  test('do not keep a slot that is to be none any more', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    const throttle = new Throttle()
    await dispatch(world, 'r', jobs(8))
    beginWorker(world, kindWith(executor, 2), { throttle })
    await eventually(() => expect(executor.followed.length).toBe(2))
    throttle.set(0.5)
    end('r/0', 'r/1')
    await eventually(() => expect(executor.running).toBe(2))
    expect(executor.followed.length).toBe(2)
    end('r/2', 'r/3')
    await eventually(() => expect(executor.followed.length).toBe(3))
    expect(executor.running).toBe(1)
    end('r/4', 'r/5', 'r/6', 'r/7')
    await isEmpty(world)
    expect(executor.begun.length).toBe(8)
  })

  test('are each run once, never more at a time than there are slots', async () => {
    const course = record({
      ahead: constantFrom('taken', 'taken', 'returned', undefined),
      returnedAfter: nat(6),
      lasts: nat(5),
    })
    const sides = record({
      concurrency: integer({ min: 1, max: 4 }),
      courses: array(course, { minLength: 1, maxLength: 40 }),
      others: nat(12),
      tasksOf: integer({ min: 1, max: 20 }),
    })
    let followed = 0
    await assert(
      asyncProperty(sides, async ({ concurrency, courses, others, tasksOf }) => {
        const world = memoryWorld()
        const bodies = await world.settled()
        const executor = new Ahead(({ seq }) => {
          const { ahead, returnedAfter = 0, lasts = 0 } = courses[seq % courses.length] ?? {}
          const work = async () => {
            await turns(lasts)
            if (lasts >= 4) await new Promise((resolve) => setImmediate(resolve))
          }
          if (ahead === undefined) return { work }
          return { ahead: ahead === 'taken' ? ahead : { returnedAfter }, work }
        })
        const limits = { ...packLimits, tasksOf: () => tasksOf }
        await dispatch(world, 'a', jobs(courses.length), limits)
        await dispatch(world, 'b', jobs(others), limits)
        beginWorker(world, kindWith(executor, concurrency))
        const count = courses.length + others
        const results = await resultsOf(bodies, count)
        await isEmpty(world)
        expect(results.length).toBe(count)
        expect(executor.begun.length).toBe(count)
        expect(new Set(executor.begun).size).toBe(count)
        expect(executor.most).toBeLessThanOrEqual(concurrency)
        followed += executor.followed.length
        await world.close()
      }),
      { seed: 11, numRuns: 150 },
    )
    expect(followed).toBeGreaterThan(200)
  })

  test('do not begin once their run is paused, and are put back in order', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    const parked = spyOn(world.accounting, 'park')
    await dispatch(world, 'r', jobs(8))
    beginWorker(world, kindWith(executor, 2))
    await eventually(() => expect(executor.followed).toEqual(['r/2 after r/0', 'r/3 after r/1']))
    await world.accounting.control('r', 'pause', 'a test')
    end('r/0', 'r/1')
    await isEmpty(world)
    expect(executor.begun).toEqual(['r/0', 'r/1'])
    expect(parked.mock.calls.map(([{ seqs }]) => seqs)).toEqual([[[2, 6]]])
  })

  test('go before all behind them in their envelope when they are given back', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({
      ahead: { returnedAfter: 1 },
      work: () => wait(context),
    }))
    await dispatch(world, 'r', jobs(3))
    beginWorker(world, kindWith(executor, 1))
    await eventually(() => expect(executor.followed).toEqual(['r/1 after r/0']))
    await turns(50)
    end('r/0', 'r/1', 'r/2')
    await isEmpty(world)
    expect(executor.begun).toEqual(['r/0', 'r/1', 'r/2'])
  })

  test('get no slot beyond the size when their run is paused for a moment only', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    await dispatch(world, 'r', jobs(9))
    beginWorker(world, kindWith(executor, 3))
    await eventually(() => expect(executor.followed.length).toBe(3))
    const heard: (string | undefined)[] = []
    world.holds.listen('r', (hold) => heard.push(hold))
    await world.accounting.control('r', 'pause', 'a test')
    await world.accounting.control('r', 'resume', 'a test')
    await eventually(() => expect(heard).toEqual(['paused', undefined]))
    await turns(50)
    expect(executor.running).toBe(3)
    for (let seq = 0; seq < 9; seq += 1) end(`r/${seq}`)
    await isEmpty(world)
    expect(executor.begun.toSorted()).toEqual(Array.from({ length: 9 }, (_, seq) => `r/${seq}`))
    expect(executor.most).toBe(3)
  })

  test('are not begun by a worker that they are taken away from', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    await dispatch(world, 'r', jobs(5))
    beginWorker(world, kindWith(executor, 2))
    await eventually(() => expect(executor.followed.length).toBe(2))
    const lost = world.loseLocks()
    end('r/0', 'r/1')
    await lost
    expect(executor.begun).toEqual(['r/0', 'r/1'])
  })

  test('leave the clock of their envelope standing while all of it waits for others', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({
      ahead: { returnedAfter: 1 },
      work: () => wait(context),
    }))
    const tokens = Promise.withResolvers<void>()
    const take = (_: string, { labels }: { labels?: unknown }) =>
      labels === undefined ? undefined : tokens.promise
    // The second is given back, and expires while it waits; the third waits for its token.
    const tasks = [
      ...jobs(1),
      ...jobs(1, { deadlineMs: 20 }),
      ...jobs(1, { labels: { waits: 'yes' } }),
    ]
    await dispatch(world, 'r', tasks)
    const errors = beginWorker(
      world,
      { ...kindWith(executor, 1), limitMs: () => 50 },
      { limiter: { take }, hangGraceMs: 50 },
    ).errors
    await eventually(() => expect(executor.followed).toEqual(['r/1 after r/0']))
    const since = Date.now()
    await eventually(() => expect(Date.now() - since).toBeGreaterThan(30))
    end('r/0')
    const idleSince = Date.now()
    await eventually(() => expect(Date.now() - idleSince).toBeGreaterThan(300))
    expect(errors).toEqual([])
    tokens.resolve()
    end('r/2')
    await isEmpty(world)
    expect(executor.begun).toEqual(['r/0', 'r/2'])
  })
})
