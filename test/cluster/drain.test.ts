/** Nodes that are told to go, as processes on a Redis of their own. */
import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeLine } from '../../actors/membership.ts'
import type { Run } from '../../actors/ports.ts'
import type { LeaseRecord } from '../../actors/ports-fleet.ts'
import type { ResultLine } from '../../actors/result.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import {
  type Ended,
  type MusterProcess,
  muster,
  startMuster,
  startMusterNode,
} from '../kit/muster.ts'
import { lasting } from '../kit/outage.ts'
import { descendantsOf, isAlive } from '../kit/processes.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

/** The default locks: what comes back sooner was given back, and has not waited for them. */
const env = {
  MUSTER_MAILBOX_LOCK_MS: '15000',
  MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000',
  MUSTER_WORKER_CONCURRENCY: '4',
  MUSTER_WORKER_ENVELOPE_TASKS_MAX: '5',
}
/** Kubernetes kills after 30 s. */
const budgetMs = 25_000
/** Signals that come closer together are taken for one. */
const apartMs = 400

type Node = MusterProcess & { url: string }

const nodes: MusterProcess[] = []
const servers: RedisServer[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.kill()))
  await Promise.all(servers.splice(0).map((server) => server.stop()))
})

async function startServer(): Promise<RedisServer> {
  const server = await startRedis()
  servers.push(server)
  return server
}

interface NodeWish {
  dataDir: string
  redis?: RedisServer
  id?: string
  processes?: number
  words?: readonly string[]
  env?: Record<string, string>
}

function wordsOf({ redis, id, processes = 0, words = [] }: NodeWish): string[] {
  return [
    ...(redis === undefined ? [] : ['--redis', redis.url]),
    ...(id === undefined ? [] : ['--node-id', id]),
    ...(processes === 0 ? [] : ['--processes', String(processes)]),
    ...words,
  ]
}

async function startNode(wish: NodeWish): Promise<Node> {
  const { dataDir } = wish
  const over = { ...env, ...wish.env }
  const node = await startMusterNode({ dataDir, env: over, words: wordsOf(wish) })
  nodes.push(node)
  return node
}

const ask = async <Answer>({ url }: Node, path: string): Promise<Answer> =>
  (await (await fetch(url + path)).json()) as Answer

const statesOf = async (node: Node) => {
  const { items } = await ask<{ items: NodeLine[] }>(node, '/v1/nodes')
  return items.map(({ id, state }) => `${id} ${state}`)
}

const holdersOf = async (node: Node) => {
  const { items } = await ask<{ items: LeaseRecord[] }>(node, '/v1/leases')
  return Object.fromEntries(items.map(({ name, holder }) => [name, holder]))
}

async function submit(node: Node, dataDir: string, stdin: string): Promise<string> {
  const { code, out } = await muster(['submit', '-', '--url', node.url], { dataDir, stdin })
  expect(code).toBe(0)
  return out.trim()
}

const completed = (node: Node, run: string) =>
  eventually(
    async () => {
      const now = await ask<Run>(node, `/v1/runs/${run}`)
      expect(now.state).toBe('completed')
      return now
    },
    { timeoutMs: 25_000 },
  )

/** Every task ok, on record once, at its first attempt. */
async function expectWhole(node: Node, dataDir: string, run: string, total: number) {
  const { counts } = await completed(node, run)
  expect(counts).toMatchObject({ ok: total, pending: 0 })
  const { rows, audited } = readLedger(dataDir, run)
  const expected = Array.from({ length: total }, (_, seq) => ({ seq, outcome: 'ok' }))
  expect([rows, audited.size]).toEqual([expected, total])
  const path = `/v1/runs/${run}/results?limit=1000`
  const { items } = await ask<{ items: ResultLine[] }>(node, path)
  expect(new Set(items.map(({ attempt }) => attempt))).toEqual(new Set([1]))
}

/** How a process ended after a signal, and how long that took. */
async function signalled(node: MusterProcess, signal: NodeJS.Signals = 'SIGTERM') {
  const since = performance.now()
  process.kill(node.pid, signal)
  const ended: Ended = await node.ended
  return { ...ended, tookMs: Math.round(performance.now() - since) }
}

const sleeps = (count: number, ms: number) =>
  `{"kind":"sleep","input":{"ms":${ms}}}\n`.repeat(count)

/**
 * Handlers that leave a line when they begin and one when they end. `slow` takes its time; `stuck`
 * does so the first time only, and gives no heed to its signal when it is told to be deaf.
 */
