import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { FencedError } from '../../actors/errors.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import type { RunningSingleton } from '../../actors/singleton-work.ts'
import { contention, jitterMs, limits, refusalOf, times } from './contention.ts'

let world: ReturnType<typeof contention>

beforeEach(() => {
  world = contention()
})

afterEach(() => world.close())

/** A start, or an end, that comes when the test says so. */
const pending = <T>() => Promise.withResolvers<T>()

describe('a singleton', () => {
  test('works in one place, the others wait and are ready', async () => {
    const { clock, leases, begin, startedAt, termOf } = world
    const a = begin('a')
    await clock.settle()
    const b = begin('b')
    await clock.pass(10 * times.ttlMs)
    expect([a.state(), b.state()]).toEqual(['active', 'passive'])
    expect(startedAt()).toEqual(['a'])
    for (const { actor } of [a, b]) expect(actor.getSnapshot().hasTag('ready')).toBe(true)
    expect([a, b].map(({ actor }) => actor.getSnapshot().hasTag('active'))).toEqual([true, false])
    const { epoch, fence, signal } = termOf('a')
    expect([fence.lease, fence.epoch, signal.aborted]).toEqual(['a', epoch, false])
    expect(await leases.list()).toMatchObject([{ name: 'a', holder: 'a', epoch }])
  })

  test('is not ready before it contends', async () => {
    const { clock, leases, begin } = world
    const watching = pending<void>()
    const a = begin('a', () => undefined, {
      watch: async (listener) => {
        await watching.promise
        return leases.watch(listener)
      },
    })
    await clock.settle()
    expect(a.actor.getSnapshot().hasTag('ready')).toBe(false)
    watching.resolve()
    await clock.settle()
    expect(a.actor.getSnapshot().hasTag('ready')).toBe(true)
  })

  test('that stops in order first ends its work, then hands over at once', async () => {
    const { clock, heard, warned, begin, startedAt, termOf } = world
    const stopping = pending<void>()
    let wasAborted: boolean | undefined
    const a = begin('a', ({ signal, fence }) => ({
      stop: async () => {
        wasAborted = signal.aborted
        await stopping.promise
        await fence.put('cursor', '7')
      },
    }))
    await clock.settle()
    begin('b')
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.pass(limits.stopLimitMs - 1)
    expect([a.state(), startedAt()]).toEqual(['stopping', ['a']])
    const before = clock.monotonic()
    stopping.resolve()
    await clock.settle()
    expect(a.actor.getSnapshot().status).toBe('done')
    expect(startedAt()).toEqual(['a', 'b'])
    expect(clock.monotonic()).toBe(before)
    expect([wasAborted, termOf('a').signal.aborted]).toEqual([false, true])
    expect(await termOf('b').fence.get('cursor')).toBe('7')
    expect(heard.slice(2)).toEqual([
      'a lost released',
      `b held ${termOf('b').epoch}`,
      `b led ${termOf('b').epoch} 0`,
    ])
    expect(warned).toEqual([])
  })

  test('without a stop is stopped by its signal, and waited for', async () => {
    const { clock, begin, termOf } = world
    const ended = pending<void>()
    const a = begin('a', () => ({ ended: ended.promise }))
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.pass(100)
    expect([a.state(), termOf('a').signal.aborted]).toEqual(['stopping', true])
    ended.reject(new Error('aborted'))
    await clock.settle()
    expect([a.actor.getSnapshot().status, a.errors]).toEqual(['done', []])
  })

  test('whose work does not stop in time is left behind, and the lease given back', async () => {
    const { clock, warned, begin, startedAt, termOf } = world
    const a = begin('a', () => ({ stop: () => new Promise(() => undefined) }))
    await clock.settle()
    begin('b')
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.pass(limits.stopLimitMs)
    expect(a.actor.getSnapshot().status).toBe('done')
    expect(warned).toEqual(['the work of a singleton did not stop in time'])
    expect(startedAt()).toEqual(['a', 'b'])
    const { signal, fence } = termOf('a')
    expect(signal.aborted).toBe(true)
    expect(await refusalOf(fence.put('cursor', 'late'))).toBeInstanceOf(FencedError)
  })

  test('whose work fails as it stops has stopped all the same', async () => {
    const { clock, leases, warned, begin } = world
    const a = begin('a', () => ({
      stop: () => {
        throw new Error('cannot close')
      },
    }))
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.settle()
    expect([a.actor.getSnapshot().status, a.errors]).toEqual(['done', []])
    expect(warned).toEqual(['the work of a singleton failed as it stopped'])
    expect(await leases.list()).toEqual([])
  })

  test('asked to stop while it starts, aborts the start and stops what comes of it', async () => {
    const { clock, leases, heard, begin, termOf } = world
    const started = pending<RunningSingleton>()
    const stops: string[] = []
    const a = begin('a', () => started.promise)
    await clock.settle()
    a.actor.send({ type: 'stop' })
    expect([a.state(), termOf('a').signal.aborted]).toEqual(['stopping', true])
    await clock.pass(100)
    expect((await leases.list()).length).toBe(1)
    started.resolve({ stop: () => stops.push('stop') })
    await clock.settle()
    expect([a.actor.getSnapshot().status, stops]).toEqual(['done', ['stop']])
    expect(await leases.list()).toEqual([])
    // It never led.
    expect(heard.filter((word) => word.includes('led'))).toEqual([])
  })

  test('asked to stop, or taken out, before its work has begun never begins it', async () => {
    const { clock, leases, begin, startedAt } = world
    const a = begin('a')
    const asked = a.actor.subscribe(() => {
      if (a.state() !== 'starting') return
      asked.unsubscribe()
      a.actor.send({ type: 'stop' })
    })
    await clock.settle()
    expect([a.actor.getSnapshot().status, startedAt()]).toEqual(['done', []])
    const b = begin('b')
    const taken = b.actor.subscribe(() => {
      if (b.state() !== 'starting') return
      taken.unsubscribe()
      b.actor.stop()
    })
    await clock.settle()
    expect([b.actor.getSnapshot().status, startedAt()]).toEqual(['stopped', []])
    expect(await leases.list()).toMatchObject([{ holder: 'b' }])
  })

  test('asked to stop before it holds anything, ends at once', async () => {
    const { clock, begin } = world
    begin('a')
    await clock.settle()
    const b = begin('b')
    await clock.settle()
    b.actor.send({ type: 'stop' })
    await clock.settle()
    expect([b.actor.getSnapshot().status, b.errors]).toEqual(['done', []])
  })

  test('killed without a word is taken over when the ttl ends, under a larger epoch', async () => {
    const { clock, leases, terms, heard, begin, startedAt, termOf } = world
    const stops: string[] = []
    const a = begin('a', () => ({ stop: () => stops.push('stop') }))
    begin('b')
    begin('c')
    await clock.pass(3 * times.renewMs)
    a.actor.stop()
    expect(termOf('a').signal.aborted).toBe(true)
    const [left] = await leases.list()
    await clock.pass((left?.ttlMs ?? 0) - 1)
    expect([startedAt(), stops]).toEqual([['a'], ['stop']])
    await clock.pass(1 + jitterMs)
    expect(terms).toHaveLength(2)
    const second = terms[1]?.context.epoch ?? 0
    expect(second).toBeGreaterThan(termOf('a').epoch)
    const failoverMs = Number(heard.at(-1)?.split(' ').at(-1))
    expect(failoverMs).toBeGreaterThanOrEqual(0)
    expect(failoverMs).toBeLessThanOrEqual(jitterMs)
  })

  test('grows its epoch with every takeover, also by the same node', async () => {
    const { clock, leases, terms, begin } = world
    begin('a')
    begin('b')
    await clock.settle()
    for (let round = 0; round < 6; round += 1) {
      await leases.revoke('a', 'drill')
      await clock.pass(2 * jitterMs)
    }
    const epochs = terms.map(({ context }) => context.epoch)
    expect(epochs).toHaveLength(7)
    expect(epochs).toEqual([...new Set(epochs)].toSorted((x, y) => x - y))
    // Each led until it lost, and the last one leads.
    expect(terms.map(({ context }) => context.signal.aborted)).toEqual([
      ...Array.from({ length: 6 }, () => true),
      false,
    ])
  })
})

