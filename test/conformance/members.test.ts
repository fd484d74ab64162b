import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, constantFrom, record } from 'fast-check'
import { Redis } from 'ioredis'
import { describeError, UnavailableError } from '../../actors/errors.ts'
import type { Members } from '../../actors/ports-fleet.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { keys } from '../../runtime/redis/keys.ts'
import { redisMembers } from '../../runtime/redis/members.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { memberOf, membersConformance, type OpenMembers, refusalOf } from './members.ts'

const openMemory: OpenMembers = async () => {
  let now = 1_700_000_000_000
  return {
    members: memoryMembers(() => now),
    pass: async (ms) => {
      now += ms
    },
  }
}

describe('members in memory', () => membersConformance(openMemory))

describe('members in Redis', () => {
  let server: RedisServer
  let redis: Redis
  let subscriber: Redis
  beforeAll(async () => {
    server = await startRedis()
    redis = new Redis(server.path, { maxRetriesPerRequest: null })
    subscriber = new Redis(server.path, { maxRetriesPerRequest: null })
    // One of these tests takes the server away; without a listener that would be reported.
    for (const client of [redis, subscriber]) client.on('error', () => undefined)
  })
  afterAll(async () => {
    redis.disconnect()
    subscriber.disconnect()
    await server.stop()
  })

  const openRedis: OpenMembers = async () => {
    await redis.flushall()
    return {
      members: redisMembers({ redis, subscriber, timeoutMs: 5000 }),
      // Its clock cannot be set, but everything can be made older.
      pass: async (ms) => {
        const all = await redis.zrange(keys.membersSeen, 0, '-1')
        await Promise.all(all.map((each) => redis.zincrby(keys.membersSeen, -ms, each)))
      },
    }
  }

  membersConformance(openRedis)

  test('lastSeen is by the clock of Redis', async () => {
    const { members } = await openRedis()
    const [before = ''] = await redis.time()
    await members.beat(memberOf('a', 'a1'), { staleMs: 30_000 })
    const [after = ''] = await redis.time()
    const [{ lastSeen } = { lastSeen: 0 }] = await members.list(30_000)
    expect(lastSeen).toBeGreaterThanOrEqual(Number(before) * 1000)
    expect(lastSeen).toBeLessThan((Number(after) + 1) * 1000)
  })

  test('nothing stays of those who are gone', async () => {
    const { members, pass } = await openRedis()
    const beat = (boot: string) => members.beat(memberOf('a', boot), { staleMs: 30_000 })
    await beat('a1')
    await pass(31_000)
    await beat('a2')
    await pass(31_000)
    await members.forget('a', 'a2', 30_000)
    await pass(4_000_000)
    await members.beat(memberOf('b', 'b1'), { staleMs: 30_000 })
    await members.leave('b', 'b1')
    expect(await redis.keys('*')).toEqual([])
  })

  test('a Redis that does not answer in time is unavailable', async () => {
    await openRedis()
    await redis.client('PAUSE', 2000)
    const members = redisMembers({ redis, subscriber, timeoutMs: 20 })
    const error = await refusalOf(members.beat(memberOf('a', 'a1'), { staleMs: 30_000 }))
    expect(error).toBeInstanceOf(UnavailableError)
    expect(error).toMatchObject({ message: expect.stringContaining('20 ms') })
  })

  test('who was there before Redis was killed is there when it is back', async () => {
    await openRedis()
    const members = redisMembers({ redis, subscriber, timeoutMs: 2000 })
    await members.beat(memberOf('a', 'a1'), { staleMs: 30_000 })
    await server.restart()
    await server.kill()
    const error = await refusalOf(members.beat(memberOf('a', 'a1'), { staleMs: 30_000 }))
    expect(error).toBeInstanceOf(UnavailableError)
    await server.restart()
    const listed = await eventually(() => members.list(30_000))
    expect(listed).toMatchObject([{ id: 'a', boot: 'a1', state: 'alive' }])
  })

  test('what a node is asked for reaches it also after an outage', async () => {
    const { members } = await openRedis()
    const heard: string[] = []
    const unlisten = await members.onAsked('a', 'a1', ({ reason }) => heard.push(reason))
    await server.restart()
    await eventually(async () => {
      expect(await members.ask('a', 'a1', { type: 'drain', reason: 'now' })).toBe(true)
      expect(heard).toContain('now')
    })
    await unlisten()
  })

  test('whoever cannot listen is told, within the time', async () => {
    await openRedis()
    await subscriber.client('PAUSE', 2000)
    const members = redisMembers({ redis, subscriber, timeoutMs: 20 })
    expect(await refusalOf(members.onAsked('a', 'a1', () => undefined))).toBeInstanceOf(
      UnavailableError,
    )
    expect(await refusalOf(members.ask('a', 'a1', { type: 'drain', reason: '' }))).toBeInstanceOf(
      UnavailableError,
    )
  })

  test('a Redis that refuses to write is unavailable, not broken', async () => {
    const { members } = await openRedis()
    await redis.config('SET', 'maxmemory', '1')
    try {
      const error = await refusalOf(members.beat(memberOf('a', 'a1'), { staleMs: 30_000 }))
      expect(error).toBeInstanceOf(UnavailableError)
    } finally {
      await redis.config('SET', 'maxmemory', '0')
    }
  })

  test('both say the same of whatever happens', async () => {
    // No time that passes comes near a limit, so the time the test itself takes does not matter.
    const staleMs = 35_000
    const step = record({
      what: constantFrom<Step['what'][]>('beat', 'beat over', 'leave', 'forget', 'pass'),
      id: constantFrom('a', 'b'),
      boot: constantFrom('1', '2', '3'),
      ms: constantFrom(10_000, 20_000, 40_000, 3_700_000),
    })
    await assert(
      asyncProperty(array(step, { maxLength: 25 }), async (steps) => {
        const [one, other] = await Promise.all([openMemory(), openRedis()])
        for (const each of steps) {
          if (each.what === 'pass') await Promise.all([one.pass(each.ms), other.pass(each.ms)])
          const said = await sayOf(one.members, each, staleMs)
          expect(await sayOf(other.members, each, staleMs)).toEqual(said)
        }
      }),
    )
  })
})

interface Step {
  what: 'beat' | 'beat over' | 'leave' | 'forget' | 'pass'
  id: string
  boot: string
  ms: number
}

/** What a step answers, and who is there afterwards. */
async function sayOf(members: Members, { what, id, boot }: Step, staleMs: number) {
  let answer: unknown
  try {
    if (what === 'beat') await members.beat(memberOf(id, boot), { staleMs })
    if (what === 'beat over') {
      await members.beat(memberOf(id, boot), { staleMs, isGone: (twin) => twin.boot === '1' })
    }
    if (what === 'leave') await members.leave(id, boot)
    if (what === 'forget') answer = await members.forget(id, boot, staleMs)
  } catch (error) {
    answer = describeError(error)
  }
  const listed = await members.list(staleMs)
  const there = listed.map(({ lastSeen: _, ...rest }) => rest)
  // The dead of one id, seen in the same millisecond, are in no order.
  return { answer, there: there.sort((a, b) => (a.id + a.boot < b.id + b.boot ? -1 : 1)) }
}
