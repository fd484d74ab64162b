import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { type PoolOptions, SandboxPool } from '../../actors/pool.ts'
import type { PoolMeter } from '../../actors/pool-meter.ts'
import type { Sandbox, SandboxBase, Sandboxes } from '../../actors/ports-sandbox.ts'
import type { PoolCounts } from '../../machines/pool-steps.ts'
import { memorySandboxes } from '../../runtime/memory/sandboxes.ts'
import { type TestClock, testClock } from '../kit/clock.ts'

const base: SandboxBase = { root: '/a', network: 'none', limits: {} }
const other: SandboxBase = { root: '/b', network: 'none', limits: {} }
const never = new AbortController().signal
const log = { debug() {}, info() {}, warn() {}, error() {} }

/** Sandboxes that note what is done with them, and fail when they are told to. */
class Watched implements Sandboxes {
  readonly events: string[] = []
  resetProblem: Error | undefined
  /** While it is set nothing is made. */
  held: Promise<void> | undefined
  readonly #inner = memorySandboxes({ '/a': [], '/b': [] })
  #made = 0

  keyOf(of: SandboxBase) {
    return this.#inner.keyOf(of)
  }

  async create(of: SandboxBase): Promise<Sandbox> {
    await this.held
    const inner = await this.#inner.create(of)
    this.#made += 1
    const name = `${of.root}${this.#made}`
    this.events.push(`made ${name}`)
    return {
      ...inner,
      reset: async () => {
        if (this.resetProblem !== undefined) throw this.resetProblem
        this.events.push(`reset ${name}`)
        await inner.reset()
      },
      destroy: async () => {
        this.events.push(`destroyed ${name}`)
        await inner.destroy()
      },
    }
  }

  close() {
    return this.#inner.close()
  }
}

let clock: TestClock
let sandboxes: Watched
let letters: DeadLetters
let started: AnyActorRef[]
beforeEach(() => {
  clock = testClock()
  sandboxes = new Watched()
  letters = new DeadLetters({ clock, log })
  started = []
})
afterEach(() => {
  for (const actor of started) actor.stop()
})

function begin(options: Partial<PoolOptions> = {}) {
  const pool = new SandboxPool({
    sandboxes,
    slotsMax: 3,
    isReused: true,
    checkoutTimeoutMs: 10_000,
    clock,
    tell: letters.tell,
    log,
    ...options,
  })
  const start = () => {
    const { logic, input } = pool.spec()
    const actor = createActor(logic, { input, clock: clock.timers })
    actor.subscribe({ error: () => undefined })
    started.push(actor)
    actor.start()
    return actor
  }
  return { pool, actor: start(), start }
}

