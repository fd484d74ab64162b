import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { fromPromise } from 'xstate'
import { Failovers } from '../../actors/failovers.ts'
import { contenders } from '../../actors/lease.ts'
import { led } from '../../actors/led.ts'
import type { Fence, Leases } from '../../actors/ports-fleet.ts'
import { type ChildSpec, findChild } from '../../actors/supervisor.ts'
import { treeOf } from '../../actors/tree.ts'
import { watch } from '../../actors/watch.ts'
import { type Owned, serviceMachine } from '../../machines/service.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import type { SupervisorContext } from '../../machines/supervisor.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'
import { jitterMs, times } from './contention.ts'
import { type Begun, memoryWorld, type World } from './world.ts'

const stopLimitMs = 1000
const policy = { ...defaultPolicy, stopTimeoutMs: 800 }

let clock: TestClock
let world: World
/** What becomes of the children of all nodes, in order: `a opens`, `a closes`. */
let told: string[]
/** The fences under which they were started, in order. */
let fences: Fence[]
let names: Map<string, () => string>

beforeEach(() => {
  clock = testClock()
  world = memoryWorld(clock)
  told = []
  fences = []
  names = new Map()
})

afterEach(async () => {
  const closed = world.close()
  await clock.pass(30_000)
  await closed
  await clock.pass(times.operationTimeoutMs)
  expect(clock.armed).toBe(0)
})

interface Child {
  open?(): Promise<void>
  close?(): Promise<void>
}

/** A node with a child that lives only while it leads. */
function begin(node: string, child: Child = {}, over: Partial<Leases> = {}): Begun {
  const contender = names.get(node) ?? contenders(node, 'boot')
  names.set(node, contender)
  const random = seededRandom()
  const specOf = (fence: Fence): ChildSpec => {
    fences.push(fence)
    return {
      logic: serviceMachine.provide({
        actors: {
          open: fromPromise<void, Owned>(async () => {
            told.push(`${node} opens`)
            await child.open?.()
          }),
          close: fromPromise<void, Owned>(async () => {
            await child.close?.()
            told.push(`${node} closes`)
          }),
        },
      }),
    }
  }
  const spec = led({
    ...world,
    id: 'collector',
    lease: 'books',
    policy,
    contender,
    specOf,
    leases: { ...world.leases, ...over },
    times,
    random: () => random.next(),
    stopLimitMs,
    failovers: new Failovers(clock),
    submit: () => Promise.reject(new Error('nothing is submitted here')),
  })
  return world.begin(spec, clock.timers)
}

const childrenOf = ({ actor }: Begun) =>
  (actor.getSnapshot() as { context: SupervisorContext }).context.children.map(
    ({ id, status, restarts }) => `${id} ${status} ${restarts}`,
  )
const epochs = () => fences.map(({ epoch }) => epoch)
const holder = async () => (await world.leases.list())[0]?.holder
/** The child of the latest grant. */
const childOf = ({ actor }: Begun) => {
  const child = findChild(actor, `epoch-${epochs().at(-1)}`)
  if (child === undefined) throw new Error('expected a child that lives')
  return child
}

describe('a child that is led', () => {
  test('lives only on the node that holds the lease, under its epoch', async () => {
    const a = begin('a')
    await clock.settle()
    const b = begin('b')
    await clock.pass(10 * times.ttlMs)
    expect(told).toEqual(['a opens'])
    expect(fences).toMatchObject([{ lease: 'books' }])
    expect(childrenOf(a)).toEqual(['leader ready 0', `epoch-${epochs()[0]} ready 0`])
    expect(childrenOf(b)).toEqual(['leader ready 0'])
    expect((await world.leases.list())[0]).toMatchObject({ holder: 'a', epoch: epochs()[0] })
    for (const { actor } of [a, b]) expect(actor.getSnapshot().hasTag('ready')).toBe(true)
    const { children } = treeOf(a.actor, 'collector', 1, clock.monotonic())
    expect(children.map(({ id }) => id)).toEqual(['leader', `epoch-${epochs()[0]}`])
  })

  test('is ready before its node counts as leading', async () => {
    const opening = Promise.withResolvers<void>()
    const a = begin('a', { open: () => opening.promise })
    await clock.settle()
    const leader = findChild(a.actor, 'leader')
    expect(leader?.getSnapshot().hasTag('active')).toBe(false)
    opening.resolve()
    await clock.settle()
    expect(leader?.getSnapshot().hasTag('active')).toBe(true)
  })

  test('is stopped when the lease is lost, and again started on the node that got it', async () => {
    const a = begin('a')
    await clock.settle()
    const b = begin('b')
    await clock.settle()
    await world.leases.revoke('books', 'drill')
    await clock.settle()
    expect(told.toSorted()).toEqual(['a closes', 'a opens', 'b opens'])
    expect([childrenOf(a).length, childrenOf(b).length, await holder()]).toEqual([1, 2, 'b'])
    expect([a.errors, b.errors]).toEqual([[], []])
  })

  test('comes back under a larger epoch each time, and no restart is counted', async () => {
    const a = begin('a')
    await clock.settle()
    for (let round = 0; round < 8; round += 1) {
      await world.leases.revoke('books', 'drill')
      await clock.pass(2 * jitterMs)
    }
    expect(told.filter((word) => word === 'a opens')).toHaveLength(9)
    expect(told.filter((word) => word === 'a closes')).toHaveLength(8)
    expect(epochs()).toEqual([...new Set(epochs())].toSorted((x, y) => x - y))
    expect(childrenOf(a)).toEqual(['leader ready 0', `epoch-${epochs().at(-1)} ready 0`])
  })

  test('that cannot be confirmed stops before anybody else may start', async () => {
    let isCut = false
    const cut: Partial<Leases> = {
      renew: (...args) => (isCut ? new Promise(() => undefined) : world.leases.renew(...args)),
      acquire: (...args) => (isCut ? new Promise(() => undefined) : world.leases.acquire(...args)),
    }
    begin('a', {}, cut)
    await clock.settle()
    begin('b')
    isCut = true
    await clock.pass(2 * times.ttlMs)
    expect(told).toEqual(['a opens', 'a closes', 'b opens'])
  })

  test('that is lost while it starts is taken away, and nothing has failed', async () => {
    const opening = Promise.withResolvers<void>()
    const a = begin('a', { open: () => opening.promise })
    await clock.settle()
    begin('b')
    await clock.settle()
    await world.leases.revoke('books', 'drill')
    await clock.pass(2 * jitterMs)
    expect(childrenOf(a)).toEqual(['leader ready 0'])
    opening.resolve()
    await clock.pass(100)
    expect([childrenOf(a), a.errors]).toEqual([['leader ready 0'], []])
    expect(told).toContain('b opens')
  })
})

