import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import {
  DataDirectoryError,
  describeError,
  TokenError,
  UnavailableError,
} from '../../actors/errors.ts'
import { createNode } from '../../runtime/index.ts'
import type { MusterNode } from '../../runtime/node.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { muster, nodeFiles, startMusterNode } from '../kit/muster.ts'
import { startRedis } from '../kit/redis.ts'
import { answerOf, noops, sleepLine, startNode } from './started-node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Not started; stopped when the test ends. */
async function makeNode(options: Parameters<typeof createNode>[0] = {}): Promise<MusterNode> {
  const node = await createNode({
    dataDir: temporaryDirectory(),
    http: { port: 0 },
    log: { level: 'error' },
    ...options,
  })
  cleanups.push(() => node.stop(0))
  return node
}

async function failureOf(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error('expected a failure, got none')
}

const answers = (url: string | undefined) =>
  fetch(`${url}/healthz`).then(
    ({ ok }) => ok,
    () => false,
  )

/** Takes connections and never says a word. */
async function mute(): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => sockets.delete(socket))
  })
  const listening = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', listening.resolve)
  await listening.promise
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy()
    const closed = Promise.withResolvers<void>()
    server.close(() => closed.resolve())
    await closed.promise
  })
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('expected a port')
  return address.port
}

describe('a node', () => {
  test('is up in a moment, and stops as often as it is told to', async () => {
    const node = await makeNode({ ephemeral: true })
    const began = performance.now()
    await node.start()
    expect(performance.now() - began).toBeLessThan(5000)
    expect(await answers(node.url)).toBe(true)
    await Promise.all([node.stop(), node.stop()])
    await node.stop()
    expect([await node.stopped, await answers(node.url)]).toEqual([0, false])
  })

  test('that is started twice starts once', async () => {
    const node = await makeNode({ ephemeral: true })
    const starts = [node.start(), node.start()]
    await Promise.all(starts)
    const { url } = node
    await node.start()
    expect(node.url).toBe(url)
    await node.stop()
    expect(await answers(url)).toBe(false)
  })

  test('that was stopped does not start any more', async () => {
    const node = await makeNode({ ephemeral: true })
    await node.stop()
    expect(await node.stopped).toBe(0)
    const failure = await failureOf(node.start())
    expect(failure).toMatchObject({ code: 'STOPPED' })
    expect(node.url).toBeUndefined()
  })

  test('stopped while it starts leaves nothing behind', async () => {
    const redis = await startRedis()
    cleanups.push(() => redis.stop())
    for (let steps = 0; steps < 12; steps += 1) {
      const dataDir = temporaryDirectory()
      const node = await makeNode({ dataDir, redis: { url: redis.url } })
      const started = node.start().then(
        () => 'started',
        (error: unknown) => describeError(error).code,
      )
      // Each time a little later.
      for (let step = 0; step < steps * 3; step += 1) await new Promise(setImmediate)
      await node.stop()
      expect(['started', 'STOPPED']).toContain(await started)
      expect([await node.stopped, await answers(node.url)]).toEqual([0, false])
      expect(nodeFiles(dataDir)).toEqual([])
    }
  })

  test('gives no answers before it is started', async () => {
    const node = await makeNode({ ephemeral: true })
    expect(await failureOf(node.fetch(new Request('http://muster/healthz')))).toBeInstanceOf(
      UnavailableError,
    )
  })

  test('refuses runs and is not ready while it drains', async () => {
    const { node, submit } = await startNode({ ephemeral: true })
    await answerOf(await submit(sleepLine(300)))
    const stopping = node.stop()
    const post = new Request('http://muster/v1/runs', {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson' },
      body: noops(1),
    })
    const refused = await node.fetch(post)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    const ready = await node.fetch(new Request('http://muster/readyz'))
    expect([ready.status, await ready.json()]).toEqual([
      503,
      { status: 'not ready', reasons: ['draining'] },
    ])
    await stopping
  })

  test('that stops does not wait for those who watch', async () => {
    const { node, submit, ask } = await startNode({ ephemeral: true })
    const { run } = await answerOf(await submit(sleepLine(60_000)))
    const events = await ask(`/v1/runs/${run}/events`)
    const reader = events.body?.getReader()
    await reader?.read()
    const began = performance.now()
    await node.stop(100)
    expect(performance.now() - began).toBeLessThan(10_000)
    reader?.cancel().catch(() => undefined)
  })

  test('that stops finishes what it has at hand, and the next one does the rest', async () => {
    const redis = await startRedis()
    cleanups.push(() => redis.stop())
    const shared = { redis: { url: redis.url }, dataDir: temporaryDirectory() }
    const worker = { concurrency: 2 }
    const first = await startNode({ ...shared, worker })
    cleanups.push(() => first.node.stop(0))
    const lines = sleepLine(400).repeat(6)
    const { run } = await answerOf(await first.submit(lines))
    // Wait until the workers have begun.
    await eventually(async () => expect((await first.get(run)).counts.ok).toBe(0))
    await first.node.stop()
    expect(await first.node.stopped).toBe(0)
    const second = await startNode({ ...shared, worker })
    cleanups.push(() => second.node.stop(0))
    await (await second.ask(`/v1/runs/${run}/events`)).text()
    expect(await second.get(run)).toMatchObject({ state: 'completed', counts: { ok: 6 } })
  })
})

