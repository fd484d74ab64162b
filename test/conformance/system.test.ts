import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { UnavailableError } from '../../actors/errors.ts'
import { memorySystemLog } from '../../runtime/memory/system.ts'
import { keys } from '../../runtime/redis/keys.ts'
import { redisInspection, redisSystemLog } from '../../runtime/redis/system.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { entryOf, snapshotOf, systemConformance } from './system.ts'

describe('system log in memory', () => systemConformance(async () => memorySystemLog()))

describe('system log in Redis', () => {
  let server: RedisServer
  let redis: Redis
  let subscriber: Redis
  beforeAll(async () => {
    server = await startRedis()
    redis = new Redis(server.path, { maxRetriesPerRequest: null })
    subscriber = new Redis(server.path, { maxRetriesPerRequest: null })
  })
  afterAll(async () => {
    redis.disconnect()
    subscriber.disconnect()
    await server.stop()
  })

  const open = async (timeoutMs = 5000) => {
    await redis.flushall()
    return redisSystemLog({ redis, subscriber, timeoutMs })
  }

  systemConformance(() => open())

  test('a word that cannot be read counts as a pause', async () => {
    const log = await open()
    for (const broken of ['{"isPa', '{}', 'null', '7']) {
      await redis.set(keys.systemOrder, broken)
      expect(await log.order()).toMatchObject({ isPaused: true })
    }
  })

  test('an entry that cannot be read is passed over', async () => {
    const log = await open()
    await log.append(entryOf('1'), snapshotOf())
    await log.append(entryOf('2'), snapshotOf())
    await redis.hset(keys.systemEntries, '2', '{')
    expect(await log.history({ limit: 10 })).toEqual([entryOf('1')])
  })

  test('of more than 10 000 entries the oldest are forgotten', async () => {
    const log = await open()
    await redis.lpush(keys.systemHistory, ...Array.from({ length: 10_000 }, (_, i) => `old-${i}`))
    await redis.hset(keys.systemEntries, 'old-0', '{}', 'old-1', '{}')
    await log.append(entryOf('1'), snapshotOf())
    expect(await redis.llen(keys.systemHistory)).toBe(10_000)
    expect((await redis.hkeys(keys.systemEntries)).toSorted()).toEqual(['1', 'old-1'])
  })

  test('a Redis that does not answer in time is unavailable', async () => {
    const log = await open(20)
    await redis.client('PAUSE', 300)
    const error = await log.order().catch((problem: unknown) => problem)
    expect(error).toBeInstanceOf(UnavailableError)
  })

  test('settings under which work gets lost are found', async () => {
    const inspection = redisInspection({ redis, timeoutMs: 5000 })
    await redis.config('SET', 'maxmemory-policy', 'noeviction')
    const before = await inspection.settings()
    expect(before.filter(({ severity }) => severity === 'critical')).toEqual([])
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru')
    expect(await inspection.settings()).toContainEqual({
      severity: 'critical',
      what: expect.stringContaining('noeviction'),
    })
    expect(await inspection.latencyMs()).toBeGreaterThan(0)
  })
})