describe('a child that is led and fails', () => {
  const crash = (life: Begun) =>
    childOf(life).send({ type: 'service.failed', error: new Error('it broke') })

  test('gives the lease to another at once, and its node contends again', async () => {
    const a = begin('a')
    await clock.settle()
    const b = begin('b')
    await clock.settle()
    crash(a)
    await clock.settle()
    expect([await holder(), childrenOf(b).length]).toEqual(['b', 2])
    await clock.pass(10_000)
    expect(childrenOf(a)).toEqual(['leader ready 1'])
    await world.leases.revoke('books', 'drill')
    await clock.pass(2 * jitterMs)
    expect(a.errors).toEqual([])
  })

  test('alone, it starts anew under a larger epoch after the back-off', async () => {
    const a = begin('a')
    await clock.settle()
    crash(a)
    await clock.settle()
    expect([told, await holder()]).toEqual([['a opens'], undefined])
    await clock.pass(5000)
    expect(told).toEqual(['a opens', 'a opens'])
    expect(epochs()[1]).toBeGreaterThan(epochs()[0] ?? Number.NaN)
    expect(childrenOf(a)).toEqual(['leader ready 1', `epoch-${epochs()[1]} ready 0`])
  })

  test('as it starts counts like any other, and lets others try', async () => {
    const a = begin('a', { open: () => Promise.reject(new Error('no store')) })
    await clock.settle()
    const b = begin('b')
    await clock.pass(1000)
    expect(await holder()).toBe('b')
    expect(childrenOf(b)).toHaveLength(2)
    expect(a.errors).toEqual([])
  })

  test('again and again ends the supervisor of it, as any child would', async () => {
    const a = begin('a', { open: () => Promise.reject(new Error('no store')) })
    await clock.pass(120_000)
    expect(a.errors).toHaveLength(1)
    expect(await holder()).toBeUndefined()
  })
})

describe('a node that leads and stops', () => {
  test('first closes its child, then hands over, at once', async () => {
    const closing = Promise.withResolvers<void>()
    let holderThen: string | undefined
    const a = begin('a', {
      close: async () => {
        holderThen = await holder()
        await closing.promise
      },
    })
    await clock.settle()
    begin('b')
    await clock.settle()
    const ends: string[] = []
    const leader = findChild(a.actor, 'leader')
    if (leader !== undefined) watch(leader, ({ reason }) => ends.push(reason))
    const stopped = a.stop()
    await clock.pass(200)
    const at = clock.monotonic()
    expect([told, holderThen]).toEqual([['a opens'], 'a'])
    closing.resolve()
    await clock.settle()
    await stopped
    expect(told).toEqual(['a opens', 'a closes', 'b opens'])
    expect([clock.monotonic(), a.errors]).toEqual([at, []])
    // To end when it was asked to is no failure.
    expect(ends).toEqual(['normal'])
  })

  test('whose child does not close is down in time, and the lease is free', async () => {
    const a = begin('a', { close: () => new Promise(() => undefined) })
    await clock.settle()
    begin('b')
    await clock.settle()
    const stopped = a.stop()
    await clock.pass(stopLimitMs + policy.stopTimeoutMs)
    await stopped
    expect([told, await holder(), a.errors]).toEqual([['a opens', 'b opens'], 'b', []])
  })

  test('while it only waits ends at once', async () => {
    begin('a')
    await clock.settle()
    const b = begin('b')
    await clock.settle()
    await Promise.all([b.stop(), clock.settle()])
    expect([b.errors, await holder()]).toEqual([[], 'a'])
  })
})
