import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { memoryAccounting } from '../../runtime/memory/accounting.ts'
import { redisAccounting } from '../../runtime/redis/accounting.ts'
import { redisAdmission } from '../../runtime/redis/admission.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { chunkOf, envelopeOf, type OpenBooks, runOf, settlementOf } from './accounting.ts'
import { controlConformance } from './control.ts'
import { dependencyConformance } from './dependencies.ts'

describe('control in memory', () => {
  const open: OpenBooks = async (now) => memoryAccounting(now)
  controlConformance(open)
  dependencyConformance(open)
})

describe('control in Redis', () => {
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
  controlConformance(open)
  dependencyConformance(open)

  test('of a run that is over only its record and its outcome map stay', async () => {
    const { accounting, admission } = await open(() => 1000)
    await accounting.open(runOf('r-1'))
    const held = [1, 2].map((first) => ({ envelope: envelopeOf('r-1', first, 1), needs: [0] }))
    await accounting.commit('r-1', chunkOf(0, 5, { held, spool: [envelopeOf('r-1', 3, 1)] }))
    await accounting.close('r-1')
    const ordered = { ...envelopeOf('r-1', 4, 1), mailbox: 'work.probe~01' }
    await admission.reserve(ordered.mailbox, 'r-1', 1, 10)
    await accounting.control('r-1', 'pause', 'a')
    await accounting.park({ ...ordered, parks: 1 })
    await accounting.control('r-1', 'resume', 'b')
    const settlement = { ...settlementOf('r-1', 's', [[0, 5]], 'ok'), mailbox: '' }
    await accounting.settle([settlement])
    await accounting.stored([settlement])
    expect((await accounting.get('r-1'))?.run.state).toBe('completed')
    const left = (await redis.keys('*:run:r-1*')).map((key) => key.split(':run:')[1])
    expect(new Set(left)).toEqual(new Set(['r-1', 'r-1:map']))
  })
})