describe('a pool of sandboxes', () => {
  test('ten that want one of three all get one, and nobody has one at the same time', async () => {
    const { pool } = begin()
    const held = new Set<number>()
    let most = 0
    const work = async () => {
      const { slot, giveBack } = await pool.checkout(base, never)
      expect(held.has(slot)).toBe(false)
      held.add(slot)
      most = Math.max(most, held.size)
      await clock.breathe()
      held.delete(slot)
      giveBack(false)
    }
    const all = Promise.all(Array.from({ length: 10 }, work))
    for (let turns = 0; turns < 30; turns += 1) await clock.settle()
    await all
    await clock.settle()
    expect(most).toBe(3)
    expect(pool.stats).toMatchObject({ total: 3, available: 3, leased: 0, resets: 10 })
  })

  test('first come is first served', async () => {
    const { pool } = begin({ slotsMax: 1 })
    const first = await pool.checkout(base, never)
    const order: string[] = []
    const later = ['a', 'b', 'c'].map(async (name) => {
      const lease = await pool.checkout(base, never)
      order.push(name)
      lease.giveBack(false)
    })
    first.giveBack(false)
    await Promise.all(later)
    expect(order).toEqual(['a', 'b', 'c'])
  })

  test('a sandbox is reset before the next one has it', async () => {
    const { pool } = begin({ slotsMax: 1 })
    const first = await pool.checkout(base, never)
    const next = pool.checkout(base, never).then(() => sandboxes.events.push('granted'))
    first.giveBack(false)
    await next
    expect(sandboxes.events).toEqual(['made /a1', 'reset /a1', 'granted'])
  })

  test('one that cannot be reset is taken away, and another made in its place', async () => {
    const { pool } = begin({ slotsMax: 1 })
    const first = await pool.checkout(base, never)
    sandboxes.resetProblem = new Error('the disk is gone')
    first.giveBack(false)
    const next = await pool.checkout(base, never)
    expect(sandboxes.events.toSorted()).toEqual(['destroyed /a1', 'made /a1', 'made /a2'])
    expect(next.sandbox).not.toBe(first.sandbox)
    expect(pool.stats).toMatchObject({ total: 1, leased: 1, resets: 0 })
  })

  test('who waits too long is told so, and what comes after him is not his', async () => {
    const { pool } = begin({ slotsMax: 1 })
    const first = await pool.checkout(base, never)
    const late = pool.checkout(base, never)
    const told = late.catch((error: unknown) => error)
    await clock.pass(10_000)
    expect(await told).toMatchObject({
      code: 'CHECKOUT_TIMEOUT',
      message: expect.stringContaining('1 of 1 are in use'),
    })
    first.giveBack(false)
    await clock.settle()
    expect(pool.stats).toMatchObject({ available: 1, leased: 0, checkoutTimeouts: 1 })
  })

  test('who is cancelled while he waits leaves the line', async () => {
    const { pool } = begin({ slotsMax: 1 })
    await pool.checkout(base, never)
    const cancel = new AbortController()
    const waiting = pool.checkout(base, cancel.signal)
    const told = waiting.catch((error: unknown) => error)
    cancel.abort(new Error('enough'))
    expect(await told).toMatchObject({ message: 'enough' })
    expect(clock.armed).toBe(0)
  })

  test('who is cancelled while his is being made leaves it to the next one', async () => {
    const { pool } = begin({ slotsMax: 1 })
    const making = Promise.withResolvers<void>()
    sandboxes.held = making.promise
    const cancel = new AbortController()
    const waiting = pool.checkout(base, cancel.signal)
    const told = waiting.catch((error: unknown) => error)
    cancel.abort(new Error('enough'))
    expect(await told).toMatchObject({ message: 'enough' })
    making.resolve()
    await clock.settle()
    expect(pool.stats).toMatchObject({ total: 1, available: 1 })
    await pool.checkout(base, never)
    expect(sandboxes.events).toEqual(['made /a1'])
  })

  test('who wants what cannot be made hears why, at once', async () => {
    const { pool } = begin()
    const nowhere = { ...base, root: '/nowhere' }
    expect(pool.checkout(nowhere, never)).rejects.toMatchObject({ code: 'BASE_MISSING' })
    expect(pool.stats).toMatchObject({ total: 0, makeErrors: 1 })
  })

  test('a lease is given back once, however often that is said', async () => {
    const { pool } = begin({ slotsMax: 1 })
    const first = await pool.checkout(base, never)
    first.giveBack(false)
    await clock.settle()
    await pool.checkout(base, never)
    first.giveBack(false)
    await clock.settle()
    expect(pool.stats).toMatchObject({ leased: 1, resetting: 0 })
  })

  test('a sandbox of another base makes way', async () => {
    const { pool } = begin({ slotsMax: 1 })
    const first = await pool.checkout(base, never)
    first.giveBack(false)
    await pool.checkout(other, never)
    expect(sandboxes.events).toEqual(['made /a1', 'reset /a1', 'destroyed /a1', 'made /b2'])
  })

  test('where each task has its own, more than the rate are refused for a time', async () => {
    const { pool } = begin({ slotsMax: 100, isReused: false, rate: { rate: 2, burst: 2 } })
    const first = await pool.checkout(base, never)
    await pool.checkout(base, never)
    expect(pool.checkout(base, never)).rejects.toMatchObject({ code: 'SANDBOX_RATE' })
    await clock.pass(500)
    await pool.checkout(base, never)
    first.giveBack(false)
    await clock.settle()
    expect(sandboxes.events).toContain('destroyed /a1')
    expect(pool.stats).toMatchObject({ total: 2, resets: 0 })
  })
})