function writeTasks(dataDir: string) {
  const path = join(dataDir, 'tasks.ts')
  const file = join(dataDir, 'begun.log')
  const stuck = join(dataDir, 'stuck-')
  writeFileSync(
    path,
    `import { appendFileSync, existsSync, writeFileSync } from 'node:fs'
     import { defineTask } from 'muster'
     import { z } from 'zod'
     const note = (word) => appendFileSync('${file}', word + '\\n')
     const input = z.object({ ms: z.number(), n: z.number() })
     const wait = (ms, signal) => new Promise((resolve, reject) => {
       setTimeout(resolve, ms)
       signal?.addEventListener('abort', () => reject(signal.reason))
     })
     export const slow = defineTask({ kind: 'slow', input, async run({ ms, n }, { signal }) {
       note('begin ' + n)
       await wait(ms, signal)
       note('end ' + n)
     } })
     const late = async ({ ms, n }, signal) => {
       const mark = '${stuck}' + n
       const again = existsSync(mark)
       writeFileSync(mark, '')
       note('begin ' + n)
       if (!again) await wait(ms, signal)
       note('end ' + n)
     }
     export const stuck = defineTask({ kind: 'stuck', input, run: (task, { signal }) => late(task, signal) })
     export const deaf = defineTask({ kind: 'deaf', input, run: (task) => late(task) })`,
  )
  const count = (word: string) =>
    existsSync(file)
      ? readFileSync(file, 'utf8')
          .split('\n')
          .filter((line) => line.startsWith(`${word} `)).length
      : 0
  return { path, begun: () => count('begin'), ended: () => count('end') }
}

const lines = (kind: string, count: number, ms: number) =>
  Array.from(
    { length: count },
    (_, n) => `{"kind":"${kind}","input":{"ms":${ms},"n":${n}},"delayMs":200}\n`,
  ).join('')

describe.each([0, 2])('a node with %i worker processes, told to go by SIGTERM', (processes) => {
  test('under load loses nothing, repeats nothing, and the next one goes on', async () => {
    const redis = await startServer()
    const dataDir = temporaryDirectory()
    const { path, begun, ended } = writeTasks(dataDir)
    const wish = { dataDir, redis, processes, words: ['--tasks', path] }
    const node = await startNode(wish)
    const total = 600
    const mixed = await submit(node, dataDir, sleeps(total, 40))
    const slow = await submit(node, dataDir, lines('slow', 40, 1500))
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(50))
    await eventually(() => expect(begun()).toBeGreaterThan(3))
    const family = descendantsOf(node.pid)
    const { code, tookMs } = await signalled(node)
    console.log(`drained under load with ${processes} processes in ${tookMs} ms`)
    expect(code).toBe(0)
    expect(tookMs).toBeLessThan(budgetMs)
    expect(family.filter(isAlive)).toEqual([])
    // What had begun has come to its end, and most was not begun.
    expect([ended(), countRows(dataDir) < total + 40]).toEqual([begun(), true])
    const next = await startNode(wish)
    await expectWhole(next, dataDir, mixed, total)
    await expectWhole(next, dataDir, slow, 40)
    expect([begun(), ended()]).toEqual([40, 40])
  }, 60_000)
})

test('a node hands back what is not done in time, without an attempt for it', async () => {
  // Side by side, for most of it is waiting.
  const handBack = async (processes: number) => {
    const redis = await startServer()
    const dataDir = temporaryDirectory()
    const { path, begun } = writeTasks(dataDir)
    const wish = { dataDir, redis, processes, words: ['--tasks', path] }
    const node = await startNode(wish)
    const stuck = await submit(node, dataDir, lines('stuck', 2, 60_000))
    const deaf = await submit(node, dataDir, lines('deaf', 2, 60_000).replaceAll('"n":', '"n":1'))
    await eventually(() => expect(begun()).toBe(4))
    const { code, tookMs } = await signalled(node)
    console.log(`handed back with ${processes} processes after ${tookMs} ms`)
    expect(code).toBe(0)
    expect(tookMs).toBeWithin(12_000, budgetMs)
    const next = await startNode(wish)
    const since = performance.now()
    await expectWhole(next, dataDir, stuck, 2)
    await expectWhole(next, dataDir, deaf, 2)
    expect(performance.now() - since).toBeLessThan(10_000)
  }
  await Promise.all([0, 2].map(handBack))
}, 60_000)

