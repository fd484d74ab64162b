import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { memoryLetters } from '../../runtime/memory/letters.ts'
import { redisLetters } from '../../runtime/redis/letters.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { letterOf, lettersConformance, messageLetter, type OpenLetters } from './letters.ts'

describe('letters in memory', () => lettersConformance(async (limits) => memoryLetters(limits)))

describe('letters in Redis', () => {
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

  const open: OpenLetters = async (limits) => {
    await redis.flushall()
    return redisLetters({ redis, ...limits })
  }
  lettersConformance(open)

  test('a filter that fits few finds them among many', async () => {
    const letters = await open()
    for (let first = 0; first < 1500; first += 100) {
      await letters.put(
        Array.from({ length: 100 }, (_, index) =>
          letterOf(first === 0 && index < 2 ? 'r-rare' : 'r-many', first + index),
        ),
      )
    }
    const page = await letters.list({ run: 'r-rare', limit: 1 })
    expect(page.items.map(({ id }) => id)).toEqual(['r-rare.1'])
    const rest = await letters.list({ run: 'r-rare', limit: 9, after: page.next ?? '' })
    expect(rest.items.map(({ id }) => id)).toEqual(['r-rare.0'])
    expect(rest.next).toBeUndefined()
  })

  test('what has gone leaves nothing behind', async () => {
    const letters = await open({ keep: 2 })
    await letters.put([messageLetter('m-1')])
    for (let seq = 0; seq < 50; seq += 1) await letters.put([letterOf('r-1', seq)])
    const names = await redis.keys('*')
    expect(names.filter((name) => name.includes(':letter:')).length).toBe(3)
    const { bytes } = await redis.hgetall('muster:{s0}:letters:totals')
    const two = await letters.get(['r-1.48', 'r-1.49'])
    expect(Number(bytes)).toBe(two.reduce((sum, letter) => sum + (letter?.bytes ?? 0), 0))
  })
})
