import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { UnavailableError } from '../../actors/errors.ts'
import type { Topics } from '../../actors/ports-topics.ts'
import { memoryTopics } from '../../runtime/memory/topics.ts'
import { redisClient } from '../../runtime/redis/client.ts'
import { redisTopics } from '../../runtime/redis/topics.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { startRedisCluster } from '../kit/redis-cluster.ts'
import { topicMessage, topicsConformance } from './topics.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

describe('topics in memory', () => topicsConformance(async () => memoryTopics({ log })))

describe('topics in Redis', () => {
  let server: RedisServer
  const opened: Redis[] = []
  beforeAll(async () => {
    server = await startRedis()
  })
  afterEach(() => {
    for (const redis of opened.splice(0)) redis.disconnect()
  })
  afterAll(() => server.stop())

  const connect = () => {
    const redis = new Redis(server.path, { maxRetriesPerRequest: null })
    // One of these tests takes the server away; without a listener that would be reported.
    redis.on('error', () => undefined)
    opened.push(redis)
    return redis
  }
  const open = async (staleMs = 30_000) =>
    redisTopics({ redis: connect(), timeoutMs: 5000, staleMs, log })
  const openNew = async (): Promise<Topics> => {
    await connect().flushall()
    return open()
  }
  topicsConformance(openNew)

  test('what one process tells another one hears', async () => {
    const here = await openNew()
    const there = await open()
    const heard: unknown[] = []
    await there.listen('b-2', 'a.>', ({ data }) => heard.push(data))
    expect(await here.tell(topicMessage('a.b', 1))).toBe(1)
    await eventually(() => expect(heard).toEqual([1]))
    await Promise.all([here.close(), there.close()])
  })

  test('whoever falls silent is told nothing from the end of its time on', async () => {
    const here = await openNew()
    const silent = await open(300)
    await silent.listen('b-2', 'a', () => undefined)
    expect(await here.tell(topicMessage('a'))).toBe(1)
    opened.at(-1)?.disconnect()
    await eventually(async () => expect(await here.tell(topicMessage('a'))).toBe(0))
    await Promise.all([here.close(), silent.close()])
  })

  test('who listened before Redis was killed listens when it is back', async () => {
    await server.restart()
    const topics = await openNew()
    const heard: unknown[] = []
    await topics.listen('b-1', 'a', ({ data }) => heard.push(data))
    await server.kill()
    await server.restart()
    await eventually(
      async () => {
        await topics.tell(topicMessage('a', 'again'))
        expect(heard).toContain('again')
      },
      { timeoutMs: 40_000 },
    )
    await topics.close()
  })

  test('a Redis that does not answer in time is unavailable, and closing is quick', async () => {
    await openNew()
    const redis = connect()
    const topics = redisTopics({ redis, timeoutMs: 20, staleMs: 30_000, log })
    await redis.client('PAUSE', 2000)
    const asked = [
      topics.groups(),
      topics.declare({ group: 'g', pattern: 'a' }),
      topics.tell(topicMessage('a')),
      topics.listen('b-1', 'a', () => undefined),
      topics.forget('b-1'),
    ]
    for (const answer of asked) {
      const error = await answer.then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).toBeInstanceOf(UnavailableError)
    }
    await topics.close()
  })

  test('nothing is left of those who have gone but what expires', async () => {
    const topics = await openNew()
    await topics.listen('b-1', 'a.*', () => undefined)
    await topics.tell(topicMessage('a.b'))
    await topics.close()
    const redis = connect()
    for (const key of await redis.keys('*')) expect(await redis.pttl(key)).toBeGreaterThan(0)
  })
})

test('topics on a Redis Cluster reach their listeners', async () => {
  const cluster = await startRedisCluster()
  const redis = redisClient(cluster.url, { name: 'topics', kind: 'command' }, { log }) as Redis
  const topics = redisTopics({ redis, timeoutMs: 5000, staleMs: 30_000, log })
  const heard: unknown[] = []
  await topics.listen('b-1', 'control.>', ({ data }) => heard.push(data))
  await topics.declare({ group: 'g', pattern: 'control.>' })
  expect(await topics.tell(topicMessage('control.a.b', 7))).toBe(1)
  await eventually(() => expect(heard).toEqual([7]))
  expect(await topics.groups()).toEqual([{ group: 'g', pattern: 'control.>' }])
  await topics.close()
  redis.disconnect()
  await cluster.stop()
})
