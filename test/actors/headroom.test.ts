import { afterEach, describe, expect, test } from 'bun:test'
import { NotAcceptingError } from '../../actors/errors.ts'
import type { Headroom } from '../../actors/ports-limits.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, countTo, drain, sourceOf, tap } from './feed.ts'
import { jobs } from './working.ts'
import { finished, memoryWorld, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

/** Memory that is short when the test says so. */
function memory(): Headroom & { set(left: 'ample' | 'short' | 'scarce'): void; watched(): number } {
  const listeners = new Set<() => void>()
  let now = 'ample'
  return {
    shortage: () => (now === 'ample' ? undefined : 'the memory is 81 % full'),
    isScarce: () => now === 'scarce',
    look: () => undefined,
    watch(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    set(left) {
      now = left
      for (const listener of listeners) listener()
    },
    watched: () => listeners.size,
  }
}

const waiting = async (world: World) => (await world.mailboxes.depth('work.job')).waiting

describe('a dispatcher whose memory is short', () => {
  test('refuses new runs, and takes them again afterwards', async () => {
    const world = makeWorld()
    const headroom = memory()
    headroom.set('short')
    const it = beginDispatcher(world, { headroom })
    await it.ready()
    const submit = () => it.submit({ source: sourceOf(jobs(1)) })
    const refusal = await submit().catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(NotAcceptingError)
    expect(refusal).toMatchObject({
      reason: 'full',
      message: 'the memory is 81 % full; try again later',
    })
    headroom.set('ample')
    expect((await submit()).run.total).toBe(1)
    await it.stop()
    expect(headroom.watched()).toBe(0)
  })

  test('lets a source wait that has begun, and keeps nothing more of it', async () => {
    const world = makeWorld()
    const headroom = memory()
    const it = beginDispatcher(world, { headroom })
    await it.ready()
    const feed = tap()
    const submitted = it.submit({ source: feed.source })
    feed.push(jobs(5))
    await eventually(() => expect(feed.taken).toBe(1))
    headroom.set('short')
    feed.push(jobs(5))
    feed.push(jobs(5))
    feed.end()
    await eventually(async () => {
      const [run] = await world.accounting.list({ limit: 1 })
      const progress = await world.accounting.get(run?.id ?? '')
      expect([progress?.accepted, progress?.spooled, await waiting(world)]).toEqual([5, 0, 1])
    })
    const arrived = await drain(world, 'work.job', 'at once')
    await eventually(() => expect(arrived.seqs()).toEqual(countTo(5)))
    expect(feed.taken).toBe(1)
    headroom.set('ample')
    const { run } = await submitted
    expect((await finished(world, run.id)).counts.ok).toBe(15)
  })

  test('goes on with what it has spooled', async () => {
    const world = makeWorld()
    const headroom = memory()
    const it = beginDispatcher(world, { headroom, inFlightMax: 10 })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(50)) })
    headroom.set('short')
    const arrived = await drain(world, 'work.job', 'when told')
    for (let envelopes = 2; envelopes <= 10; envelopes += 2) {
      await eventually(() => expect(arrived.envelopes).toHaveLength(envelopes))
      await arrived.complete()
    }
    expect((await finished(world, run.id)).counts.ok).toBe(50)
  })

  test('where it is scarce, goes on one by one, so that it comes back', async () => {
    const world = makeWorld()
    const headroom = memory()
    const it = beginDispatcher(world, { headroom, inFlightMax: 10 })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(50)) })
    expect(await waiting(world)).toBe(2)
    headroom.set('scarce')
    const arrived = await drain(world, 'work.job', 'when told')
    await eventually(() => expect(arrived.envelopes).toHaveLength(2))
    for (let envelopes = 3; envelopes <= 10; envelopes += 1) {
      await arrived.complete()
      await eventually(() => expect(arrived.envelopes).toHaveLength(envelopes))
      expect(await waiting(world)).toBe(0)
    }
    await arrived.complete()
    expect((await finished(world, run.id)).counts.ok).toBe(50)
    expect(arrived.seqs()).toEqual(countTo(50))
  })
})
