import { afterAll, beforeAll, describe } from 'bun:test'
import { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import { memoryAccounting } from '../../runtime/memory/accounting.ts'
import { emptyLeaseStore, memoryLeases } from '../../runtime/memory/leases.ts'
import { redisAccounting } from '../../runtime/redis/accounting.ts'
import { redisAdmission } from '../../runtime/redis/admission.ts'
import { redisLeases } from '../../runtime/redis/leases.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { fencedAccountingConformance } from './fenced-accounting.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
const now = () => 5000

describe('fenced accounting in memory', () => {
  fencedAccountingConformance(async () => {
    const store = emptyLeaseStore()
    const leases = memoryLeases({ now: () => Date.now(), log, store })
    return { leases, ...memoryAccounting(now, (lease) => store.epochs.get(lease) ?? 0) }
  })
})

describe('fenced accounting in Redis', () => {
  let server: RedisServer
  let redis: Redis
  let leases: Leases
  beforeAll(async () => {
    server = await startRedis()
    redis = new Redis(server.path, { maxRetriesPerRequest: null })
    leases = redisLeases({ url: server.url, operationTimeoutMs: 5000, log })
  })
  afterAll(async () => {
    redis.disconnect()
    await leases.close()
    await server.stop()
  })

  fencedAccountingConformance(async () => {
    await redis.flushall()
    return {
      leases,
      accounting: redisAccounting({ redis, subscriber: redis, now, mapKeepMs: 60_000 }),
      admission: redisAdmission(redis),
    }
  })
})