describe('a singleton that loses its lease', () => {
  test('and is the first to get it again tells how long nobody led', async () => {
    const { clock, leases, begin, heard } = world
    begin('a')
    await clock.pass(times.renewMs)
    await leases.revoke('a', 'drill')
    await clock.pass(jitterMs)
    const [, first, , , second] = heard.map((word) => word.split(' '))
    expect([first?.[1], first?.[3]]).toEqual(['led', 'undefined'])
    expect(second?.[1]).toBe('led')
    expect(Number(second?.[3])).toBeGreaterThan(0)
    expect(Number(second?.[3])).toBeLessThanOrEqual(jitterMs)
  })

  /** Renewals are not answered, and not done, while `isOn`. */
  const cut = (isOn: () => boolean): Partial<Leases> => ({
    renew: (...args) => (isOn() ? new Promise(() => undefined) : world.leases.renew(...args)),
    acquire: (...args) => (isOn() ? new Promise(() => undefined) : world.leases.acquire(...args)),
  })

  test('as it starts is passive at once, the start aborted and its outcome stopped', async () => {
    const { clock, leases, begin, startedAt, termOf } = world
    const started = pending<RunningSingleton>()
    const stops: string[] = []
    const a = begin('a', () => started.promise)
    await clock.settle()
    begin('b')
    await clock.settle()
    await leases.revoke('a', 'drill')
    await clock.settle()
    expect([a.state(), termOf('a').signal.aborted]).toEqual(['passive', true])
    expect(startedAt()).toEqual(['a', 'b'])
    started.resolve({ stop: () => stops.push('stop') })
    await clock.settle()
    expect([a.state(), stops, a.errors]).toEqual(['passive', ['stop'], []])
  })

  test('leaves work behind that ignores its signal, and that can write nothing', async () => {
    const { clock, heard, begin, startedAt, termOf } = world
    let isCut = false
    const a = begin(
      'a',
      () => ({ stop: () => new Promise(() => undefined) }),
      cut(() => isCut),
    )
    await clock.settle()
    const b = begin('b')
    await termOf('a').fence.put('cursor', 'before')
    isCut = true
    await clock.pass((times.ttlMs * 2) / 3 + 1)
    const { fence, signal } = termOf('a')
    expect([a.state(), signal.aborted, startedAt()]).toEqual(['passive', true, ['a']])
    expect(heard.at(-1)).toBe('a lost unconfirmed')
    expect(await refusalOf(fence.put('cursor', 'stale'))).toBeInstanceOf(FencedError)
    await clock.pass(times.ttlMs / 3 + jitterMs)
    expect([b.state(), startedAt()]).toEqual(['active', ['a', 'b']])
    expect(await refusalOf(fence.put('cursor', 'stale'))).toBeInstanceOf(FencedError)
    expect(await termOf('b').fence.get('cursor')).toBe('before')
    isCut = false
    await clock.pass(2 * times.ttlMs)
    expect([a.state(), b.state()]).toEqual(['passive', 'active'])
  })

  test('in a pause of its process hears of it before it can do anything', async () => {
    const { clock, heard, begin, termOf } = world
    const a = begin('a')
    await clock.settle()
    // Time passes, and nobody has had his turn yet.
    clock.advance(times.ttlMs)
    expect(() => termOf('a').fence.assert()).toThrow(FencedError)
    expect([a.state(), termOf('a').signal.aborted]).toEqual(['passive', true])
    expect(heard.at(-1)).toBe('a lost expired')
    // Of such an end no notice comes; it counts all the same.
    await clock.pass(jitterMs)
    expect(heard.at(-1)).toMatch(/^a led \d+ [\d.]+$/)
  })

  test('and hears of it only by its fence asks at once, and is passive', async () => {
    const { clock, leases, heard, begin, startedAt, termOf } = world
    const deaf: Partial<Leases> = { watch: async () => async () => undefined }
    const a = begin('a', () => undefined, deaf)
    await clock.settle()
    begin('b')
    await clock.settle()
    await leases.revoke('a', 'drill')
    await clock.settle()
    expect([a.state(), startedAt()]).toEqual(['active', ['a', 'b']])
    const { fence, signal } = termOf('a')
    expect(await refusalOf(fence.put('cursor', 'stale'))).toBeInstanceOf(FencedError)
    await clock.settle()
    expect([a.state(), signal.aborted, a.errors]).toEqual(['passive', true, []])
    expect(heard.at(-1)).toBe('a lost refused')
  })

  test('as it stops waits no longer, and does not contend again', async () => {
    const { clock, leases, begin } = world
    const a = begin('a', () => ({ stop: () => new Promise(() => undefined) }))
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.settle()
    await leases.revoke('a', 'drill')
    await clock.settle()
    expect(a.actor.getSnapshot().status).toBe('done')
    expect(await leases.list()).toEqual([])
  })
})

