import { afterAll, beforeAll, describe } from 'bun:test'
import { Redis } from 'ioredis'
import { memoryAccounting } from '../../runtime/memory/accounting.ts'
import { redisAccounting } from '../../runtime/redis/accounting.ts'
import { redisAdmission } from '../../runtime/redis/admission.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { accountingConformance, type OpenBooks } from './accounting.ts'
import { admissionConformance } from './admission.ts'
import { keyConformance } from './keys.ts'
import { settlementConformance } from './settlements.ts'

describe('accounting in memory', () => {
  const open: OpenBooks = async (now) => memoryAccounting(now)
  describe('runs', () => accountingConformance(open))
  describe('keys', () => keyConformance(open))
  describe('settlements', () => settlementConformance(open))
  describe('admission', () => admissionConformance(open))
})

describe('accounting in Redis', () => {
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

  const open: OpenBooks = async (now) => {
    await redis.flushall()
    return {
      accounting: redisAccounting({ redis, subscriber, now, mapKeepMs: 60_000 }),
      admission: redisAdmission(redis),
    }
  }
  describe('runs', () => accountingConformance(open))
  describe('keys', () => keyConformance(open))
  describe('settlements', () => settlementConformance(open))
  describe('admission', () => admissionConformance(open))
})