describe('a node that drains', () => {
  test('is not ready, takes no runs, and says so to the others', async () => {
    const redis = await startServer()
    const [dataDir, elsewhere] = [temporaryDirectory(), temporaryDirectory()]
    const node = await startNode({ dataDir, redis, id: 'going' })
    const other = await startNode({ dataDir: elsewhere, redis, id: 'staying' })
    expect((await fetch(`${node.url}/readyz`)).status).toBe(200)
    await submit(node, dataDir, sleeps(8, 3000))
    await eventually(async () => {
      const { items } = await ask<{ items: NodeLine[] }>(other, '/v1/nodes')
      expect(items.map(({ id }) => id)).toEqual(['going', 'staying'])
    })
    const ending = signalled(node)
    const ready = await eventually(async () => {
      const response = await fetch(`${node.url}/readyz`)
      expect(response.status).toBe(503)
      return (await response.json()) as { reasons: string[] }
    })
    expect(ready.reasons).toContain('draining')
    expect((await fetch(`${node.url}/healthz`)).status).toBe(200)
    const words = ['submit', '-', '--url', node.url]
    const refused = await muster(words, { dataDir, stdin: '{"kind":"noop"}\n' })
    expect([refused.code, refused.err.includes('draining')]).toEqual([75, true])
    await eventually(async () => {
      expect(await statesOf(other)).toEqual(['going draining', 'staying alive'])
    })
    expect((await ending).code).toBe(0)
    expect(await statesOf(other)).toEqual(['staying alive'])
  }, 60_000)

  test('lets another one lead at once', async () => {
    const redis = await startServer()
    const dataDir = temporaryDirectory()
    const first = await startNode({ dataDir, redis, id: 'first' })
    await eventually(async () => {
      expect(await holdersOf(first)).toEqual({ collector: 'first', coordinator: 'first' })
    })
    const second = await startNode({ dataDir, redis, id: 'second' })
    // The work of the first goes on for a while; it leads no longer.
    await submit(first, dataDir, sleeps(8, 2000))
    const since = performance.now()
    const ending = signalled(first)
    await eventually(async () => expect((await holdersOf(second))['coordinator']).toBe('second'))
    const ledMs = Math.round(performance.now() - since)
    expect(isAlive(first.pid)).toBe(true)
    const { code, tookMs } = await ending
    await eventually(async () => expect((await holdersOf(second))['collector']).toBe('second'))
    const allMs = Math.round(performance.now() - since)
    console.log(
      `coordinated by the next ${ledMs} ms after SIGTERM; gone in ${tookMs}, all ${allMs}`,
    )
    expect(code).toBe(0)
    expect(ledMs).toBeLessThan(1500)
    expect(allMs - tookMs).toBeLessThan(1500)
  }, 60_000)

  test('is sent away from another node, and its work goes on there', async () => {
    const redis = await startServer()
    const dataDir = temporaryDirectory()
    const going = await startNode({ dataDir, redis, id: 'going' })
    const staying = await startNode({ dataDir, redis, id: 'staying' })
    const run = await submit(going, dataDir, sleeps(400, 50))
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(20))
    const elsewhere = temporaryDirectory()
    const words = ['drain', 'going', '--reason', 'a new disk', '--url', staying.url]
    const { code, out, err } = await muster(words, { dataDir: elsewhere })
    expect([code, out, err.includes('node going is gone')]).toEqual([0, '', true])
    const ended = await going.ended
    expect(ended.code).toBe(0)
    expect(ended.out + ended.err).toContain('"reason":"a new disk"')
    await expectWhole(staying, dataDir, run, 400)
  }, 60_000)
})

describe('a second signal', () => {
  test('hands everything back at once, exit 75, without an attempt for it', async () => {
    const redis = await startServer()
    const dataDir = temporaryDirectory()
    const { path, begun } = writeTasks(dataDir)
    const wish = { dataDir, redis, words: ['--tasks', path] }
    const node = await startNode(wish)
    const run = await submit(node, dataDir, lines('stuck', 3, 60_000))
    await eventually(() => expect(begun()).toBe(3))
    process.kill(node.pid, 'SIGTERM')
    await lasting(apartMs)
    const { code, tookMs } = await signalled(node)
    console.log(`gone ${tookMs} ms after the second signal`)
    expect(code).toBe(75)
    expect(tookMs).toBeLessThan(5000)
    const next = await startNode(wish)
    await expectWhole(next, dataDir, run, 3)
  }, 60_000)

  test('and a third one leave everything as it is, also when nothing moves', async () => {
    const redis = await startServer()
    const dataDir = temporaryDirectory()
    const node = await startNode({ dataDir, redis })
    const run = await submit(node, dataDir, sleeps(6, 3000))
    await eventually(async () => {
      const { items } = await ask<{ items: NodeLine[] }>(node, '/v1/nodes')
      expect(items).toMatchObject([{ state: 'alive' }])
    })
    process.kill(redis.pid, 'SIGSTOP')
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.kill(node.pid, signal)
      await lasting(apartMs)
    }
    expect(isAlive(node.pid)).toBe(true)
    const { code, tookMs } = await signalled(node)
    process.kill(redis.pid, 'SIGCONT')
    expect(code).toBe(75)
    expect(tookMs).toBeLessThan(1000)
    const next = await startNode({ dataDir, redis })
    await expectWhole(next, dataDir, run, 6)
  }, 60_000)
})

