import { afterEach, describe, expect, test } from 'bun:test'
import type { Kind } from '../../actors/kind.ts'
import type { Execution } from '../../actors/ports.ts'
import { eventually } from '../kit/eventually.ts'
import { beginWorker, isEmpty, jobs, resultsOf } from './working.ts'
import { dispatch, kindOf, memoryWorld, ok, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

describe('a task that takes its worker down', () => {
  /** Kills the worker at hand each time the task with this seq has begun. */
  async function killWhile(world: World, kind: Kind, begun: () => number, times: number) {
    for (let kill = 1; kill <= times; kill += 1) {
      beginWorker(world, kind)
      await eventually(() => expect(begun()).toBe(kill))
      await world.kill()
    }
    beginWorker(world, kind)
  }

  const killer = (seqOfKiller: number) => {
    const runs = new Map<number, number>()
    const kind = kindOf('job', async (_, { seq }) => {
      runs.set(seq, (runs.get(seq) ?? 0) + 1)
      return seq === seqOfKiller ? new Promise<Execution>(() => {}) : ok
    })
    return { kind, runs, begun: () => runs.get(seqOfKiller) ?? 0 }
  }

  test('ends as dead when it did so too often, and its neighbours complete', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const { kind, runs, begun } = killer(1)
    await dispatch(world, 'r-1', jobs(4))
    // The first time nobody knows which task it was.
    await killWhile(world, kind, begun, 3)
    const results = await resultsOf(bodies, 4)
    expect(results.map(({ code }) => code)).toEqual([1, 6, 1, 1])
    expect(results[1]?.result.error?.code).toBe('POISON')
    expect(runs.get(1)).toBe(3)
    await isEmpty(world)
    const crash = { at: expect.any(Number), node: 'n-1', worker: 'work.job' }
    expect((await world.letters.list({ limit: 9 })).items).toMatchObject([
      { id: 'r-1.1', reason: 'poison', mailbox: 'work.job', chain: [crash, crash] },
    ])
  })

  test('is not blamed for what another task did', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const { kind, runs, begun } = killer(2)
    await dispatch(world, 'r-1', jobs(3))
    await killWhile(world, kind, begun, 3)
    const results = await resultsOf(bodies, 3)
    expect(results.map(({ code }) => code)).toEqual([1, 1, 6])
    // Its neighbours ran again each time, and nothing came of it.
    expect([runs.get(0), runs.get(1)]).toEqual([4, 4])
  })

  test('at most once, is never run again, and the others of its envelope are', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const { kind, runs, begun } = killer(1)
    await dispatch(world, 'r-1', jobs(3, { delivery: 'at-most-once' }))
    await killWhile(world, kind, begun, 1)
    const results = await resultsOf(bodies, 3)
    // The first had ended before, and the envelope still says how.
    expect(results.map(({ code }) => code)).toEqual([1, 6, 1])
    expect(results[1]?.result.error?.code).toBe('AT_MOST_ONCE')
    const crash = { at: expect.any(Number), node: 'n-1', worker: 'work.job' }
    expect((await world.letters.list({ limit: 9 })).items).toMatchObject([
      { id: 'r-1.1', reason: 'at-most-once', chain: [crash] },
    ])
    expect([...runs]).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
    ])
  })
})
