import { afterAll, beforeAll, describe } from 'bun:test'
import { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import { memoryLeases } from '../../runtime/memory/leases.ts'
import { redisLeases } from '../../runtime/redis/leases.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { leasesConformance } from './leases.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }

describe('leases in memory', () => {
  leasesConformance(async () => memoryLeases({ now: () => Date.now(), log }))
})

describe('leases in Redis', () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  leasesConformance(async () => {
    const redis = new Redis(server.path)
    await redis.flushall()
    redis.disconnect()
    return redisLeases({ url: server.url, operationTimeoutMs: 5000, log })
  })
})