describe('tasks that a singleton submits', () => {
  const tasks = [{ kind: 'noop' }, { kind: 'noop', id: 'second' }]

  test('are handed over under its lease and its epoch', async () => {
    const { clock, begin, submitted, termOf } = world
    begin('a')
    await clock.settle()
    const { epoch, submit } = termOf('a')
    expect(await submit(tasks)).toBe('run of a')
    expect(submitted).toEqual([{ tasks, fence: { lease: 'a', epoch } }])
  })

  test('are taken as it starts, and as it stops in order', async () => {
    const { clock, begin, submitted } = world
    const a = begin('a', async ({ submit }) => {
      await submit(tasks)
      return { stop: () => submit(tasks) }
    })
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.settle()
    expect([submitted.length, a.actor.getSnapshot().status]).toEqual([2, 'done'])
  })

  test('are refused when it no longer leads, and nobody hears of them', async () => {
    const { clock, leases, begin, submitted, termOf } = world
    begin('a')
    await clock.settle()
    const { submit, epoch } = termOf('a')
    await leases.revoke('a', 'drill')
    await clock.settle()
    const refused = refusalOf(submit(tasks))
    expect(await refused).toMatchObject({ code: 'FENCED', lease: 'a', epoch })
    expect(submitted).toEqual([])
    // It may lead again: what it was told then does not count any more.
    await clock.pass(2 * jitterMs)
    expect(termOf('a').epoch).toBeGreaterThan(epoch)
    expect(await refusalOf(submit(tasks))).toBeInstanceOf(FencedError)
    await termOf('a').submit(tasks)
    expect(submitted.map(({ fence }) => fence.epoch)).toEqual([termOf('a').epoch])
  })

  test('are refused after a pause of its process, before anything else had its turn', async () => {
    const { clock, begin, submitted, termOf } = world
    begin('a')
    await clock.settle()
    clock.advance(times.ttlMs)
    const refused = refusalOf(termOf('a').submit(tasks))
    expect(await refused).toBeInstanceOf(FencedError)
    expect(submitted).toEqual([])
  })

  test('are refused once Redis has refused anything else of it', async () => {
    const { clock, leases, begin, submitted, termOf } = world
    begin('a', () => undefined, { watch: async () => async () => undefined })
    await clock.settle()
    const { submit, fence } = termOf('a')
    await leases.revoke('a', 'drill')
    await leases.acquire('a', 'b/boot/1', times.ttlMs)
    expect(await refusalOf(fence.check())).toBeInstanceOf(FencedError)
    expect(await refusalOf(submit(tasks))).toBeInstanceOf(FencedError)
    expect(submitted).toEqual([])
  })
})
