import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { UnavailableError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import type { Escalations } from '../../actors/ports-escalations.ts'
import { bucketOf, sumOf, type WindowShape } from '../../machines/window.ts'
import { memoryEscalations } from '../../runtime/memory/escalations.ts'
import { redisEscalations } from '../../runtime/redis/escalations.ts'
import { bucketBase, keys } from '../../runtime/redis/keys.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { escalationsConformance } from './escalations.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
const minute = { windowMs: 60_000, buckets: 12 }

describe('escalations in memory', () => {
  const known = new Map<string, Escalations>()
  // One of a kind for all, as there is one Redis for all.
  escalationsConformance((shape) => {
    const name = JSON.stringify(shape)
    const port = known.get(name) ?? memoryEscalations(() => Date.now(), shape)
    known.set(name, port)
    return port
  })

  test('a window of two buckets holds 5, then 8, then 3', async () => {
    let now = 1_000_000
    const port = memoryEscalations(() => now, { windowMs: 10_000, buckets: 2 })
    const held = async () => sumOf((await port.look()).windows.get('m') ?? [])
    const counts = (count: number) => [{ metric: 'm', count, ageMs: 0 }]
    await port.count({ source: 's', number: 1, counts: counts(5) })
    now = 1_000_100
    expect(await held()).toBe(5)
    now = 1_005_000
    await port.count({ source: 's', number: 2, counts: counts(3) })
    now = 1_005_100
    expect(await held()).toBe(8)
    now = 1_012_000
    expect(await held()).toBe(3)
  })
})

describe('escalations in Redis', () => {
  let server: RedisServer
  let redis: Redis
  const opened: Escalations[] = []
  const open = (shape: WindowShape, operationTimeoutMs = 5000) => {
    const port = redisEscalations({ url: server.url, shape, operationTimeoutMs, log })
    opened.push(port)
    return port
  }
  beforeAll(async () => {
    server = await startRedis()
    redis = new Redis(server.path)
  })
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((port) => port.close()))
  })
  afterAll(async () => {
    redis.disconnect()
    await server.stop()
  })

  escalationsConformance(open)

  const once = (metric: string, count: number) => ({
    source: `s of ${metric}`,
    number: 1,
    counts: [{ metric, count, ageMs: 0 }],
  })

  test('a bucket is counted and given its end in one step, by the clock of Redis', async () => {
    const { at } = await open(minute).count(once('m', 7))
    const [seconds] = await redis.time()
    expect(Math.abs(at - Number(seconds) * 1000)).toBeLessThan(2000)
    const key = `${bucketBase}m:${bucketOf(minute, at)}`
    expect(await redis.get(key)).toBe('7')
    const ttl = await redis.pttl(key)
    expect(ttl).toBeGreaterThan(115_000)
    expect(ttl).toBeLessThanOrEqual(120_000)
    expect(await redis.pttl(keys.escalationSource('s of m'))).toBeGreaterThan(115_000)
  })

  test('a metric that nobody counts any more is forgotten', async () => {
    await redis.zadd(keys.escalationMetrics, 1, 'fail:long.ago')
    await open(minute).count(once('now', 1))
    expect(await redis.zscore(keys.escalationMetrics, 'fail:long.ago')).toBeNull()
    expect(await redis.zscore(keys.escalationMetrics, 'now')).not.toBeNull()
  })

  test('windows and escalations outlive a Redis that is killed, and who counted', async () => {
    const port = open(minute)
    const metric = 'fail:survivor'
    await port.count(once(metric, 40))
    const escalation = { metric, state: 'open', openedAt: 1, peak: 40, version: 1 } as const
    await port.put(escalation, undefined)
    // What Redis has answered it writes within a second.
    await redis.config('SET', 'appendfsync', 'always')
    await port.count({ ...once(metric, 2), number: 2 })
    await port.close()
    await server.kill()
    await server.restart()
    const reading = await open(minute).look()
    expect(sumOf(reading.windows.get(metric) ?? [])).toBe(42)
    expect(reading.escalations.get(metric)).toEqual(escalation)
  })

  test('a Redis that is away is an error within the time limit, and never nothing', async () => {
    const port = open(minute, 200)
    await port.count(once('fail:away', 3))
    await server.kill()
    const began = performance.now()
    for (const operation of [() => port.look(), () => port.count(once('fail:away.2', 3))]) {
      const error = await operation().catch((caught: unknown) => caught)
      expect(error).toBeInstanceOf(UnavailableError)
    }
    expect(performance.now() - began).toBeLessThan(5000)
    await server.restart()
    expect(sumOf((await open(minute).look()).windows.get('fail:away') ?? [])).toBe(3)
  })
})
