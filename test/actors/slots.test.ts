import { afterEach, describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, integer, nat, record } from 'fast-check'
import type { Execution } from '../../actors/ports.ts'
import { Slots, type Stand } from '../../actors/slots.ts'
import { eventually } from '../kit/eventually.ts'
import { beginWorker, isEmpty, jobs } from './working.ts'
import { dispatch, kindOf, memoryWorld, ok, packLimits, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

/** Lets everybody through who waits, and tells in which order. */
async function letThrough(slots: Slots, waits: readonly [string, Stand][]): Promise<string[]> {
  const got: string[] = []
  const all = waits.map(async ([name, stand]) => {
    await slots.take(undefined, stand)
    got.push(name)
    slots.give()
  })
  slots.resize(1)
  await Promise.all(all)
  return got
}

describe('slots', () => {
  test('in a lane go to whoever stood there first, whenever it waits', async () => {
    const slots = new Slots(0)
    const [first, second] = [slots.stand('a'), slots.stand('a')]
    const waits: [string, Stand][] = [
      ['second', second],
      ['first', first],
    ]
    expect(await letThrough(slots, waits)).toEqual(['first', 'second'])
  })

  test('go round among the lanes', async () => {
    const slots = new Slots(0)
    const [a, b] = [slots.stand('a'), slots.stand('b')]
    const waits: [string, Stand][] = ['a1', 'a2', 'a3', 'b1'].map((name) => [
      name,
      name.startsWith('a') ? a : b,
    ])
    expect(await letThrough(slots, waits)).toEqual(['a1', 'b1', 'a2', 'a3'])
  })

  test('whoever gives up waiting in a lane leaves the others where they are', async () => {
    const slots = new Slots(0)
    const stands = [slots.stand('a'), slots.stand('a'), slots.stand('b')]
    const over = new AbortController()
    const got: number[] = []
    const waits = stands.map(async (stand, index) => {
      await slots.take(index === 0 ? over.signal : undefined, stand)
      got.push(index)
    })
    over.abort()
    await waits[0]
    // It has one beyond the size, and gives it back: nobody else gets that.
    slots.give()
    await Promise.resolve()
    expect(got).toEqual([0])
    slots.resize(2)
    await Promise.all(waits)
    expect(got.toSorted((a, b) => a - b)).toEqual([0, 1, 2])
  })

  test('are never more than there are, and nobody is forgotten', async () => {
    const waiting = array(record({ lane: nat(3), gives: nat(3) }), { maxLength: 60 })
    await assert(
      asyncProperty(integer({ min: 1, max: 5 }), waiting, async (size, steps) => {
        const slots = new Slots(size)
        let taken = 0
        const got = new Set<number>()
        const all = steps.map(async ({ lane, gives }, index) => {
          await slots.take(undefined, slots.stand(String(lane)))
          taken += 1
          expect(taken).toBeLessThanOrEqual(size)
          got.add(index)
          for (let turn = 0; turn < gives; turn += 1) await Promise.resolve()
          taken -= 1
          slots.give()
        })
        await Promise.all(all)
        expect(got.size).toBe(steps.length)
      }),
      { seed: 8, numRuns: 100 },
    )
  })
})

describe('a worker with more envelopes than slots', () => {
  test('finishes the first of a run before the next, and serves another run', async () => {
    const world = memoryWorld()
    worlds.push(world)
    const begun: string[] = []
    const ends: (() => void)[] = []
    const run = async (_: unknown, { run: id, seq }: { run: string; seq: number }) => {
      begun.push(`${id}/${seq}`)
      const end = Promise.withResolvers<void>()
      ends.push(end.resolve)
      await end.promise
      return ok satisfies Execution
    }
    await dispatch(world, 'r-1', jobs(12), { ...packLimits, tasksMax: 6 })
    await dispatch(world, 'r-2', jobs(1))
    beginWorker(world, { ...kindOf('job', run), concurrency: 3 })
    // All slots are taken, and everybody else waits for one.
    await eventually(() => expect(begun.length).toBe(3))
    await eventually(async () => {
      expect((await world.mailboxes.depth('work.job')).active).toBe(3)
    })
    for (let count = 4; count <= 13; count += 1) {
      ends.shift()?.()
      await eventually(() => expect(begun.length).toBe(count))
    }
    expect(begun.indexOf('r-2/0')).toBeLessThan(6)
    // Who gets the first slots, when they are free, is up to who came first.
    const later = begun.slice(3).filter((name) => name !== 'r-2/0')
    const seqs = later.map((name) => Number(name.split('/')[1]))
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))
    for (const end of ends) end()
    await isEmpty(world)
  })
})
