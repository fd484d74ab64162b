import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cluster, Redis } from 'ioredis'
import { UnavailableError, UsageError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import { hidePassword } from '../../config/secret.ts'
import type { ClientPurpose, RedisClient } from '../../runtime/redis/client.ts'
import { connectOrFail, parseRedisUrl, redisClient, unixUrl } from '../../runtime/redis/client.ts'
import { eventually } from '../kit/eventually.ts'

const command: ClientPurpose = { name: 'test', kind: 'command' }
const secret = 'hush%40hush'
const open: { clients: RedisClient[]; servers: Server[] } = { clients: [], servers: [] }

let directory: string
let socket: string
let server: Bun.Subprocess

async function startRedis(): Promise<void> {
  const argv = ['--port', '0', '--unixsocket', socket, '--dir', directory, '--save', '']
  server = Bun.spawn(['redis-server', ...argv, '--requirepass', 'hush@hush'], { stdout: 'ignore' })
  const probe = new Redis({ path: socket, password: 'hush@hush', retryStrategy: () => 20 })
  probe.on('error', () => undefined)
  await probe.ping()
  probe.disconnect()
}

async function stopRedis(): Promise<void> {
  server.kill('SIGKILL')
  await server.exited
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'muster-client-'))
  socket = join(directory, 'r.sock')
  await startRedis()
})

afterEach(() => {
  for (const client of open.clients.splice(0)) client.disconnect()
  for (const item of open.servers.splice(0)) item.close()
})

afterAll(async () => {
  await stopRedis()
  rmSync(directory, { recursive: true })
})

function recorder(): { log: Log; lines: string[] } {
  const lines: string[] = []
  const record =
    (level: string) =>
    (fields: Record<string, unknown>, message: string): void => {
      lines.push(`${level} ${message} ${JSON.stringify(fields)}`)
    }
  const [debug, info, warn, error] = ['debug', 'info', 'warn', 'error'].map(record)
  if (!debug || !info || !warn || !error) throw new Error('four levels')
  return { log: { debug, info, warn, error }, lines }
}

function connect(url: string, log = recorder().log, purpose = command): RedisClient {
  const made = redisClient(url, purpose, { log })
  open.clients.push(made)
  return made
}

