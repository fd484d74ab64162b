/** Tasks that an executor takes ahead: who follows whom in a slot; and none is gained by it. */
import { afterEach, describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, constantFrom, integer, nat, record } from 'fast-check'
import type { Kind } from '../../actors/kind.ts'
import type { ExecuteContext, Execution, Executor } from '../../actors/ports.ts'
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
  /** Undefined: nothing is taken ahead; `returned`: it is, and then given back unbegun. */
  ahead?: 'taken' | 'returned'
  /** Resolves when the task has ended; it has begun. */
  work(): Promise<unknown>
}

const nameOf = ({ run, seq }: ExecuteContext) => `${run}/${seq}`

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
  ): Promise<Execution | undefined> | undefined {
    const { ahead } = this.#courseOf(context)
    const end = this.#ends.get(before)
    if (ahead === undefined || end === undefined) return undefined
    this.followed.push(`${nameOf(context)} after ${nameOf(before)}`)
    if (ahead === 'returned') return Promise.resolve().then(() => undefined)
    return end.then(() => this.#begin(context))
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
  test('follow one in each slot, and are timed from when that has ended', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    await dispatch(world, 'r', jobs(6))
    beginWorker(world, kindWith(executor, 2))
    await eventually(() => expect(executor.followed).toEqual(['r/2 after r/0', 'r/3 after r/1']))
    expect(executor.begun).toEqual(['r/0', 'r/1'])
    const waitedFrom = Date.now()
    await eventually(() => expect(Date.now() - waitedFrom).toBeGreaterThanOrEqual(30))
    const endedAt = Date.now()
    end('r/1')
    await eventually(() => expect(executor.followed).toContain('r/4 after r/3'))
    expect(executor.begun).toEqual(['r/0', 'r/1', 'r/3'])
    end('r/0', 'r/2', 'r/3', 'r/4', 'r/5')
    const results = await resultsOf(bodies, 6)
    expect(results[3]?.result.startedAt).toBeGreaterThanOrEqual(endedAt)
    expect(results[1]?.result.durationMs).toBeGreaterThanOrEqual(30)
    expect(executor.most).toBe(2)
    await isEmpty(world)
  })

  test('take the first slot that is free when they are given back', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'returned', work: () => wait(context) }))
    await dispatch(world, 'r', jobs(4))
    beginWorker(world, kindWith(executor, 2))
    await eventually(() => expect(executor.followed.length).toBe(2))
    expect(executor.begun).toEqual(['r/0', 'r/1'])
    end('r/1')
    await eventually(() => expect(executor.begun.length).toBe(3))
    end('r/0', 'r/2', 'r/3')
    await isEmpty(world)
    expect(executor.begun.toSorted()).toEqual(['r/0', 'r/1', 'r/2', 'r/3'])
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
      turns: nat(4),
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
        const executor = new Ahead(({ seq }) => {
          const { ahead, turns } = courses[seq % courses.length] ?? { ahead: undefined, turns: 0 }
          const work = async () => {
            for (let turn = 0; turn < turns; turn += 1) await Promise.resolve()
            if (turns === 4) await new Promise((resolve) => setImmediate(resolve))
          }
          return { ...(ahead !== undefined && { ahead }), work }
        })
        const limits = { ...packLimits, tasksOf: () => tasksOf }
        await dispatch(world, 'a', jobs(courses.length), limits)
        await dispatch(world, 'b', jobs(others), limits)
        beginWorker(world, kindWith(executor, concurrency))
        await isEmpty(world)
        expect(executor.begun.length).toBe(courses.length + others)
        expect(new Set(executor.begun).size).toBe(courses.length + others)
        expect(executor.most).toBeLessThanOrEqual(concurrency)
        followed += executor.followed.length
        await world.close()
      }),
      { seed: 11, numRuns: 100 },
    )
    expect(followed).toBeGreaterThan(200)
  })

  test('that are taken away from a worker are left unbegun', async () => {
    const world = makeWorld()
    const { wait, end } = gates()
    const executor = new Ahead((context) => ({ ahead: 'taken', work: () => wait(context) }))
    await dispatch(world, 'r', jobs(5))
    beginWorker(world, kindWith(executor, 2))
    await eventually(() => expect(executor.followed.length).toBe(2))
    const lost = world.loseLocks()
    end('r/0', 'r/1', 'r/2', 'r/3', 'r/4')
    await lost
    expect(executor.begun).not.toContain('r/4')
  })
})
