import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { removeTemporaryDirectories, temporaryDirectory } from './directory.ts'
import { eventually } from './eventually.ts'
import { watchLeaks } from './leaks.ts'
import { isAlive } from './processes.ts'
import { seededRandom } from './random.ts'
import { type RedisServer, startRedis } from './redis.ts'

const connect = (server: RedisServer) => new Redis(server.path, { maxRetriesPerRequest: null })

describe('eventually', () => {
  test('gives back what the assertion returns once it holds', async () => {
    let tries = 0
    const value = await eventually(() => {
      tries++
      expect(tries).toBeGreaterThan(2)
      return 'there'
    })
    expect(value).toBe('there')
    expect(tries).toBe(3)
  })

  test('fails with the last error when the time is up', () => {
    const waiting = eventually(
      () => {
        throw new Error('three of four')
      },
      { timeoutMs: 50 },
    )
    expect(waiting).rejects.toThrow(/not so within 50 ms .*at last: three of four/)
  })

  test('an assertion that never ends is cut off', () => {
    const waiting = eventually(() => new Promise<never>(() => {}), { timeoutMs: 50 })
    expect(waiting).rejects.toThrow('did not end')
  })
})

describe('random', () => {
  test('the same seed draws the same numbers', () => {
    const draw = (seed: number) => {
      const random = seededRandom(seed)
      return Array.from({ length: 50 }, () => [random.integer(1, 6), random.pick('abc'.split(''))])
    }
    expect(draw(7)).toEqual(draw(7))
    expect(draw(7)).not.toEqual(draw(8))
  })

  test('every number in range is drawn, none outside', () => {
    const random = seededRandom()
    const drawn = new Set(Array.from({ length: 1000 }, () => random.integer(1, 6)))
    expect([...drawn].toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6])
    expect(random.chance(0)).toBe(false)
    expect(random.chance(1)).toBe(true)
  })
})

describe('directory', () => {
  test('a temporary directory is empty, writable and removed', () => {
    const directory = temporaryDirectory()
    writeFileSync(join(directory, 'file'), 'text')
    removeTemporaryDirectories([directory])
    expect(existsSync(directory)).toBe(false)
  })
})

describe('redis', () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis({ appendfsync: 'always' })
  })
  afterAll(() => server.stop())

  test('what was written outlives a kill', async () => {
    const redis = connect(server)
    await redis.set('key', 'value')
    const killed = server.pid
    await server.kill()
    expect(isAlive(killed)).toBe(false)
    await server.restart()
    expect(server.pid).not.toBe(killed)
    expect(await redis.get('key')).toBe('value')
    await redis.quit()
  })

  test('two servers share nothing', async () => {
    const other = await startRedis()
    const [here, there] = [connect(server), connect(other)]
    await here.set('mine', '1')
    expect(await there.get('mine')).toBeNull()
    await Promise.all([here.quit(), there.quit()])
    await other.stop()
    expect(existsSync(other.path)).toBe(false)
  })

  test('a client left open fails the stop, and the server still ends', async () => {
    const leaky = await startRedis()
    const redis = new Redis(leaky.path, { connectionName: 'forgotten', retryStrategy: null })
    await redis.ping()
    expect(await leaky.stop().catch(String)).toContain('forgotten (last command ping)')
    expect(isAlive(leaky.pid)).toBe(false)
    redis.disconnect()
  })

  test('a stopped process is ended by force', async () => {
    const frozen = await startRedis()
    process.kill(frozen.pid, 'SIGSTOP')
    await frozen.stop()
    expect(isAlive(frozen.pid)).toBe(false)
  })

  test.if(Bun.which('setpriv') !== null)('ends with the process that started it', async () => {
    const starter = Bun.spawn(
      [
        process.execPath,
        '--eval',
        `const { startRedis } = await import(${JSON.stringify(join(import.meta.dir, 'redis.ts'))})
         console.log((await startRedis()).pid)
         setInterval(() => {}, 1000)`,
      ],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        // It is killed before it can clean up, so it does its litter where we do.
        env: { ...process.env, TMPDIR: temporaryDirectory() },
      },
    )
    const { value } = await starter.stdout.getReader().read()
    const pid = Number(new TextDecoder().decode(value))
    expect(isAlive(pid)).toBe(true)
    starter.kill('SIGKILL')
    await eventually(() => expect(isAlive(pid)).toBe(false))
  })
})

describe.if(process.platform === 'linux')('leaks', () => {
  test('nothing started is nothing left', async () => {
    expect(await watchLeaks().leaks(0)).toEqual([])
  })

  test('a process left running is found and ended', async () => {
    const watch = watchLeaks()
    const child = Bun.spawn(['sleep', '600'])
    expect(await watch.leaks(0)).toEqual([`process ${child.pid} still runs: sleep 600`])
    watch.endProcesses()
    await child.exited
    expect(await watch.leaks(1000)).toEqual([])
  })

  test('a process whose parent is gone is found too', async () => {
    const watch = watchLeaks()
    const parent = Bun.spawn(['sh', '-c', 'setsid sleep 601 >/dev/null 2>&1 & echo $!'], {
      env: process.env,
    })
    await parent.exited
    await eventually(async () => {
      expect((await watch.leaks(0)).join()).toMatch(/still runs: (setsid )?sleep 601/)
    })
    watch.endProcesses()
    expect(await watch.leaks(1000)).toEqual([])
  })

  test('a server left listening is found', async () => {
    const watch = watchLeaks()
    const server = createServer()
    const listening = Promise.withResolvers<void>()
    server.listen(0, '127.0.0.1', listening.resolve)
    await listening.promise
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : undefined
    expect(await watch.leaks(0)).toEqual([`this process still listens on port ${port}`])
    server.close()
    expect(await watch.leaks(1000)).toEqual([])
  })
})
