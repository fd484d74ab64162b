/** Nodes that are told to go, as processes on a Redis of their own. */
import { afterEach, describe, expect, test } from 'bun:test'
import type { NodeLine } from '../../actors/membership.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { type MusterProcess, muster } from '../kit/muster.ts'
import { lasting } from '../kit/outage.ts'
import { descendantsOf, isAlive } from '../kit/processes.ts'
import type { RedisServer } from '../kit/redis.ts'
import {
  apartMs,
  ask,
  budgetMs,
  completed,
  endAll,
  expectWhole,
  holdersOf,
  lines,
  signalled,
  sleeps,
  startNode,
  startServer,
  statesOf,
  submit,
  writeTasks,
} from './draining.ts'

afterEach(endAll)

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
  })
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
    expect(performance.now() - since).toBeLessThan(13_000)
  }
  await Promise.all([0, 2].map(handBack))
})

describe('a node that drains', () => {
  test('is not ready, takes no runs, and says so to the others', async () => {
    const redis = await startServer()
    const [dataDir, elsewhere] = [temporaryDirectory(), temporaryDirectory()]
    const node = await startNode({ dataDir, redis, id: 'going' })
    const other = await startNode({ dataDir: elsewhere, redis, id: 'staying' })
    expect((await fetch(`${node.url}/readyz`)).status).toBe(200)
    // Longer than it may drain: it is there for all that is asked of it.
    await submit(node, dataDir, sleeps(8, 60_000))
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
  })

  test('lets another one lead at once', async () => {
    const redis = await startServer()
    const dataDir = temporaryDirectory()
    const first = await startNode({ dataDir, redis, id: 'first' })
    await eventually(async () => {
      expect(await holdersOf(first)).toEqual({ collector: 'first', coordinator: 'first' })
    })
    const second = await startNode({ dataDir, redis, id: 'second' })
    // The work of the first goes on for a while; it leads no longer.
    await submit(first, dataDir, sleeps(8, 6000))
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
    expect(ledMs).toBeLessThan(6000)
    expect(allMs - tookMs).toBeLessThan(6000)
  })

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
  })
})

const says = (node: MusterProcess, words: string) =>
  eventually(() => expect(node.out + node.err).toContain(words))

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
    // Signals at the same moment count as one.
    await says(node, 'stopping;')
    await lasting(apartMs)
    const { code, tookMs } = await signalled(node)
    console.log(`gone ${tookMs} ms after the second signal`)
    expect(code).toBe(75)
    expect(tookMs).toBeLessThan(5000)
    const next = await startNode(wish)
    await expectWhole(next, dataDir, run, 3)
  })

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
    const signals = [
      ['SIGTERM', 'stopping;'],
      ['SIGINT', 'handing back what runs'],
    ] as const
    for (const [signal, answer] of signals) {
      process.kill(node.pid, signal)
      await says(node, answer)
      await lasting(apartMs)
    }
    expect(isAlive(node.pid)).toBe(true)
    const { code, tookMs } = await signalled(node)
    process.kill(redis.pid, 'SIGCONT')
    expect(code).toBe(75)
    expect(tookMs).toBeLessThan(5000)
    const next = await startNode({ dataDir, redis })
    await expectWhole(next, dataDir, run, 6)
  })
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
      await eventually(() => expect(family.filter(isAlive)).toEqual([]))
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
)
