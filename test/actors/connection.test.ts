import { describe, expect, test } from 'bun:test'
import { connection } from '../../actors/connection.ts'
import type { Dependency, DependencyListener } from '../../actors/ports.ts'
import { isReady } from '../../actors/supervisor.ts'
import { testClock } from '../kit/clock.ts'
import { memoryWorld } from './world.ts'

/** A dependency that notes what is asked of it, and answers as the test says. */
class Thing implements Dependency {
  readonly asked: string[] = []
  listener: DependencyListener | undefined
  opening: Promise<void> = Promise.resolve()
  reviving: Promise<void> = Promise.resolve()
  closing: Promise<void> = Promise.resolve()

  open(listener: DependencyListener): Promise<void> {
    this.asked.push('open')
    this.listener = listener
    return this.opening
  }
  revive(): Promise<void> {
    this.asked.push('revive')
    return this.reviving
  }
  close(): Promise<void> {
    this.asked.push('close')
    return this.closing
  }
}

function begin(thing = new Thing()) {
  const clock = testClock()
  const world = memoryWorld(clock)
  const backoff = { baseMs: 200, capMs: 1000, jitter: 0 }
  const spec = connection({ ...world, name: 'redis', dependency: thing, backoff })
  const life = world.begin(spec, clock.timers)
  const value = () => life.actor.getSnapshot().value
  return { clock, life, thing, value, world }
}

describe('a connection', () => {
  test('is ready when it is open, and stays ready while it is away', async () => {
    const { clock, life, thing, value } = begin()
    expect(isReady(life.actor.getSnapshot())).toBe(false)
    await life.ready()
    thing.listener?.lost()
    await clock.settle()
    expect([value(), isReady(life.actor.getSnapshot())]).toEqual([{ away: 'revived' }, true])
    thing.listener?.back()
    expect([value(), life.errors, thing.asked]).toEqual(['connected', [], ['open', 'revive']])
  })

  test('that cannot be revived is tried again, and each time that is told', async () => {
    const thing = new Thing()
    const { clock, life, value, world } = begin(thing)
    await life.ready()
    thing.reviving = Promise.reject(new Error('no server program'))
    thing.reviving.catch(() => undefined)
    thing.listener?.lost()
    await clock.pass(700)
    expect([value(), thing.asked]).toEqual([
      { away: 'waiting' },
      ['open', 'revive', 'revive', 'revive'],
    ])
    expect(world.logged).toHaveLength(3)
    expect(world.logged[0]).toEqual({
      level: 'error',
      fields: { name: 'redis', code: 'Error', message: 'no server program' },
      message: 'cannot be brought back yet',
    })
    expect(life.errors).toEqual([])
  })

  test('that cannot be opened fails with the reason', async () => {
    const thing = new Thing()
    const reason = new Error('refuses the login')
    thing.opening = Promise.reject(reason)
    thing.opening.catch(() => undefined)
    const { life } = begin(thing)
    expect(await life.ready().catch((error: unknown) => error)).toBe(reason)
    expect(thing.asked).toEqual(['open'])
  })

  test('stopped while it is being opened is closed only then: nothing outlives it', async () => {
    const thing = new Thing()
    const { promise, resolve } = Promise.withResolvers<void>()
    thing.opening = promise
    const { clock, life, value } = begin(thing)
    const stopping = life.stop()
    await clock.settle()
    expect([value(), thing.asked]).toEqual(['closing', ['open']])
    resolve()
    await stopping
    expect(thing.asked).toEqual(['open', 'close'])
  })

  test('stopped while it is being opened in vain ends in order', async () => {
    const thing = new Thing()
    const { promise, reject } = Promise.withResolvers<void>()
    thing.opening = promise
    const { life } = begin(thing)
    const stopping = life.stop()
    reject(new Error('no answer'))
    await stopping
    expect([thing.asked, life.errors]).toEqual([['open', 'close'], []])
  })

  test('that cannot be closed says so to its supervisor', async () => {
    const thing = new Thing()
    const { life } = begin(thing)
    await life.ready()
    const reason = new Error('cannot be ended')
    thing.closing = Promise.reject(reason)
    thing.closing.catch(() => undefined)
    await life.stop()
    expect(life.errors).toEqual([reason])
  })
})