describe('the file of a node', () => {
  test('is there while the node listens', async () => {
    const dataDir = temporaryDirectory()
    const { node, url } = await startNode({ ephemeral: true, dataDir, node: { id: 'one' } })
    cleanups.push(() => node.stop())
    expect(nodeFiles(dataDir)).toEqual([
      { id: 'one', pid: process.pid, url, startedAt: expect.any(Number) },
    ])
    await node.stop()
    expect(readdirSync(join(dataDir, 'nodes'))).toEqual([])
  })

  test('of a live twin refuses the id, and no id takes the next', async () => {
    const dataDir = temporaryDirectory()
    const twin = Bun.spawn(['sleep', '600'])
    cleanups.push(async () => {
      twin.kill()
      await twin.exited
    })
    mkdirSync(join(dataDir, 'nodes'))
    for (const id of ['one', hostname()]) {
      const file = { id, pid: twin.pid, url: 'http://127.0.0.1:1', startedAt: 1 }
      writeFileSync(join(dataDir, 'nodes', `${id}.json`), JSON.stringify(file))
    }
    const refused = await makeNode({ ephemeral: true, dataDir, node: { id: 'one' } })
    const failure = await failureOf(refused.start())
    expect(failure).toMatchObject({ code: 'LIVE_TWIN' })
    expect(failure.message).toContain(`"one" is the id of a live node (pid ${twin.pid}`)
    const next = await makeNode({ ephemeral: true, dataDir })
    await next.start()
    expect(next.id).toBe(`${hostname()}-2`)
  })

  test('of a dead node is ignored and replaced, half a file too', async () => {
    const dataDir = temporaryDirectory()
    const dead = Bun.spawn(['true'])
    await dead.exited
    mkdirSync(join(dataDir, 'nodes'))
    const file = { id: 'one', pid: dead.pid, url: 'http://127.0.0.1:1', startedAt: 1 }
    writeFileSync(join(dataDir, 'nodes', 'one.json'), JSON.stringify(file))
    writeFileSync(join(dataDir, 'nodes', 'two.json'), '{"id":"two","pi')
    for (const id of ['one', 'two']) {
      const node = await makeNode({ ephemeral: true, dataDir, node: { id } })
      await node.start()
      expect(node.id).toBe(id)
      await node.stop()
    }
    expect(readdirSync(join(dataDir, 'nodes'))).toEqual([])
  })
})

