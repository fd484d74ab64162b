import { afterEach, describe, expect, test } from 'bun:test'
import { workMailbox } from '../../actors/place.ts'
import { beginWorker, isEmpty, jobs, resultsOf } from './working.ts'
import { dispatch, failed, kindOf, memoryWorld, ok, packLimits, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

describe('a worker of an ordered mailbox', () => {
  const mailbox = workMailbox('job', 'k', packLimits.keyPartitions)

  test('tries again in place, so that nothing overtakes', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const runs: string[] = []
    const kind = kindOf('job', async (_, { seq, attempt }) => {
      runs.push(`${seq}#${attempt}`)
      return seq === 1 && attempt < 3 ? failed : ok
    })
    const limits = { ...packLimits, tasksOf: () => 2 }
    await dispatch(world, 'r-1', jobs(5, { key: 'k' }), limits)
    beginWorker(world, kind, { mailbox, ordered: true })
    const results = await resultsOf(bodies, 5)
    expect(runs).toEqual(['0#1', '1#1', '1#2', '1#3', '2#1', '3#1', '4#1'])
    expect(results.map(({ attempt }) => attempt)).toEqual([1, 3, 1, 1, 1])
    expect(results[1]?.result.attempts).toHaveLength(2)
    await isEmpty(world, mailbox)
  })

  test('goes on to the next task when one has failed for good', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const runs: string[] = []
    const kind = kindOf(
      'job',
      (_, { seq, attempt }) => {
        runs.push(`${seq}#${attempt}`)
        return seq === 0 ? failed : ok
      },
      { attempts: 2 },
    )
    await dispatch(world, 'r-1', jobs(2, { key: 'k' }))
    beginWorker(world, kind, { mailbox, ordered: true })
    const results = await resultsOf(bodies, 2)
    expect(runs).toEqual(['0#1', '0#2', '1#1'])
    expect(results.map(({ code, attempt }) => [code, attempt])).toEqual([
      [2, 2],
      [1, 1],
    ])
  })
})
