/** What accounting in Redis promises beyond the port: its size, and what it outlives. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test'
import { createServer, connect as openSocket, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import type { Accounting, RunNotice } from '../../actors/ports-runs.ts'
import { redisAccounting } from '../../runtime/redis/accounting.ts'
import { redisAdmission } from '../../runtime/redis/admission.ts'
import { redisClient, unixUrl } from '../../runtime/redis/client.ts'
import { SlotKeys } from '../../runtime/redis/keys.ts'
import { chunkOf, envelopeOf, mailbox, runOf, settlementOf } from '../conformance/accounting.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

const keys = new SlotKeys()

const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }
const mapKeepMs = 5000

let server: RedisServer
let proxy: Proxy
/** Straight to the server; `accounting` goes through the proxy. */
let redis: Redis
let accounting: Accounting
const clients: Redis[] = []

const client = (path: string, name: string): Redis => {
  const made = redisClient(unixUrl(path), { name, kind: 'command' }, { log: quiet }) as Redis
  clients.push(made)
  return made
}

beforeAll(async () => {
  server = await startRedis({ appendfsync: 'always' })
  proxy = await startProxy(server.path)
})
beforeEach(async () => {
  redis = client(server.path, 'test')
  await redis.flushall()
  accounting = redisAccounting({
    redis: client(proxy.path, 'accounting'),
    subscriber: client(server.path, 'notices'),
    now: () => 5000,
    mapKeepMs,
  })
  // The server knows the scripts now: a lost reply is that of a script that ran.
  await finish('r-0', 1)
  await redisAdmission(redis).reserve(mailbox, 'r-0', 1, 1)
  await redis.flushall()
})
afterEach(() => {
  for (const made of clients.splice(0)) made.disconnect()
})
afterAll(async () => {
  await proxy.stop()
  await server.stop()
})

const finish = async (run: string, tasks: number) => {
  await accounting.open(runOf(run, { content: run }))
  await accounting.commit(run, chunkOf(0, tasks, { spool: [envelopeOf(run, 0, 1)] }))
  await accounting.claimIds(run, [['a', 0]])
  const settlement = settlementOf(run, 's', [[0, tasks]], 'ok')
  await accounting.settle([settlement])
  await accounting.close(run)
  await accounting.stored([settlement])
}

test('an outcome takes four bits', async () => {
  await accounting.open(runOf('r-1'))
  await accounting.settle([settlementOf('r-1', 's', [[0, 1001]], 'unreached')])
  expect(await redis.strlen(keys.map('r-1'))).toBe(501)
  const bytes = await redis.getBuffer(keys.map('r-1'))
  expect(bytes?.toString('hex')).toBe('77'.repeat(500) + '70')
})

test('of a finished run only its record stays, and its map for a while', async () => {
  await finish('r-1', 10)
  const left = (await redis.keys('*r-1*')).toSorted()
  expect(left).toEqual([keys.run('r-1'), keys.map('r-1')])
  expect(await redis.pttl(keys.map('r-1'))).toBeWithin(1, mapKeepMs + 1)
  expect(await redis.exists(keys.room(0))).toBe(1)
})

test('once its map is gone, a finished run counts nothing more', async () => {
  await finish('r-1', 10)
  await redis.del(keys.map('r-1'))
  const before = await accounting.get('r-1')
  const late = settlementOf('r-1', 'late', [[3, 2]], 'failed')
  expect(await accounting.settle([late])).toStrictEqual([
    { fresh: 0, outcomes: [undefined, undefined] },
  ])
  await accounting.stored([late])
  expect(await accounting.get('r-1')).toEqual(before)
  expect(await redis.exists(keys.map('r-1'))).toBe(0)
})

test('everything goes on when the server forgets its scripts', async () => {
  for (let round = 0; round < 3; round += 1) {
    await redis.script('FLUSH')
    await finish(`r-${round}`, 100)
    expect((await accounting.get(`r-${round}`))?.run.state).toBe('completed')
  }
})

test('what was accepted and settled outlives a killed server', async () => {
  await accounting.open(runOf('r-1'))
  const envelope = envelopeOf('r-1', 0, 4)
  await accounting.commit('r-1', chunkOf(0, 4, { spool: [envelope] }))
  await accounting.settle([settlementOf('r-1', 's', [[0, 2]], 'ok')])
  await server.kill()
  const settling = accounting.settle([settlementOf('r-1', 't', [[2, 2]], 'failed')])
  await server.restart()
  expect(await settling).toEqual([{ fresh: 2 }])
  expect(await accounting.get('r-1')).toMatchObject({
    run: { total: 4, counts: { ok: 2, failed: 2, pending: 0 } },
    spooled: 4,
  })
  expect((await accounting.peekSpool('r-1', 2)).envelopes).toEqual([envelope])
})

