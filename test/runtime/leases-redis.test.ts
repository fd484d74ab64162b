/** Leases on a Redis that stands still, is away, or has forgotten everything. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { UnavailableError } from '../../actors/errors.ts'
import type { Acquired, Grant, Leases } from '../../actors/ports-fleet.ts'
import { keys } from '../../runtime/redis/keys.ts'
import { redisLeases } from '../../runtime/redis/leases.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

const operationTimeoutMs = 200
/** What the timer may be late on a loaded machine. */
const littleMs = 3000
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const owner = 'node-a/boot-1/1.1'
const ttlMs = 60_000

let server: RedisServer
let leases: Leases
let redis: Redis

beforeEach(async () => {
  server = await startRedis()
  leases = redisLeases({ url: server.url, operationTimeoutMs, log: quiet })
  redis = new Redis(server.path, { retryStrategy: () => 20 })
  redis.on('error', () => undefined)
})

afterEach(async () => {
  process.kill(server.pid, 'SIGCONT')
  await leases.close()
  redis.disconnect()
  await server.stop()
})

const acquire = async (by = owner): Promise<Grant> => {
  const acquired: Acquired = await leases.acquire('a', by, ttlMs)
  if (!acquired.granted) throw new Error('expected a grant')
  return { name: 'a', owner: by, epoch: acquired.epoch }
}

/** Every operation there is. */
const operations = (grant: Grant): Record<string, () => Promise<unknown>> => ({
  acquire: () => leases.acquire('a', owner, ttlMs),
  renew: () => leases.renew(grant, ttlMs),
  release: () => leases.release(grant),
  revoke: () => leases.revoke('a', 'drill'),
  list: () => leases.list(),
  put: () => leases.put(grant, 'state', 'x'),
  get: () => leases.get('a', 'state'),
  check: () => leases.check('a', grant.epoch),
})

const expectUnavailable = async (grant: Grant) => {
  for (const [name, operation] of Object.entries(operations(grant))) {
    const startedMs = performance.now()
    const error = await operation().then(
      () => `${name} was answered`,
      (reason: unknown) => reason,
    )
    const tookMs = performance.now() - startedMs
    expect(error).toBeInstanceOf(UnavailableError)
    expect(error).toMatchObject({ code: 'REDIS_UNAVAILABLE' })
    expect(String(error)).toContain('may have been done all the same')
    expect(tookMs).toBeLessThan(operationTimeoutMs + littleMs)
  }
}

describe('leases on a Redis in trouble', () => {
  test('while it stands still every operation ends in time, and later works again', async () => {
    const grant = await acquire()
    process.kill(server.pid, 'SIGSTOP')
    await expectUnavailable(grant)
    process.kill(server.pid, 'SIGCONT')
    // What was sent before may have been done: the release and the revocation were among it.
    await eventually(() => acquire())
    await eventually(async () => expect(await leases.list()).toHaveLength(1))
  })

  test('while it is away every operation ends in time, and none is done later', async () => {
    const grant = await acquire()
    await server.kill()
    await expectUnavailable(grant)
    await eventually(() => expect(redis.status).not.toBe('ready'))
    await expectUnavailable(grant)
    await server.restart()
    await eventually(async () => expect(await leases.list()).toMatchObject([{ name: 'a' }]))
    expect(await leases.get('a', 'state')).toBeUndefined()
    expect(await leases.renew(grant, ttlMs)).toBe(true)
  })

  test('an operation waits for a connection that comes in time', async () => {
    const fresh = redisLeases({ url: server.url, operationTimeoutMs: 5000, log: quiet })
    // Not connected yet.
    expect(await fresh.acquire('a', owner, ttlMs)).toMatchObject({ granted: true })
    await fresh.close()
  })

  test('its watchers hear that they may have missed something when it is back', async () => {
    const heard: (string | undefined)[] = []
    const unwatch = await leases.watch((name) => heard.push(name))
    await server.restart()
    await eventually(() => expect(heard).toContain(undefined))
    await unwatch()
  })

  test('who begins to watch while it is away hears of it when it is back', async () => {
    await server.kill()
    const heard: (string | undefined)[] = []
    const startedMs = performance.now()
    const unwatch = await leases.watch((name) => heard.push(name))
    expect(performance.now() - startedMs).toBeLessThan(operationTimeoutMs + littleMs)
    expect(heard).toEqual([])
    await server.restart()
    await eventually(() => expect(heard).toContain(undefined))
    const grant = await eventually(() => acquire())
    await leases.release(grant)
    await eventually(() => expect(heard).toContain('a'))
    await unwatch()
  })
})

describe('epochs of a Redis that forgets', () => {
  test('grow when the counter is lost', async () => {
    const first = await acquire()
    await redis.del(keys.leaseEpoch('a'))
    await leases.release(first)
    // They go on from the clock, and nobody forgets within the millisecond.
    await eventually(async () => {
      const [seconds, micros] = await redis.time()
      expect(Number(seconds) * 1000 + Number(micros) / 1000).toBeGreaterThan(first.epoch + 1)
    })
    const second = await acquire('node-b/boot-1/1.1')
    expect(second.epoch).toBeGreaterThan(first.epoch)
  })

  test('grow when it is restarted empty', async () => {
    const first = await acquire()
    await redis.flushall()
    await server.restart()
    const second = await eventually(() => acquire('node-b/boot-1/1.1'))
    expect(second.epoch).toBeGreaterThan(first.epoch)
    expect(await leases.renew(first, ttlMs)).toBe(false)
  })

  test('grow by the counter when the time has gone back', async () => {
    const ahead = Date.now() + 3_600_000
    await redis.set(keys.leaseEpoch('a'), ahead)
    const grant = await acquire()
    expect(grant.epoch).toBe(ahead + 1)
  })

  test('a renewal mends a counter that was lost, and a write is refused by it', async () => {
    const old = await acquire()
    await leases.release(old)
    const held = await acquire('node-b/boot-1/1.1')
    await redis.del(keys.leaseEpoch('a'))
    expect(leases.put(old, 'state', 'old')).rejects.toMatchObject({ code: 'FENCED' })
    expect(await leases.renew(held, ttlMs)).toBe(true)
    expect(await redis.get(keys.leaseEpoch('a'))).toBe(String(held.epoch))
    await leases.put(held, 'state', 'new')
    expect(await leases.get('a', 'state')).toBe('new')
  })

  test('the lock has a ttl, the counter has none', async () => {
    await acquire()
    expect(await redis.pttl(keys.leaseLock('a'))).toBeGreaterThan(0)
    expect(await redis.pttl(keys.leaseEpoch('a'))).toBe(-1)
  })
})