/** A port that nobody listens on, or one that takes connections and says nothing. */
async function port(kind: 'dead' | 'mute'): Promise<number> {
  const listener = createServer(() => undefined)
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  if (kind === 'dead') await new Promise((resolve) => listener.close(resolve))
  else open.servers.push(listener)
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function failure(attempt: Promise<unknown>): Promise<{ error: unknown; tookMs: number }> {
  const start = performance.now()
  const error = await attempt.then(
    () => 'no error',
    (reason: unknown) => reason,
  )
  return { error, tookMs: performance.now() - start }
}

describe('a Redis client', () => {
  test('reaches a unix socket with a password, under its own name', async () => {
    const redis = connect(`${unixUrl(socket)}?password=${secret}`, undefined, {
      name: 'node a/1',
      kind: 'command',
    })
    await connectOrFail(redis, 3000)
    expect(await redis.client('GETNAME')).toBe('muster:node-a/1')
    await redis.set('a', '1')
    expect(await redis.get('a')).toBe('1')
  })

  test('suits BullMQ: commands wait for ever, and none is held back for a pipeline', () => {
    const redis = connect(`${unixUrl(socket)}?password=${secret}`)
    expect(redis.options).toMatchObject({ maxRetriesPerRequest: null, enableAutoPipelining: false })
  })

  test('waits through an outage, logging its start and its end once', async () => {
    const { log, lines } = recorder()
    const redis = connect(`${unixUrl(socket)}?password=${secret}`, log)
    await connectOrFail(redis, 3000)
    await stopRedis()
    let attempts = 0
    redis.on('error', () => (attempts += 1))
    const answer = redis.set('during', 'outage')
    await eventually(() => expect(attempts).toBeGreaterThanOrEqual(3), { timeoutMs: 30_000 })
    await startRedis()
    expect(await answer).toBe('OK')
    await eventually(() => expect(lines).toHaveLength(2), { timeoutMs: 30_000 })
    expect(lines[0]).toStartWith('warn Redis is away')
    expect(lines[1]).toStartWith('info Redis is back')
    expect(lines.join()).not.toContain('hush')
  })
})

describe('connecting at start', () => {
  test('fails in time at a dead address, which it names without the password', async () => {
    const address = `127.0.0.1:${await port('dead')}`
    const redis = connect(`redis://audit:${secret}@${address}/2`)
    const { error, tookMs } = await failure(connectOrFail(redis, 400))
    expect(error).toBeInstanceOf(UnavailableError)
    expect(error).toMatchObject({ code: 'REDIS_UNAVAILABLE' })
    expect(String(error)).toContain(`redis://audit:***@${address}/2`)
    expect(String(error)).toContain('ECONNREFUSED')
    expect(String(error)).toContain('--redis')
    expect(String(error)).not.toContain('hush')
    expect(tookMs).toBeLessThan(5000)
  })

  test('fails in time at an address that takes the connection and never answers', async () => {
    const url = `redis://127.0.0.1:${await port('mute')}`
    const { error, tookMs } = await failure(connectOrFail(connect(url), 300))
    expect(String(error)).toContain(`${url} did not answer within 300 ms`)
    expect(tookMs).toBeLessThan(5000)
  })

  test('fails in time when no host of a cluster or sentinel list answers', async () => {
    const dead = `127.0.0.1:${await port('dead')}`
    for (const url of [`redis-cluster://${dead}`, `redis-sentinel://${dead}/main`]) {
      const { error, tookMs } = await failure(connectOrFail(connect(url), 400))
      expect(String(error)).toContain(url)
      expect(tookMs).toBeLessThan(5000)
    }
  })

  test('fails at once when the login is refused', async () => {
    const refused = connect(`${unixUrl(socket)}?password=wrong`)
    const { error, tookMs } = await failure(connectOrFail(refused, 10_000))
    expect(String(error)).toMatch(/password=\*\*\* refuses the login \(WRONGPASS/)
    expect(tookMs).toBeLessThan(5000)
    const { error: missing } = await failure(connectOrFail(connect(unixUrl(socket)), 10_000))
    expect(String(missing)).toMatch(/refuses the login \(NOAUTH/)
  })
})

describe('a Redis URL', () => {
  test('says which kind of Redis it leads to', () => {
    expect(parseRedisUrl('redis://localhost')).toEqual({
      kind: 'standalone',
      options: { host: 'localhost', port: 6379 },
    })
    expect(parseRedisUrl('rediss://a:p%2Fw@[::1]:7000/3')).toEqual({
      kind: 'standalone',
      options: { host: '::1', port: 7000, username: 'a', password: 'p/w', db: 3, tls: {} },
    })
    expect(parseRedisUrl('redis-sentinel://:pw@s1:1,s2/main/4')).toEqual({
      kind: 'sentinel',
      options: {
        name: 'main',
        sentinels: [
          { host: 's1', port: 1 },
          { host: 's2', port: 26379 },
        ],
        password: 'pw',
        db: 4,
      },
    })
    expect(parseRedisUrl('redis-cluster://u:pw@n1:7001,[::2]:7002,n3')).toEqual({
      kind: 'cluster',
      nodes: [
        { host: 'n1', port: 7001 },
        { host: '::2', port: 7002 },
        { host: 'n3', port: 6379 },
      ],
      options: { username: 'u', password: 'pw' },
    })
  })

  test('of a cluster makes a Cluster, of anything else a Redis', async () => {
    const dead = `127.0.0.1:${await port('dead')}`
    expect(connect(`redis-cluster://${dead}`)).toBeInstanceOf(Cluster)
    expect(connect(`redis-sentinel://${dead}/main`)).toBeInstanceOf(Redis)
    expect(connect(`rediss://${dead}`)).toBeInstanceOf(Redis)
  })

  test('of a unix socket keeps any path', () => {
    for (const path of ['/a/b.sock', '/with space/ü/100%/a?b#c.sock']) {
      expect(parseRedisUrl(unixUrl(path))).toEqual({ kind: 'standalone', options: { path } })
    }
  })

  test('that cannot be understood is a usage error without the password', () => {
    const bad = [
      'localhost:6379',
      'http://localhost',
      'redis://',
      'redis://host/db',
      'redis://host?tls=1',
      'unix://relative/path',
      'unix:///a?colour=red',
      'redis-sentinel://host:1',
      'redis-cluster://host:x',
      `redis://:${secret}@host:notaport`,
    ]
    for (const url of bad) {
      expect(() => parseRedisUrl(url)).toThrow(UsageError)
      expect(() => parseRedisUrl(url)).toThrow(/must be redis:.*got/)
      expect(() => parseRedisUrl(url)).not.toThrow(/hush/)
    }
  })

  test('is shown without what must not be shown', () => {
    expect(hidePassword('redis://host:1/2')).toBe('redis://host:1/2')
    expect(hidePassword('redis://me@host')).toBe('redis://***@host')
    expect(hidePassword('rediss://me:p@ss:w/rd@host:1')).toBe('rediss://me:***@host:1')
    expect(hidePassword('redis://:hush@host')).toBe('redis://:***@host')
    expect(hidePassword('redis-cluster://u:hush@a:1,b:2')).toBe('redis-cluster://u:***@a:1,b:2')
    expect(hidePassword('unix:///a@b.sock?password=hush&db=1')).toBe(
      'unix:///a@b.sock?password=***&db=1',
    )
    expect(hidePassword('u:hush@host:6379')).toBe('u:***@host:6379')
  })
})
