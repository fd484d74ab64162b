import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { HungError, UnavailableError, UsageError } from '../../actors/errors.ts'
import { Failovers } from '../../actors/failovers.ts'
import { defineSingleton, LeaseLostError, singleton } from '../../actors/singleton.ts'
import type { RunningSingleton } from '../../actors/singleton-work.ts'
import { supervisor } from '../../actors/supervisor.ts'
import { treeOf } from '../../actors/tree.ts'
import { defaultPolicy, type Restart } from '../../machines/supervision.ts'
import type { Child } from '../../machines/supervisor.ts'
import { contention, limits, times } from './contention.ts'

let world: ReturnType<typeof contention>

beforeEach(() => {
  world = contention()
})

afterEach(() => world.close())

const broken = new Error('it broke')
const failing = () => {
  throw broken
}

describe('a singleton that fails', () => {
  test('to start gives the lease to another at once, and then ends in error', async () => {
    const { begin, clock, startedAt, termOf } = world
    const a = begin('a', async () => {
      await clock.wait(100)
      failing()
    })
    await clock.settle()
    const b = begin('b')
    await clock.pass(100)
    expect(a.errors).toEqual([broken])
    expect([b.state(), startedAt()]).toEqual(['active', ['a', 'b']])
    expect(clock.monotonic()).toBe(100)
    expect(termOf('a').signal.aborted).toBe(true)
    expect(termOf('b').epoch).toBeGreaterThan(termOf('a').epoch)
  })

  test('before its start has returned anything ends no other way', async () => {
    const { begin, clock, leases } = world
    const a = begin('a', failing)
    await clock.settle()
    expect(a.errors).toEqual([broken])
    expect(await leases.list()).toEqual([])
  })

  test('at work is stopped, gives the lease to another, and then ends in error', async () => {
    const { begin, clock, startedAt, termOf } = world
    const ended = Promise.withResolvers<never>()
    const stops: boolean[] = []
    const a = begin('a', ({ signal }) => ({
      ended: ended.promise,
      stop: () => stops.push(signal.aborted),
    }))
    await clock.settle()
    const b = begin('b')
    await clock.settle()
    ended.reject(broken)
    await clock.settle()
    expect([a.errors, stops]).toEqual([[broken], [false]])
    expect([b.state(), startedAt()]).toEqual(['active', ['a', 'b']])
    expect(termOf('a').signal.aborted).toBe(true)
  })

  test('as soon as it has started fails none the less', async () => {
    const { begin, clock, heard } = world
    const a = begin('a', () => ({ ended: Promise.reject(broken) }))
    await clock.settle()
    expect(a.errors).toEqual([broken])
    expect(heard.map((word) => word.split(' ')[1])).toEqual(['held', 'led', 'lost'])
  })

  test('to start in time is left behind, and has hung', async () => {
    const { begin, clock, startedAt, termOf } = world
    const started = Promise.withResolvers<RunningSingleton>()
    const stops: boolean[] = []
    const a = begin('a', () => started.promise)
    await clock.settle()
    begin('b')
    await clock.pass(limits.startLimitMs - 1)
    expect([a.state(), startedAt()]).toEqual(['starting', ['a']])
    await clock.pass(1)
    expect(a.errors).toHaveLength(1)
    expect(a.errors[0]).toBeInstanceOf(HungError)
    expect(startedAt()).toEqual(['a', 'b'])
    // What comes of it after all is stopped, and takes nothing from the next.
    const stop = () => stops.push(termOf('a').signal.aborted)
    started.resolve({ stop, ended: Promise.reject(broken) })
    await clock.settle()
    expect(stops).toEqual([true])
  })

  test('when it no longer leads fails for nobody', async () => {
    const { begin, clock, leases, startedAt } = world
    const ended: PromiseWithResolvers<never>[] = []
    const a = begin('a', () => {
      const end = Promise.withResolvers<never>()
      ended.push(end)
      return { ended: end.promise }
    })
    await clock.settle()
    await leases.revoke('a', 'drill')
    await clock.pass(times.renewMs)
    expect([a.state(), startedAt()]).toEqual(['active', ['a', 'a']])
    ended[0]?.reject(broken)
    await clock.settle()
    expect([a.state(), a.errors]).toEqual(['active', []])
  })

  test('because Redis refused what it wrote is no bug', async () => {
    const { begin, clock, leases } = world
    // Its renewals find nothing wrong: only what it writes is refused.
    const a = begin('a', ({ fence }) => ({ ended: fence.put('cursor', '7') }), {
      put: () => leases.check('a', 0),
    })
    await clock.settle()
    expect(a.errors).toHaveLength(1)
    expect(a.errors[0]).toBeInstanceOf(LeaseLostError)
    expect(a.errors[0]).toMatchObject({ code: 'LEASE_LOST', fault: 'dependency' })
    expect(await leases.list()).toEqual([])
  })

  test('with its lease, which cannot be had, ends with what that failed with', async () => {
    const { begin, clock } = world
    const a = begin('a', () => undefined, { watch: () => Promise.reject(broken) })
    await clock.settle()
    expect(a.errors).toEqual([broken])
  })
})

