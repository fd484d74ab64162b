/** Collectors with a batch that makes no progress: aborted, restarted and counted. */
import { afterEach, describe, expect, test } from 'bun:test'
import { type CollectorOptions, collector } from '../../actors/collector.ts'
import type { Settled } from '../../actors/ports-runs.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { childIn, inTime, never, supervised } from './hanging.ts'
import { beginWorker, isEmpty, jobs } from './working.ts'
import { type Begun, dispatch, finished, kindOf, memoryWorld, ok, type World } from './world.ts'

let clock: TestClock
let world: World
const makeWorld = () => {
  clock = testClock()
  world = memoryWorld(clock)
}

afterEach(async () => {
  const closed = world.close()
  await clock.pass(60_000)
  await closed
})

describe('a collector with a batch that makes no progress', () => {
  const superviseCollector = (over: Partial<CollectorOptions>): Begun => {
    const fixed = { node: 'n-1', batchMax: 10, graceMs: () => 0, hangMs: 30_000 }
    const options = { ...world, ...fixed, ...over }
    return supervised({ clock, world }, 'collector', () => collector(options))
  }

  /** Two tasks that have been run, their results on the way to the collector. */
  const settleTwo = async () => {
    await dispatch(world, 'r-1', jobs(2))
    const life = beginWorker(
      world,
      kindOf('job', () => ok),
    )
    await isEmpty(world)
    await life.stop()
  }

  test('is restarted and counted; the envelope comes back and is counted once', async () => {
    makeWorld()
    await settleTwo()
    const answer = Promise.withResolvers<void>()
    let settles = 0
    const accounting = {
      ...world.accounting,
      async settle(...args: Parameters<typeof world.accounting.settle>): Promise<Settled[]> {
        settles += 1
        if (settles > 1) return world.accounting.settle(...args)
        await answer.promise
        return args[0].map(() => ({ fresh: 2 }))
      },
    }
    const life = superviseCollector({ accounting })
    await clock.pass(29_999)
    expect(childIn(life, clock)).toMatchObject({ restarts: 0, oldestMessageMs: 29_999 })
    await clock.pass(1)
    const run = await inTime(clock, 100, async () => {
      const progress = await world.accounting.get('r-1')
      expect(progress?.run.state).toBe('completed')
      return progress?.run
    })
    expect(run?.counts).toMatchObject({ ok: 2, pending: 0 })
    const { restarts, lastError } = childIn(life, clock)
    expect(restarts).toBe(1)
    expect(lastError).toMatch(/^results: message r-1\.\S+, received 30000 ms ago, .* progress for /)
    expect([settles, world.audit.lines.length]).toEqual([2, 2])
    // Whoever was given up and gets on after all leaves it at that.
    answer.resolve()
    await clock.settle()
    expect(world.audit.lines).toHaveLength(2)
    expect(life.errors).toEqual([])
  })

  test('is not hung as long as one step after the other is done', async () => {
    makeWorld()
    await settleTwo()
    const slowly = async <T>(act: () => Promise<T>): Promise<T> => {
      await clock.wait(20_000)
      return act()
    }
    const { accounting, audit, results } = world
    const life = superviseCollector({
      accounting: {
        ...accounting,
        settle: (settlements) => slowly(() => accounting.settle(settlements)),
        stored: (settlements) => slowly(() => accounting.stored(settlements)),
      },
      results: { ...results, put: (rows) => slowly(() => results.put(rows)) },
      audit: {
        ...audit,
        appendResults: (batches) => slowly(() => audit.appendResults(batches)),
      },
    })
    await clock.pass(80_000)
    expect((await finished(world, 'r-1')).counts).toMatchObject({ ok: 2, pending: 0 })
    expect(childIn(life, clock).restarts).toBe(0)
  })

  test('is left alone while Redis is away, and no longer', async () => {
    makeWorld()
    await settleTwo()
    let isAway = true
    const accounting = { ...world.accounting, settle: () => never<Settled[]>() }
    const life = superviseCollector({ accounting, isAway: () => isAway })
    await clock.pass(90_000)
    expect(childIn(life, clock)).toMatchObject({
      state: 'life.receiving,batch.collecting',
      restarts: 0,
    })
    isAway = false
    await clock.pass(30_000)
    await inTime(clock, 10, () => expect(childIn(life, clock).restarts).toBe(1))
  })

  test('stops within its grace, as one that is not hung', async () => {
    makeWorld()
    await settleTwo()
    const accounting = { ...world.accounting, settle: () => never<Settled[]>() }
    const life = superviseCollector({ accounting, graceMs: () => 20 })
    await clock.pass(1000)
    const stopped = life.stop()
    await clock.pass(1)
    await stopped
    await clock.settle()
    expect([life.errors, clock.armed]).toEqual([[], 0])
  })
})
