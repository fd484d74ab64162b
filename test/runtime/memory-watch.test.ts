import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import { MemoryWatch } from '../../runtime/redis/memory-watch.ts'
import { eventually } from '../kit/eventually.ts'
import { lasting } from '../kit/outage.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

let server: RedisServer
let redis: Redis
beforeAll(async () => {
  server = await startRedis()
})
afterAll(() => server.stop())
beforeEach(async () => {
  redis = new Redis(server.path, { connectionName: 'watched' })
  await redis.config('SET', 'maxmemory', '0')
  // Besides this, a few kilobytes more or less for connections and scripts do not count.
  await redis.setrange('ballast', 40 * mebibyte, 'x')
})
afterEach(() => redis.disconnect())

const mebibyte = 1_048_576

async function used(): Promise<number> {
  const info = await redis.info('memory')
  return Number(/used_memory:(\d+)/.exec(info)?.[1])
}

/** Sets the limit so that this share of it is used up. */
async function fillTo(share: number): Promise<void> {
  await redis.config('SET', 'maxmemory', String(Math.round((await used()) / share)))
}

function begin() {
  const logged: string[] = []
  const note = (_: object, message: string) => void logged.push(message)
  const log: Log = { debug() {}, info: note, warn: note, error: note }
  const watch = new MemoryWatch({ redis, closeShare: 0.8, log })
  const told: (boolean | 'scarce')[] = []
  const state = () => (watch.isScarce() ? 'scarce' : watch.shortage() !== undefined)
  const unwatch = watch.watch(() => told.push(state()))
  return { watch, told, unwatch, logged }
}

describe('the watch over the memory of Redis', () => {
  test('closes at its share, opens well below it, and says so once each', async () => {
    await fillTo(0.6)
    const { watch, told, unwatch, logged } = begin()
    await lasting(300)
    expect([told, watch.shortage()]).toEqual([[], undefined])
    await fillTo(0.82)
    await eventually(() => expect(told).toEqual([true]))
    expect(watch.shortage()).toMatch(
      /^the memory of Redis is 8\d % full; nothing new is let in until it is below 75 %$/,
    )
    await fillTo(0.77)
    await lasting(500)
    expect(told).toEqual([true])
    await fillTo(0.92)
    await eventually(() => expect(told).toEqual([true, 'scarce']))
    told.splice(0)
    await fillTo(0.87)
    await lasting(500)
    expect(told).toEqual([])
    await fillTo(0.83)
    await eventually(() => expect(told).toEqual([true]))
    await fillTo(0.72)
    await eventually(() => expect(told).toEqual([true, false]))
    expect(watch.shortage()).toBeUndefined()
    await fillTo(0.78)
    await lasting(500)
    expect(told).toEqual([true, false])
    expect(logged).toEqual([
      'the memory of Redis is nearly full; nothing new is let in',
      'the memory of Redis has room again; new work is let in',
    ])
    unwatch()
  })

  test('never closes where there is no limit, and opens when the limit is lifted', async () => {
    const { watch, told, unwatch } = begin()
    await lasting(300)
    expect(watch.shortage()).toBeUndefined()
    await fillTo(0.97)
    await eventually(() => expect(told).toEqual(['scarce']))
    await redis.config('SET', 'maxmemory', '0')
    await eventually(() => expect(told).toEqual(['scarce', false]))
    unwatch()
  })

  test('asks once a second, and only while watched; more often whoever needs to know', async () => {
    const calls = async () => {
      const stats = await redis.info('commandstats')
      return Number(/cmdstat_info:calls=(\d+)/.exec(stats)?.[1] ?? 0)
    }
    const callsIn = async (ms: number) => {
      const before = await calls()
      await lasting(ms)
      return (await calls()) - before - 1
    }
    const { watch, told, unwatch } = begin()
    await lasting(100)
    expect(await callsIn(2000)).toBeWithin(1, 4)
    await fillTo(0.85)
    // Unless it has just looked by itself.
    await eventually(async () => {
      await lasting(60)
      const before = await calls()
      await Promise.all([watch.look(), watch.look(), watch.look()])
      expect([watch.look(), (await calls()) - before - 1]).toEqual([undefined, 1])
    })
    expect(told).toEqual([true])
    unwatch()
    expect(await callsIn(1500)).toBe(0)
  })
})
