import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import type { EmbeddedRedis, EmbeddedServer } from '../../runtime/redis/embedded.ts'
import { embeddedRedis, embeddedUrl } from '../../runtime/redis/embedded.ts'
import { endServers, runningServers } from '../../runtime/redis/server.ts'
import { findPlace } from '../../runtime/redis/server-place.ts'
import { eventually } from '../kit/eventually.ts'
import { isAlive } from '../kit/processes.ts'

const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }
const modulePath = new URL('../../runtime/redis/embedded.ts', import.meta.url).pathname
const roots: string[] = []
const others: Bun.Subprocess[] = []

function dataDir(...names: string[]): string {
  const root = mkdtempSync(join(tmpdir(), 'muster-embedded-'))
  roots.push(root)
  return join(root, ...names)
}

function embedded(dir: string, durability: 'everysec' | 'always' = 'everysec'): EmbeddedRedis {
  return embeddedRedis({ dataDir: dir, durability, log: quiet })
}

/** Every directory below the roots of this test that may have a server. */
function redisDirectories(): string[] {
  return roots.flatMap((root) =>
    readdirSync(root, { recursive: true, encoding: 'utf8' })
      .filter((name) => name === 'redis' || name.endsWith('/redis'))
      .map((name) => join(root, name)),
  )
}

async function withClient<T>(url: string, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ path: decodeURIComponent(new URL(url).pathname) })
  try {
    return await use(redis)
  } finally {
    redis.disconnect()
  }
}

/** A process that ensures the server of `dir`, says so, and releases it at the end of its input. */
function startOther(dir: string, env: Record<string, string> = {}) {
  const log = '{ debug() {}, info() {}, warn() {}, error() {} }'
  const code = `
    import { embeddedRedis } from ${JSON.stringify(modulePath)}
    const redis = embeddedRedis({
      dataDir: ${JSON.stringify(dir)}, durability: 'everysec', log: ${log} })
    console.log(JSON.stringify(await redis.ensure()))
    for await (const _ of Bun.stdin.stream()) {}
    await redis.release()
    process.exit(0)`
  const child = Bun.spawn([process.execPath, '-e', code], {
    env: { ...process.env, ...env },
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  others.push(child)
  const output = child.stdout.getReader()
  return {
    child,
    server: async (): Promise<EmbeddedServer> => {
      const { value } = await output.read()
      return JSON.parse(new TextDecoder().decode(value)) as EmbeddedServer
    },
    release: async (): Promise<void> => {
      await child.stdin.end()
      expect(await child.exited).toBe(0)
    },
  }
}

afterEach(async () => {
  for (const child of others.splice(0)) {
    child.kill('SIGKILL')
    await child.exited
  }
  const leaked = redisDirectories().filter((directory) => runningServers(directory).length > 0)
  for (const directory of leaked) {
    await endServers({ directory, socket: '', logFile: '' }, quiet)
  }
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true })
  expect(leaked).toEqual([])
})