test('watchers are told that they may have missed something, and hear what follows', async () => {
  const heard: (RunNotice | undefined)[] = []
  const unwatch = await accounting.watch((notice) => heard.push(notice))
  await accounting.open(runOf('r-1'))
  for (let times = 1; times <= 3; times += 1) {
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await eventually(() => expect(heard).toStrictEqual([undefined]))
    // From that moment on nothing is missed.
    await accounting.settle([settlementOf('r-1', `s${times}`, [[times, 1]], 'ok')])
    await eventually(() => expect(heard.at(-1)).toMatchObject({ run: 'r-1', done: times }))
    heard.length = 0
  }
  await unwatch()
})

/* ---- the server did it, and its reply got lost: the client asks again ---- */

test('a chunk whose reply is lost is not taken for that of another source', async () => {
  await accounting.open(runOf('r-1'))
  const spool = [envelopeOf('r-1', 0, 2)]
  proxy.loseReply()
  await accounting.commit('r-1', chunkOf(0, 2, { spool }))
  expect(proxy.lost()).toBe(1)
  expect(await accounting.get('r-1')).toMatchObject({ lines: 2, accepted: 2, spooled: 2 })
  expect((await accounting.peekSpool('r-1', 9)).envelopes).toEqual(spool)
  const other = accounting.commit('r-1', chunkOf(0, 2, { spool }))
  expect(await other.catch((error: unknown) => error)).toMatchObject({ code: 'RUN_FED_ELSEWHERE' })
})

test('what is taken off the spool is taken once, though the reply is lost', async () => {
  await accounting.open(runOf('r-1'))
  const spool = [0, 2, 4].map((first) => envelopeOf('r-1', first, 2))
  await accounting.commit('r-1', chunkOf(0, 6, { spool }))
  for (let nth = 1; nth <= 2; nth += 1) {
    proxy.loseReply()
    await accounting.dropSpool('r-1', { mark: '', envelopes: 1, tasks: 2 })
    expect(proxy.lost()).toBe(1)
    expect((await accounting.peekSpool('r-1', 9)).envelopes).toEqual(spool.slice(nth))
  }
  expect((await accounting.get('r-1'))?.spooled).toBe(2)
})

test('a settlement whose reply is lost is counted once', async () => {
  await accounting.open(runOf('r-1'))
  await accounting.commit('r-1', chunkOf(0, 3))
  const settlement = settlementOf('r-1', 's', [[0, 3]], ['ok', 'dead', 'ok'])
  proxy.loseReply()
  expect(await accounting.settle([settlement])).toEqual([
    { fresh: 0, outcomes: ['ok', 'dead', 'ok'] },
  ])
  expect(proxy.lost()).toBe(1)
  expect((await accounting.get('r-1'))?.run.counts).toMatchObject({ ok: 2, dead: 1, pending: 0 })
})

test('a run whose reply is lost is opened once, and is new', async () => {
  proxy.loseReply()
  const { progress, resumed } = await accounting.open(runOf('r-1', { content: 'same' }))
  expect(proxy.lost()).toBe(1)
  expect([progress.run.id, resumed]).toEqual(['r-1', false])
})

test('a run that ends while the reply is lost ends once', async () => {
  const notices: RunNotice[] = []
  const unwatch = await accounting.watch((notice) => {
    if (notice !== undefined) notices.push(notice)
  })
  await accounting.open(runOf('r-1'))
  proxy.loseReply()
  await accounting.close('r-1')
  await finish('r-2', 1)
  await eventually(() => expect(notices.at(-1)).toMatchObject({ run: 'r-2', state: 'completed' }))
  await unwatch()
  expect(notices.filter(({ run }) => run === 'r-1')).toEqual([
    { run: 'r-1', done: 0, state: 'completed' },
  ])
})

test('room whose reply is lost is given back when the run ends', async () => {
  const admission = redisAdmission(client(proxy.path, 'admission'))
  await accounting.open(runOf('r-1'))
  expect(await admission.used(mailbox)).toBe(0)
  proxy.loseReply()
  expect(await admission.reserve(mailbox, 'r-1', 5, 100)).toBe(true)
  await accounting.close('r-1')
  expect(await admission.used(mailbox)).toBe(0)
})

interface Proxy {
  path: string
  /** Cut the connection instead of passing on the reply to the next change. */
  loseReply(): void
  /** Replies lost since. */
  lost(): number
  stop(): Promise<void>
}

async function startProxy(target: string): Promise<Proxy> {
  const path = join(temporaryDirectory(), 'proxy.sock')
  const sockets = new Set<Socket>()
  let armed = false
  let losing = false
  let lost = 0
  const listener: Server = createServer((near) => {
    const far = openSocket(target)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
    near.on('data', (data) => {
      if (armed && /evalsha|multi/i.test(String(data))) [armed, losing] = [false, true]
      far.write(data)
    })
    far.on('data', (data) => {
      if (!losing) {
        near.write(data)
        return
      }
      losing = false
      lost += 1
      near.destroy()
    })
  })
  const listening = Promise.withResolvers<void>()
  listener.listen(path, listening.resolve)
  await listening.promise
  return {
    path,
    loseReply() {
      armed = true
      lost = 0
    },
    lost: () => lost,
    async stop() {
      for (const socket of sockets) socket.destroy()
      const closed = Promise.withResolvers<void>()
      listener.close(() => closed.resolve())
      await closed.promise
    },
  }
}
