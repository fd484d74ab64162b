import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { Pulse } from '../../runtime/redis/pulse.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

let server: RedisServer
let redis: Redis
let pulse: Pulse
let heard: string[]
beforeEach(async () => {
  server = await startRedis()
  redis = new Redis(server.path, { maxRetriesPerRequest: null, retryStrategy: () => 50 })
  redis.on('error', () => undefined)
  heard = []
  pulse = new Pulse(redis, {
    silent: () => heard.push('silent'),
    heard: () => heard.push('heard'),
  })
})
afterEach(async () => {
  pulse.stop()
  redis.disconnect()
  await server.stop()
})

describe('the pulse of a Redis', () => {
  test('is missed in some seconds when it is frozen, and felt again at once', async () => {
    await redis.ping()
    process.kill(server.pid, 'SIGSTOP')
    await eventually(() => expect(heard).toEqual(['silent']))
    expect([pulse.isSilent, redis.status]).toEqual([true, 'ready'])
    process.kill(server.pid, 'SIGCONT')
    await eventually(() => expect(heard).toEqual(['silent', 'heard']))
    expect(pulse.isSilent).toBe(false)
  })

  test('stopped while a question is under way ends without a word', async () => {
    await redis.ping()
    process.kill(server.pid, 'SIGSTOP')
    await eventually(() => expect(pulse.isSilent).toBe(true))
    pulse.stop()
    redis.disconnect()
    await eventually(() => expect(redis.status).toBe('end'))
    process.kill(server.pid, 'SIGCONT')
    expect(heard).toEqual(['silent'])
  })
})