describe('a singleton under a supervisor', () => {
  const policy = {
    ...defaultPolicy,
    backoff: { baseMs: 200, capMs: 30_000, jitter: 0 },
    intensity: 3,
  }
  type Start = NonNullable<Parameters<typeof world.begin>[1]>

  const supervise = (node: string, start: Start, restart: Restart = 'permanent') => {
    const { clock, log, tell, specOf, run } = world
    return run(
      supervisor({
        id: 'singletons',
        policy,
        children: [{ id: 'a', spec: () => specOf(node, start), restart }],
        clock: { ...clock },
        random: () => 0.5,
        log,
        tell,
      }),
    )
  }
  const childOf = ({ actor }: ReturnType<typeof supervise>): Child | undefined =>
    (actor.getSnapshot() as { context: { children: Child[] } }).context.children[0]

  test('is shown with its lease, which tells who leads', async () => {
    const a = supervise('a', () => undefined)
    await world.clock.settle()
    const b = supervise('b', () => undefined)
    await world.clock.settle()
    const seen = [a, b].map(({ actor }) => treeOf(actor, 'singletons', 1).children)
    expect(seen[0]).toMatchObject([
      {
        path: '/singletons/a',
        state: 'active',
        children: [
          { path: '/singletons/a/lease', state: 'held.deadline.counting,renewal.resting' },
        ],
      },
    ])
    expect(seen[1]).toMatchObject([
      { state: 'passive', children: [{ path: '/singletons/a/lease', state: 'waiting' }] },
    ])
  })

  test('that fails is restarted and counted, and contends anew under a larger epoch', async () => {
    const { clock, terms, heard } = world
    let lives = 0
    const life = supervise('a', () => {
      lives += 1
      if (lives === 1) throw broken
    })
    await clock.settle()
    expect(childOf(life)).toMatchObject({ status: 'backingOff', lastError: 'it broke' })
    await clock.pass(policy.backoff.baseMs)
    expect(childOf(life)).toMatchObject({ status: 'ready', restarts: 1 })
    const [first, second] = terms.map(({ context }) => context.epoch)
    expect(second).toBeGreaterThan(first ?? 0)
    // Nobody led for as long as it waited.
    expect(heard.at(-1)).toBe(`a led ${second} ${policy.backoff.baseMs}`)
  })

  test('that fails leaves its place to the node on which it does not', async () => {
    const { clock, startedAt } = world
    const a = supervise('a', failing)
    const b = supervise('b', () => undefined)
    await clock.pass(10 * times.ttlMs)
    expect(startedAt()).toEqual(['a', 'b'])
    // It is ready again, and passive.
    expect(childOf(a)).toMatchObject({ status: 'ready', restarts: 1 })
    expect(childOf(b)).toMatchObject({ status: 'ready', restarts: 0 })
  })

  test('that keeps failing ends its supervisor', async () => {
    const { clock, terms } = world
    const life = supervise('a', failing)
    await clock.pass(policy.windowMs)
    expect(life.errors).toHaveLength(1)
    expect(terms).toHaveLength(policy.intensity + 1)
  })

  test('for want of something it stands on is restarted, and not counted', async () => {
    const { clock, terms } = world
    const life = supervise('a', () => {
      throw new UnavailableError('no database')
    })
    await clock.pass(policy.windowMs)
    expect(terms.length).toBeGreaterThan(policy.intensity + 1)
    expect(life.errors).toEqual([])
  })

  test('that comes to its end is started again, unless it may end', async () => {
    const { clock, startedAt } = world
    const ends = () => ({ ended: clock.wait(100) })
    const permanent = supervise('a', ends)
    await clock.pass(100)
    expect(childOf(permanent)).toMatchObject({ status: 'backingOff', lastError: 'ended unasked' })
    supervise('b', ends, 'transient')
    await clock.pass(policy.backoff.baseMs)
    expect(startedAt()).toEqual(['a', 'b', 'a'])
    await clock.pass(policy.backoff.baseMs * 2)
    expect(startedAt()).toEqual(['a', 'b', 'a'])
    await clock.pass(policy.backoff.baseMs)
    expect(startedAt()).toEqual(['a', 'b', 'a', 'a'])
  })

  test('is stopped in order with its supervisor, its lease released', async () => {
    const { clock, leases, startedAt } = world
    const life = supervise('a', () => ({ stop: () => clock.wait(limits.stopLimitMs / 2) }))
    await clock.settle()
    world.begin('b')
    await clock.settle()
    life.actor.send({ type: 'stop' })
    await clock.pass(limits.stopLimitMs / 2)
    expect(life.actor.getSnapshot().status).toBe('done')
    expect(startedAt()).toEqual(['a', 'b'])
    expect(await leases.list()).toMatchObject([{ holder: 'b' }])
  })
})

describe('the definition of a singleton', () => {
  const start = () => undefined

  test.each(['a', 'sweep.dead-nodes_2', '0', 'x'.repeat(64)])('may be named %j', (name) => {
    expect(defineSingleton({ name, start })).toEqual({ name, start })
  })

  test.each(['', '.a', 'a/b', 'a b', 'ä', 'a:b', 'x'.repeat(65)])('is not named %j', (name) => {
    const define = () => defineSingleton({ name, start })
    expect(define).toThrow(UsageError)
    expect(define).toThrow(`got ${JSON.stringify(name)}`)
  })

  test('says what to start', () => {
    const define = () => defineSingleton({ name: 'a', start: 'now' as never })
    expect(define).toThrow('singleton "a": start: expected a function, got string')
  })

  test.each([
    ['stopLimitMs', { stopLimitMs: 0 }],
    ['stopLimitMs', { stopLimitMs: Number.POSITIVE_INFINITY }],
    ['startLimitMs', { startLimitMs: Number.NaN }],
  ])('cannot be run with limits of no use: %s of %j', (field, over) => {
    const { clock, leases, log, tell } = world
    const make = () =>
      singleton({
        definition: { name: 'a', start },
        contender: 'a/boot/1',
        times,
        leases,
        clock,
        random: () => 0,
        log,
        tell,
        failovers: new Failovers(clock),
        submit: async () => 'a run',
        stopLimitMs: 1000,
        ...over,
      })
    expect(make).toThrow(UsageError)
    expect(make).toThrow(`singleton a: ${field}: expected a number of milliseconds above 0`)
  })
})