const outages: [string, (redis: RedisServer) => Promise<void>][] = [
  ['dead', (redis) => redis.kill()],
  ['hung', async ({ pid }) => void process.kill(pid, 'SIGSTOP')],
]

test.each(outages)(
  'with a Redis that is %s a node is down in time all the same',
  async (what, strike) => {
    const drainWithout = async (processes: number) => {
      const redis = await startServer()
      const dataDir = temporaryDirectory()
      const node = await startNode({ dataDir, redis, processes })
      const run = await submit(node, dataDir, sleeps(200, 200))
      await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(10))
      const family = descendantsOf(node.pid)
      const ending = signalled(node)
      await lasting(100)
      await strike(redis)
      const { code, tookMs } = await ending
      console.log(`with Redis ${what}, ${processes} processes: exit ${code} after ${tookMs} ms`)
      // Who does not hang ends in order: what it could not hand back is reclaimed.
      expect(code).toBe(what === 'hung' ? 75 : 0)
      expect(tookMs).toBeLessThan(26_000)
      await eventually(() => expect(family.filter(isAlive)).toEqual([]), { timeoutMs: 5000 })
      if (what === 'hung') process.kill(redis.pid, 'SIGCONT')
      else await redis.restart()
      const next = await startNode({ dataDir, redis, env: { MUSTER_WORKER_CONCURRENCY: '64' } })
      const { counts } = await completed(next, run)
      expect(counts).toMatchObject({ ok: 200, pending: 0 })
      const { rows } = readLedger(dataDir, run)
      expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: 200 }, (_, seq) => seq))
    }
    await Promise.all([0, 2].map(drainWithout))
  },
  90_000,
)

describe('a node id', () => {
  const places: [string, () => [string, string]][] = [
    [
      'on one data directory',
      () => Array<string>(2).fill(temporaryDirectory()) as [string, string],
    ],
    ['on two data directories', () => [temporaryDirectory(), temporaryDirectory()]],
  ]

  test.each(places)('of a live node is refused to another one %s', async (_, makePlaces) => {
    const redis = await startServer()
    const [here, there] = makePlaces()
    const node = await startNode({ dataDir: here, redis, id: 'one' })
    const words = ['start', '--port', '0', ...wordsOf({ dataDir: there, redis, id: 'one' })]
    const since = performance.now()
    const twin = await muster(words, { dataDir: there, env })
    expect(twin.code).toBe(69)
    expect(twin.err).toContain(`pid ${node.pid}`)
    expect(twin.err).toContain('--node-id')
    expect(performance.now() - since).toBeLessThan(5000)
    expect(await statesOf(node)).toEqual(['one alive'])
    expect((await fetch(`${node.url}/readyz`)).status).toBe(200)
  })

  test.each(places)(
    'of a killed node is free at once %s',
    async (_, makePlaces) => {
      const redis = await startServer()
      const [here, there] = makePlaces()
      const node = await startNode({ dataDir: here, redis, id: 'one' })
      await eventually(async () => {
        expect(await holdersOf(node)).toEqual({ collector: 'one', coordinator: 'one' })
      })
      await node.kill()
      const since = performance.now()
      const again = await startNode({ dataDir: there, redis, id: 'one' })
      const startMs = Math.round(performance.now() - since)
      await eventually(async () => {
        expect(await holdersOf(again)).toEqual({ collector: 'one', coordinator: 'one' })
      })
      console.log(
        `up ${startMs} ms after the kill, led after ${Math.round(performance.now() - since)}`,
      )
      expect(startMs).toBeLessThan(4000)
      expect(await statesOf(again)).toEqual(['one alive', 'one dead'])
      expect(readdirSync(join(there, 'nodes'))).toEqual(['one.json'])
    },
    30_000,
  )
})

test('muster start that is told to go while it starts leaves nothing', async () => {
  const redis = await startServer()
  const dataDir = temporaryDirectory()
  const words = ['start', '--port', '0', '--redis', redis.url]
  const node = startMuster(words, { dataDir, env })
  nodes.push(node)
  await eventually(() => expect(existsSync(join(dataDir, 'results.sqlite'))).toBe(true))
  const { code, tookMs } = await signalled(node)
  expect([0, 69]).toContain(code)
  expect(tookMs).toBeLessThan(5000)
})