describe('who counts what a pool does', () => {
  test('hears of each checkout, refusal, reset, and of what could not be made', async () => {
    const told: string[] = []
    let counts = (): PoolCounts | undefined => undefined
    const containers: PoolMeter = {
      watched: (of) => {
        counts = of
      },
      checkedOut: (waitedMs) => void told.push(`got after ${waitedMs}`),
      refused: (code) => void told.push(code),
      reset: (isClean) => void told.push(isClean ? 'clean' : 'not clean'),
      unmade: () => void told.push('not made'),
    }
    const { pool, start, actor } = begin({ slotsMax: 1, containers })
    const nobody = { total: 0, available: 0, leased: 0, resetting: 0, replacing: 0, waiting: 0 }
    expect(counts()).toEqual(nobody)
    const first = await pool.checkout(base, never)
    const second = pool.checkout(base, never)
    const late = pool.checkout(base, never).catch(() => undefined)
    expect(counts()).toEqual({ ...nobody, total: 1, leased: 1, waiting: 2 })
    await clock.pass(4000)
    first.giveBack(false)
    const next = await second
    sandboxes.resetProblem = new Error('the disk is gone')
    next.giveBack(false)
    const third = await late
    third?.giveBack(true)
    await clock.settle()
    const leaving = new AbortController()
    const last = pool.checkout(base, never)
    const left = pool.checkout(base, leaving.signal).catch(() => undefined)
    await last
    leaving.abort(new Error('not wanted any more'))
    await left
    await pool.checkout({ ...base, root: '/none' }, AbortSignal.abort()).catch(() => undefined)
    const tooLate = pool.checkout(base, never).catch(() => undefined)
    await clock.pass(10_000)
    await tooLate
    expect(told).toEqual([
      'got after 0',
      'clean',
      'got after 4000',
      'not clean',
      'got after 4000',
      'got after 0',
      'ABORTED',
      'ABORTED',
      'CHECKOUT_TIMEOUT',
    ])
    actor.stop()
    expect(counts()).toEqual(nobody)
    start()
    expect(await pool.checkout({ ...base, root: '/none' }, never).catch(() => 'none')).toBe('none')
    expect(told.slice(-2)).toEqual(['not made', 'BASE_MISSING'])
  })
})

describe('a pool that ends', () => {
  test('takes away what is idle, and at last what is given back', async () => {
    const { pool, actor } = begin()
    const kept = await pool.checkout(base, never)
    const idle = await pool.checkout(base, never)
    idle.giveBack(false)
    await clock.settle()
    actor.send({ type: 'stop' })
    expect(actor.getSnapshot().status).toBe('active')
    expect(pool.checkout(base, never)).rejects.toMatchObject({ code: 'POOL_CLOSED' })
    kept.giveBack(false)
    expect(actor.getSnapshot().status).toBe('done')
    await clock.settle()
    expect(sandboxes.events.filter((event) => event.startsWith('destroyed'))).toHaveLength(2)
    expect(letters.total).toBe(0)
  })

  test('refuses who waits', async () => {
    const { pool, actor } = begin({ slotsMax: 1 })
    await pool.checkout(base, never)
    const waiting = pool.checkout(base, never)
    actor.send({ type: 'stop' })
    expect(waiting).rejects.toMatchObject({ code: 'POOL_CLOSED' })
  })

  test('by force: its next life takes away what the last one had', async () => {
    const { pool, actor, start } = begin()
    const held = await pool.checkout(base, never)
    const idle = await pool.checkout(base, never)
    idle.giveBack(false)
    await clock.settle()
    actor.stop()
    expect(pool.checkout(base, never)).rejects.toMatchObject({ code: 'POOL_CLOSED' })
    start()
    held.giveBack(false)
    const next = await pool.checkout(base, never)
    await clock.settle()
    expect(sandboxes.events).toContain('destroyed /a1')
    expect(sandboxes.events).toContain('destroyed /a2')
    expect(next.slot).toBe(1)
    expect(pool.stats).toMatchObject({ total: 1, leased: 1 })
  })
})
