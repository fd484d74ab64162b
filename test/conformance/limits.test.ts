import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { memoryLimits } from '../../runtime/memory/limits.ts'
import { keys } from '../../runtime/redis/keys.ts'
import { redisLimits } from '../../runtime/redis/limits.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { limitsConformance } from './limits.ts'

describe('limits in memory', () => {
  limitsConformance(() => memoryLimits(() => performance.now()))
})

describe('limits in Redis', () => {
  let server: RedisServer
  let redis: Redis
  beforeAll(async () => {
    server = await startRedis()
    redis = new Redis(server.path)
  })
  afterAll(async () => {
    redis.disconnect()
    await server.stop()
  })

  limitsConformance(() => redisLimits(redis))

  const bucket = { name: 'job', rate: 10, burst: 20 }
  const key = keys.limit(bucket.name)
  const redisMs = async () => {
    const [seconds, micros] = await redis.time()
    return Number(seconds) * 1000 + Number(micros) / 1000
  }

  test('the time is that of Redis, whatever the clock of this host says', async () => {
    const limits = redisLimits(redis)
    const before = await redisMs()
    await limits.take([bucket], 5)
    const at = Number(await redis.hget(key, 'at'))
    expect(at).toBeGreaterThanOrEqual(before)
    expect(at).toBeLessThanOrEqual(await redisMs())
    // A bucket as it was a second of Redis ago.
    await redis.hset(key, { at: (await redisMs()) - 1000, tokens: 3 })
    expect((await limits.take([bucket], 100)).tokens).toBe(13)
  })

  test('a clock of Redis that is set back by an hour gives nothing, and goes on', async () => {
    const limits = redisLimits(redis)
    await redis.hset(key, { at: (await redisMs()) + 3_600_000, tokens: 0.5 })
    expect(await limits.take([bucket], 1)).toEqual({ tokens: 0, waitMs: 50 })
    expect(Number(await redis.hget(key, 'at'))).toBeLessThanOrEqual(await redisMs())
  })

  test('a bucket is forgotten when it would be full, unless it is never refilled', async () => {
    const limits = redisLimits(redis)
    await redis.del(key)
    await limits.take([bucket], 10)
    const ttl = await redis.pttl(key)
    expect(ttl).toBeGreaterThan(1900)
    expect(ttl).toBeLessThanOrEqual(2000)
    await limits.take([{ ...bucket, rate: 0 }], 1)
    expect(await redis.pttl(key)).toBe(-1)
    await limits.take([{ name: 'slow', rate: 0.001, burst: 1e9 }], 1e9)
    expect(await redis.pttl(keys.limit('slow'))).toBeGreaterThan(9.9e14)
  })
})