describe('the embedded Redis', () => {
  test('two processes that start at once share one server, every time', async () => {
    for (let round = 0; round < 10; round++) {
      const dir = dataDir('data')
      const pair = [startOther(dir), startOther(dir)]
      const servers = await Promise.all(pair.map((other) => other.server()))
      expect(new Set(servers.map(({ pid }) => pid)).size).toBe(1)
      expect(new Set(servers.map(({ url }) => url)).size).toBe(1)
      expect(servers.filter(({ started }) => started)).toHaveLength(1)
      expect(runningServers(join(dir, 'redis'))).toHaveLength(1)
      await Promise.all(pair.map((other) => other.release()))
      expect(runningServers(join(dir, 'redis'))).toEqual([])
    }
  })

  test('two users in one process share one server', async () => {
    const dir = dataDir('data')
    const pair = [embedded(dir), embedded(dir)]
    const [first, second] = await Promise.all(pair.map((redis) => redis.ensure()))
    expect(second?.pid).toBe(first?.pid ?? -1)
    await Promise.all(pair.map((redis) => redis.release()))
  })

  test('the last one out stops the server, not the first', async () => {
    const dir = dataDir('data')
    const [starter, joiner] = [embedded(dir), embedded(dir)]
    const { pid, url } = await starter.ensure()
    await joiner.ensure()
    await starter.release()
    expect(runningServers(join(dir, 'redis'))).toEqual([pid])
    expect(await withClient(url, (redis) => redis.ping())).toBe('PONG')
    await joiner.release()
    expect(runningServers(join(dir, 'redis'))).toEqual([])
    expect(existsSync(join(dir, 'redis', 'redis.sock'))).toBe(false)
  })

  test('releasing twice, or without having ensured, does nothing', async () => {
    const dir = dataDir('data')
    const [user, bystander] = [embedded(dir), embedded(dir)]
    const { pid } = await user.ensure()
    await bystander.release()
    expect(runningServers(join(dir, 'redis'))).toEqual([pid])
    await user.release()
    await user.release()
  })

  test('the server outlives its killed starter and is joined', async () => {
    const dir = dataDir('data')
    const starter = startOther(dir)
    const { pid } = await starter.server()
    starter.child.kill('SIGKILL')
    await starter.child.exited
    const joiner = embedded(dir)
    expect(await joiner.ensure()).toMatchObject({ pid, started: false })
    await joiner.release()
    expect(runningServers(join(dir, 'redis'))).toEqual([])
  })

  test('a starter killed at any moment leaves no second server behind', async () => {
    const dir = dataDir('data')
    for (const sign of ['lock.sqlite', 'redis.log', 'redis.pid', 'redis.sock']) {
      const file = join(dir, 'redis', sign)
      rmSync(file, { force: true })
      const starter = startOther(dir)
      // Tight, so that the kill falls into the start and not behind it.
      await eventually(() => expect(existsSync(file)).toBe(true), {
        timeoutMs: 15_000,
        intervalMs: 1,
      })
      starter.child.kill('SIGKILL')
      const joiner = embedded(dir)
      const { pid } = await joiner.ensure()
      expect(runningServers(join(dir, 'redis'))).toEqual([pid])
      await joiner.release()
    }
  })

  test('the server has a session of its own', async () => {
    const redis = embedded(dataDir('data'))
    const { pid } = await redis.ensure()
    const ps = Bun.spawnSync(['ps', '-o', 'sid=', '-p', String(pid)])
    expect(Number(ps.stdout.toString())).toBe(pid)
    await redis.release()
  })

  test('what was acknowledged survives a killed server', async () => {
    const dir = dataDir('data')
    const redis = embedded(dir)
    const before = await redis.ensure()
    await withClient(before.url, (client) => client.set('task', 'accepted'))
    process.kill(before.pid, 'SIGKILL')
    const after = await redis.ensure()
    expect(after).toMatchObject({ url: before.url, started: true })
    expect(after.pid).not.toBe(before.pid)
    expect(await withClient(after.url, (client) => client.get('task'))).toBe('accepted')
    await redis.release()
    await redis.ensure()
    expect(await withClient(after.url, (client) => client.get('task'))).toBe('accepted')
    await redis.release()
  })

  test('it waits until a server has loaded its data, and says how far it is', async () => {
    const dir = dataDir('data')
    const first = embedded(dir)
    const { url, pid } = await first.ensure()
    await withClient(url, async (client) => {
      const load = client.pipeline()
      for (let key = 0; key < 3000; key++) load.set(`key-${key}`, 'x'.repeat(100))
      await load.exec()
    })
    process.kill(pid, 'SIGKILL')
    const slow = join(dirname(dir), 'slow-redis')
    const options = '--key-load-delay 500 --loading-process-events-interval-bytes 1024'
    writeFileSync(slow, `#!/bin/sh\nexec redis-server "$@" ${options}\n`, { mode: 0o700 })
    const lines: string[] = []
    const log: Log = { ...quiet, info: (_, message) => lines.push(message) }
    const findServer = async (): Promise<string> => slow
    const second = embeddedRedis({ dataDir: dir, durability: 'everysec', log, findServer })
    expect(await second.ensure()).toMatchObject({ started: true })
    expect(await withClient(url, (client) => client.dbsize())).toBe(3000)
    expect(lines).toContain('embedded Redis is loading its data')
    await first.release()
    await second.release()
  })

  test('a user whose server was restarted by another still counts as a user', async () => {
    const dir = dataDir('data')
    const [idle, busy] = [embedded(dir), embedded(dir)]
    const { pid } = await idle.ensure()
    await busy.ensure()
    process.kill(pid, 'SIGKILL')
    const { url } = await busy.ensure()
    await withClient(url, async (client) => {
      await eventually(async () => {
        const anchors = String(await client.client('LIST')).match(/name=muster:anchor/g)
        expect(anchors).toHaveLength(2)
      })
    })
    await busy.release()
    expect(runningServers(join(dir, 'redis'))).toHaveLength(1)
    await idle.release()
  })

  test('a server that lost its socket is replaced, not doubled', async () => {
    const dir = dataDir('data')
    const redis = embedded(dir)
    const before = await redis.ensure()
    await withClient(before.url, (client) => client.set('task', 'accepted'))
    rmSync(join(dir, 'redis', 'redis.sock'))
    const after = await redis.ensure()
    expect(runningServers(join(dir, 'redis'))).toEqual([after.pid])
    expect(await withClient(after.url, (client) => client.get('task'))).toBe('accepted')
    await redis.release()
  })

  test('a server whose data directory was removed still ends with its last user', async () => {
    const dir = dataDir('data')
    const redis = embedded(dir)
    const { pid } = await redis.ensure()
    rmSync(dir, { recursive: true })
    await redis.release()
    await eventually(() => expect(isAlive(pid)).toBe(false))
  })

  test('it is durable and never evicts', async () => {
    const redis = embeddedRedis({
      dataDir: dataDir('data'),
      durability: 'everysec',
      log: quiet,
      maxMemoryBytes: 64 * 2 ** 20,
    })
    const { url } = await redis.ensure()
    const settings = await withClient(url, (client) =>
      client.config('GET', 'append*', 'maxmemory*', 'save', 'port'),
    )
    expect(settings).toEqual(
      expect.arrayContaining(['appendonly', 'yes', 'noeviction', '67108864']),
    )
    const list = settings
    expect(list[list.indexOf('appendfsync') + 1]).toBe('everysec')
    expect(list[list.indexOf('save') + 1]).toBe('')
    expect(list[list.indexOf('port') + 1]).toBe('0')
    await redis.release()
  })

  test('the stronger durability wins, also over a crash, until the server is stopped', async () => {
    const dir = dataDir('data')
    const [weak, strong] = [embedded(dir), embedded(dir, 'always')]
    const fsync = (url: string): Promise<unknown> =>
      withClient(url, (client) => client.config('GET', 'appendfsync'))
    const { url, pid } = await weak.ensure()
    expect(await fsync(url)).toEqual(['appendfsync', 'everysec'])
    await strong.ensure()
    expect(await fsync(url)).toEqual(['appendfsync', 'always'])
    process.kill(pid, 'SIGKILL')
    await weak.ensure()
    expect(await fsync(url)).toEqual(['appendfsync', 'always'])
    await strong.release()
    await weak.release()
    await weak.ensure()
    expect(await fsync(url)).toEqual(['appendfsync', 'everysec'])
    await weak.release()
  })

  test('a path too long for a socket works, and every process finds the same place', async () => {
    const dir = dataDir('a'.repeat(120), 'data with spaces')
    const starter = embedded(dir)
    const { url, pid } = await starter.ensure()
    expect(embeddedUrl(dir)).toBe(url)
    const joiner = startOther(dir, { TMPDIR: dirname(dirname(dir)) })
    expect(await joiner.server()).toEqual({ url, pid, started: false })
    await joiner.release()
    await starter.release()
    const { socket } = findPlace(dir)
    expect(existsSync(socket)).toBe(false)
    rmSync(dirname(socket), { recursive: true })
  })

  test('a data directory that cannot be made is a clear error', async () => {
    const file = dataDir('file')
    writeFileSync(file, '')
    const failure = await embedded(join(file, 'data')).ensure().catch(String)
    expect(failure).toMatch(/^DataDirectoryError: .*file\/data.*ENOTDIR.*--data/)
  })

  test('a server that cannot start says why, with the end of its log', async () => {
    const dir = dataDir('data')
    mkdirSync(join(dir, 'redis', 'appendonlydir'), { recursive: true })
    writeFileSync(join(dir, 'redis', 'appendonlydir', 'appendonly.aof.manifest'), 'rubbish\n')
    const failure = await embedded(dir)
      .ensure()
      .catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'REDIS_SERVER_DIED' })
    expect(String(failure)).toMatch(/exit code 1.*manifest/s)
  })
})
