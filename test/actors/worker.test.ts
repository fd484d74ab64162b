import { afterEach, describe, expect, test } from 'bun:test'
import type { Envelope } from '../../actors/envelope.ts'
import { Paces } from '../../actors/paces.ts'
import type { Execution } from '../../actors/ports.ts'
import { systemClock } from '../../runtime/clock.ts'
import { testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { beginWorker, isEmpty, jobs, resultsOf } from './working.ts'
import { dispatch, failed, kindOf, memoryWorld, ok, packLimits, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(clock = systemClock): World {
  const world = memoryWorld(clock)
  worlds.push(world)
  return world
}

describe('a worker', () => {
  test('reports each outcome with its output and its error', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const bodies = await world.settled()
    const timeout: Execution = {
      outcome: 'timeout',
      error: { code: 'TIMEOUT', message: 'too slow' },
      stage: 'run',
    }
    const script = [{ ...ok, output: { bytes: 3 } }, failed, timeout]
    const kind = kindOf('job', (_, { seq }) => script[seq] ?? ok, { attempts: 1 })
    await dispatch(world, 'r-1', [...jobs(3), ...jobs(1, { deadlineMs: 50 }), ...jobs(1)])
    clock.advance(51)
    beginWorker(world, kind)
    const results = await resultsOf(bodies, 5)
    expect(results.map(({ code }) => code)).toEqual([1, 2, 3, 5, 1])
    expect(results[0]?.result).toMatchObject({ output: { bytes: 3 }, queueMs: 51 })
    expect(results[1]?.result.error).toEqual({ code: 'BOOM', message: 'boom' })
    expect(results[2]?.result.error?.code).toBe('TIMEOUT')
    expect(results[3]?.result.error?.code).toBe('EXPIRED')
    await isEmpty(world)
  })

  test('a task that is in time for its deadline is run', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const bodies = await world.settled()
    await dispatch(world, 'r-1', jobs(1, { deadlineMs: 50, delayMs: 0 }))
    clock.advance(50)
    beginWorker(
      world,
      kindOf('job', () => ok),
    )
    expect((await resultsOf(bodies, 1)).map(({ code }) => code)).toEqual([1])
  })

  test('tries only what failed again, one attempt higher and with its history', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const runs: string[] = []
    const kind = kindOf('job', async (_, { seq, attempt }) => {
      runs.push(`${seq}#${attempt}`)
      return seq === 1 && attempt < 3 ? failed : ok
    })
    await dispatch(world, 'r-1', jobs(3))
    beginWorker(world, kind)
    const results = await resultsOf(bodies, 3)
    expect(runs.toSorted()).toEqual(['0#1', '1#1', '1#2', '1#3', '2#1'])
    expect(results.map(({ code, attempt }) => [code, attempt])).toEqual([
      [1, 1],
      [1, 3],
      [1, 1],
    ])
    expect(results[1]?.result.attempts?.map(({ attempt, error }) => [attempt, error.code])).toEqual(
      [
        [1, 'BOOM'],
        [2, 'BOOM'],
      ],
    )
    expect(results[0]?.result).not.toHaveProperty('attempts')
    await isEmpty(world)
  })

  test('gives up after the last attempt, with the outcome of that one', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const kind = kindOf('job', (_, { attempt }) =>
      attempt < 3 ? failed : { ...failed, outcome: 'timeout' },
    )
    await dispatch(world, 'r-1', jobs(1, { attempts: 3 }))
    beginWorker(world, kind)
    const [result] = await resultsOf(bodies, 1)
    expect([result?.code, result?.attempt, result?.result.attempts?.length]).toEqual([3, 3, 2])
  })

  test('sends the results before it acknowledges the envelope', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const gate = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    await dispatch(world, 'r-1', jobs(2))
    const mailboxes = {
      ...world.mailboxes,
      async send(...args: Parameters<typeof world.mailboxes.send>) {
        asked.resolve()
        await gate.promise
        await world.mailboxes.send(...args)
      },
    }
    beginWorker(
      world,
      kindOf('job', () => ok),
      { mailboxes },
    )
    await asked.promise
    expect((await world.mailboxes.depth('work.job')).active).toBe(1)
    gate.resolve()
    await resultsOf(bodies, 2)
    await isEmpty(world)
  })

  test('an envelope that cannot be settled comes back and is run again', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    let refusals = 2
    const mailboxes = {
      ...world.mailboxes,
      async send(...args: Parameters<typeof world.mailboxes.send>) {
        refusals -= 1
        if (refusals >= 0) throw new Error('Redis is away')
        await world.mailboxes.send(...args)
      },
    }
    let runs = 0
    const kind = kindOf('job', () => {
      runs += 1
      return ok
    })
    await dispatch(world, 'r-1', jobs(2))
    const life = beginWorker(world, kind, { mailboxes })
    const results = await resultsOf(bodies, 2)
    expect([results.map(({ code }) => code), runs]).toEqual([[1, 1], 6])
    await isEmpty(world)
    const { context } = life.actor.getSnapshot()
    expect(context).toEqual({ envelopes: 0, tasks: 0, settled: 2, returned: 4 })
  })

  test('that its pace cannot be published is no reason to run an envelope again', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const recordPaces = () => Promise.reject(new Error('Redis is away'))
    const paces = new Paces({ ...world.admission, recordPaces }, world.clock)
    await dispatch(world, 'r-1', jobs(1))
    const life = beginWorker(
      world,
      kindOf('job', () => ok),
      { paces },
    )
    await resultsOf(bodies, 1)
    await isEmpty(world)
    expect(life.actor.getSnapshot().context).toMatchObject({ settled: 1, returned: 0 })
    expect(world.logged.map(({ message }) => message)).toEqual([
      'cannot publish the pace of a kind',
    ])
  })

  test('a redelivered envelope skips what has an outcome', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const runs: number[] = []
    const kind = kindOf('job', async (_, { seq }) => {
      runs.push(seq)
      if (runs.length > 3) return ok
      return new Promise<Execution>(() => {})
    })
    await dispatch(world, 'r-1', jobs(3))
    beginWorker(world, kind)
    await eventually(() => expect(runs).toEqual([0, 1, 2]))
    await world.accounting.settle([
      { run: 'r-1', id: 'x', mailbox: 'work.job', seqs: [[1, 1]], outcomes: ['ok'] },
    ])
    await world.kill()
    beginWorker(world, kind)
    const results = await resultsOf(bodies, 2)
    expect(results.map(({ seq }) => seq)).toEqual([0, 2])
    expect(runs.slice(3)).toEqual([0, 2])
  })

  test('an envelope that is taken away settles nothing', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const ends: PromiseWithResolvers<Execution>[] = []
    const kind = kindOf('job', () => {
      const end = Promise.withResolvers<Execution>()
      ends.push(end)
      return end.promise
    })
    await dispatch(world, 'r-1', jobs(2))
    const life = beginWorker(world, kind)
    await eventually(() => expect(ends).toHaveLength(2))
    await world.kill()
    ends[0]?.resolve(ok)
    ends[1]?.resolve(failed)
    await eventually(() => {
      expect(life.actor.getSnapshot().context).toMatchObject({ settled: 0, returned: 2 })
    })
    expect(bodies).toEqual([])
    const depth = await world.mailboxes.depth('work.job')
    expect(depth).toEqual({ waiting: 1, active: 0, delayed: 0 })
  })

  test('never runs more tasks at a time than it has slots, however they came', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    let running = 0
    let most = 0
    const kind = kindOf(
      'job',
      async () => {
        running += 1
        most = Math.max(most, running)
        await systemClock.breathe()
        running -= 1
        return ok
      },
      { concurrency: 3 },
    )
    const once = jobs(12, { delivery: 'at-most-once' })
    await dispatch(world, 'r-1', [...jobs(12), ...once], { ...packLimits, tasksOf: () => 3 })
    beginWorker(world, kind)
    const results = await resultsOf(bodies, 24)
    expect(results.every(({ code }) => code === 1)).toBe(true)
    expect(most).toBe(3)
  })

  test('an envelope of an unknown version is kept whole, and none of it runs', async () => {
    const world = makeWorld()
    let runs = 0
    const kind = kindOf('job', () => {
      runs += 1
      return ok
    })
    const body = { v: 2, run: 'r-1', batches: [[0, 1]] } as unknown as Envelope
    const message = { mailbox: 'work.job', id: 'x', priority: 'normal', delayMs: 0, body } as const
    await world.mailboxes.send([message])
    beginWorker(world, kind)
    await isEmpty(world)
    const [letter] = await world.letters.get(['work.job/x'])
    expect(letter).toMatchObject({ reason: 'schema', run: 'r-1', message: { id: 'x', body } })
    expect(runs).toBe(0)
  })

  test('stopped while it opens its mailbox, it receives nothing later', async () => {
    const world = makeWorld()
    const gate = Promise.withResolvers<void>()
    const mailboxes = {
      ...world.mailboxes,
      async receive(...args: Parameters<typeof world.mailboxes.receive>) {
        await gate.promise
        return world.mailboxes.receive(...args)
      },
    }
    let runs = 0
    const kind = kindOf('job', () => {
      runs += 1
      return ok
    })
    const life = beginWorker(world, kind, { mailboxes })
    life.actor.send({ type: 'stop' })
    gate.resolve()
    await life.stop()
    await dispatch(world, 'r-1', jobs(1))
    await systemClock.breathe()
    expect([runs, (await world.mailboxes.depth('work.job')).waiting]).toEqual([0, 1])
  })
})