describe('a node that cannot start says why:', () => {
  test.each([
    ['a closed port', async () => 1],
    ['a server that says nothing', mute],
  ])('Redis away (%s), within 5 s, naming the address', async (_what, open) => {
    const port = await open()
    const url = `redis://:secret@127.0.0.1:${port}`
    const dataDir = temporaryDirectory()
    const node = await makeNode({ dataDir, redis: { url } })
    const began = performance.now()
    const failure = await failureOf(node.start())
    // It gives up after 4 s; the rest is for a loaded machine.
    expect(performance.now() - began).toBeLessThan(8000)
    const program = await muster(['start', '--redis', url], { dataDir })
    expect(failure).toBeInstanceOf(UnavailableError)
    for (const said of [failure.message, program.err]) {
      expect(said).toContain(`127.0.0.1:${port}`)
      expect(said).not.toContain('secret')
    }
    expect(program.code).toBe(69)
    expect(nodeFiles(dataDir)).toEqual([])
  })

  test('the data directory lies below a file', async () => {
    const folder = temporaryDirectory()
    writeFileSync(join(folder, 'file'), '')
    const node = await makeNode({ dataDir: join(folder, 'file', 'data') })
    const failure = await failureOf(node.start())
    expect(failure).toBeInstanceOf(DataDirectoryError)
    expect(failure.message).toMatch(/cannot make the data directory .*file\/data: .*--data/)
    for (const words of [['start'], ['run', '-']]) {
      const { code, err } = await muster([...words, '--data', join(folder, 'file', 'data')], {
        dataDir: folder,
        stdin: noops(1),
      })
      expect([code, err]).toEqual([73, expect.stringContaining('cannot make the data directory')])
    }
    expect(statSync(join(folder, 'file')).size).toBe(0)
  })

  const canBeNobody = process.getuid?.() === 0 && Bun.which('setpriv') !== null
  test.if(canBeNobody)('the data directory belongs to somebody else', async () => {
    const dataDir = temporaryDirectory()
    const under = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--']
    const data = join(dataDir, 'data')
    mkdirSync(data, { mode: 0o755 })
    Bun.spawnSync(['chmod', '755', dataDir])
    const { code, err } = await muster(['run', '-', '--data', data], {
      dataDir,
      under,
      stdin: noops(1),
    })
    expect([code, err]).toEqual([
      73,
      expect.stringMatching(/^muster: the data directory .*data cannot be made or written: EACCES/),
    ])
    expect(err.trimEnd().split('\n')).toHaveLength(1)
    expect(readdirSync(data)).toEqual([])
  })

  test('its port is taken', async () => {
    const { node: holder, url } = await startNode({ ephemeral: true })
    cleanups.push(() => holder.stop())
    const port = Number(new URL(url).port)
    const node = await makeNode({ ephemeral: true, http: { port } })
    const failure = await failureOf(node.start())
    expect(failure).toMatchObject({ code: 'PORT_TAKEN' })
    expect(failure.message).toContain(`cannot listen on 127.0.0.1:${port}`)
    expect(await node.stopped).toBe(70)
    const dataDir = temporaryDirectory()
    const { code, err } = await muster(['start', '--port', String(port)], { dataDir })
    expect([code, err]).toEqual([69, expect.stringContaining('choose another port with --port')])
    // The Redis it had brought up went with it.
    expect(existsSync(join(dataDir, 'redis', 'redis.sock'))).toBe(false)
    expect(nodeFiles(dataDir)).toEqual([])
  })

  test('another process is the node of that name', async () => {
    const dataDir = temporaryDirectory()
    const words = ['--node-id', 'one']
    const node = await startMusterNode({ dataDir, words })
    cleanups.push(() => node.kill('SIGTERM'))
    const twin = await muster(['start', '--port', '0', ...words], { dataDir })
    expect([twin.code, twin.err]).toEqual([69, expect.stringContaining(`(pid ${node.pid}`)])
    await node.kill()
    const next = await startMusterNode({ dataDir, words })
    expect(nodeFiles(dataDir).map(({ pid }) => pid)).toEqual([next.pid])
    expect(await next.kill('SIGTERM')).toMatchObject({ code: 0 })
    expect(nodeFiles(dataDir)).toEqual([])
  })

  test('it would be open to the network without a token', async () => {
    for (const host of ['0.0.0.0', '::']) {
      const node = await makeNode({ ephemeral: true, http: { port: 0, host } })
      const failure = await failureOf(node.start())
      expect(failure).toBeInstanceOf(TokenError)
      expect(failure.message).toContain(`${host} is not a loopback address`)
    }
  })

  test('its token file is not there, or empty', async () => {
    const empty = join(temporaryDirectory(), 'token')
    writeFileSync(empty, ' \n')
    for (const tokenFile of [empty, `${empty}.not`]) {
      const node = await makeNode({ ephemeral: true, http: { port: 0, tokenFile } })
      const failure = await failureOf(node.start())
      expect(failure).toBeInstanceOf(TokenError)
      expect(failure.message).toContain(tokenFile)
    }
  })
})

describe('a node with a token', () => {
  test.each(['127.0.0.1', '0.0.0.0'])(
    'on %s wants it for everything but its health',
    async (host) => {
      const tokenFile = join(temporaryDirectory(), 'token')
      writeFileSync(tokenFile, 'sesame\n')
      const { node, ask } = await startNode({ ephemeral: true, http: { port: 0, host, tokenFile } })
      cleanups.push(() => node.stop())
      const statusOf = async (path: string, authorization?: string) => {
        const headers = authorization === undefined ? {} : { authorization }
        return (await ask(path, { headers })).status
      }
      expect(await statusOf('/v1/runs')).toBe(401)
      expect(await statusOf('/v1/runs', 'Bearer wrong')).toBe(401)
      expect(await statusOf('/v1/runs', 'Bearer sesame')).toBe(200)
      expect(await statusOf('/nowhere')).toBe(401)
      expect(await statusOf('/healthz')).toBe(200)
      expect(await statusOf('/readyz')).toBe(200)
    },
  )
})
