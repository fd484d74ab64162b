/** Topics through the real program: who dies with a message at hand loses nothing. */
import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Published } from '../../actors/publisher.ts'
import type { ResultLine } from '../../actors/result.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { startRedisCluster } from '../kit/redis-cluster.ts'

const slowMs = 90_000
const patient = { timeoutMs: 30_000 }
const file = join(import.meta.dir, '../kit/topics.tasks.ts')

type Redis = Pick<RedisServer, 'url' | 'stop'>

let redis: Redis | undefined
const nodes: MusterProcess[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.kill('SIGKILL')))
  await redis?.stop()
})

async function openFleet(start: () => Promise<Redis> = startRedis) {
  const server = await start()
  redis = server
  const folder = temporaryDirectory()
  mkdirSync(join(folder, 'effects'))
  const add = async (id: string, ...more: string[]) => {
    const dataDir = temporaryDirectory()
    const env = { MUSTER_REDIS_URL: server.url, MUSTER_NODE_ID: id, TOPICS_FOLDER: folder }
    const node = await startMusterNode({ dataDir, words: ['--tasks', file, ...more], env })
    nodes.push(node)
    return { ...node, pid: node.pid, dataDir }
  }
  const lines = () => {
    const journal = join(folder, 'journal')
    if (!existsSync(journal)) return []
    const all = readFileSync(journal, 'utf8').trim().split('\n')
    return all.map((line) => {
      const [what = '', id = '', pid = ''] = line.split(' ')
      return { what, id, pid: Number(pid) }
    })
  }
  return { add, lines, effects: () => readdirSync(join(folder, 'effects')).toSorted() }
}

type Node = Awaited<ReturnType<Awaited<ReturnType<typeof openFleet>>['add']>>

/** Runs tasks that publish; what each came to, in their order. */
async function announceAll(node: Node, inputs: readonly unknown[], kind = 'announce') {
  const stdin = inputs.map((input) => `${JSON.stringify({ kind, input })}\n`).join('')
  const results = join(node.dataDir, `results-${crypto.randomUUID()}`)
  const words = ['run', '-', '--url', node.url, '--results', results]
  const { code, err } = await muster(words, { dataDir: node.dataDir, stdin })
  expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' })
  const lines = readFileSync(results, 'utf8').trim().split('\n')
  return lines
    .map((line) => JSON.parse(line) as ResultLine)
    .toSorted((a, b) => a.seq - b.seq)
    .map(({ output }) => output as Published)
}

describe('a durable subscription', () => {
  test(
    'has its message delivered again when its consumer is killed, and takes effect once',
    async () => {
      const { add, lines, effects } = await openFleet()
      const both = [await add('a'), await add('b')]
      const [first = both[0]] = both
      const published = await announceAll(first as Node, [{ topic: 'hold.it', data: 1, id: 'one' }])
      expect(published).toMatchObject([{ id: 'one', groups: 1 }])
      const begun = () => lines().filter(({ what }) => what === 'begun')
      await eventually(() => expect(begun()).toHaveLength(1), patient)
      const victim = both.find(({ pid }) => pid === begun()[0]?.pid)
      await victim?.kill('SIGKILL')
      await eventually(
        () => expect(lines().some(({ what }) => what === 'done')).toBe(true),
        patient,
      )
      expect(effects()).toEqual(['one'])
      expect(begun().map(({ id }) => id)).toEqual(['one', 'one'])
      expect(new Set(begun().map(({ pid }) => pid)).size).toBe(2)
    },
    slowMs,
  )
})

describe('a bridge', () => {
  test(
    'loses nothing and does nothing twice when its node is killed in the middle',
    async () => {
      const { add, effects } = await openFleet()
      const [a, b] = [await add('a'), await add('b')]
      const count = 400
      const inputs = Array.from({ length: count }, (_, index) => ({
        topic: 'raw.a',
        data: index + 1,
        id: `n${index + 1}`,
      }))
      const announcing = announceAll(a, inputs)
      announcing.catch(() => undefined)
      await eventually(() => expect(effects().length).toBeGreaterThan(count / 8), patient)
      await b.kill('SIGKILL')
      expect(effects().length).toBeLessThan(count * 2)
      await announcing
      await eventually(() => expect(effects()).toHaveLength(count * 2), patient)
      const wanted = inputs.flatMap(({ id }) => [0, 1].map((of) => `${id}~both-signs~${of}`))
      expect(effects()).toEqual(wanted.toSorted())
      const letters = (await (await fetch(`${a.url}/v1/deadletters`)).json()) as {
        items: unknown[]
      }
      expect(letters.items).toEqual([])
    },
    slowMs,
  )
})

test(
  'topics work on a Redis Cluster, over all of its slots',
  async () => {
    const { add, lines, effects } = await openFleet(startRedisCluster)
    const node = await add('a')
    const inputs = Array.from({ length: 40 }, (_, index) => ({
      topic: 'raw.a',
      data: index + 1,
      id: `n${index}`,
    }))
    await announceAll(node, [...inputs, { topic: 'control.a', data: 1, id: 'soft' }])
    await eventually(() => expect(effects()).toHaveLength(80), patient)
    await eventually(() => expect(lines()).toMatchObject([{ what: 'heard', id: 'soft' }]))
    await node.kill('SIGTERM')
  },
  slowMs,
)

describe('a soft subscription', () => {
  test(
    'ends with its node, however that ends, and handlers anywhere publish',
    async () => {
      const { add, lines } = await openFleet()
      // What is published in worker processes is heard in their node.
      const [a, b] = [await add('a', '--processes', '1'), await add('b')]
      const input = [{ topic: 'control.a.b', data: { ü: [1, null] } }]
      for (const kind of ['announce', 'announce-thread', 'announce-process']) {
        const [published] = await announceAll(a, input, kind)
        expect(published).toMatchObject({ groups: 0, listeners: 2 })
        await eventually(() => {
          const heard = lines().filter(({ id }) => id === published?.id)
          expect(heard.map(({ what }) => what)).toEqual(['heard', 'heard'])
        })
      }
      // What a handler leaves behind ends no process (seeds C-28: with exit code 0, too).
      await announceAll(a, [{ topic: 'control.a', data: 'stray', id: 'stray' }])
      const log = () => readFileSync(join(b.dataDir, 'log', 'b.ndjson'), 'utf8')
      await eventually(() => {
        expect(log()).toContain('when nobody waits for it')
        expect(log()).toContain('with nobody waiting')
      })
      expect(await announceAll(a, input)).toMatchObject([{ listeners: 2 }])
      await b.kill('SIGKILL')
      await eventually(async () => {
        expect(await announceAll(a, input)).toMatchObject([{ listeners: 1 }])
      }, patient)
    },
    slowMs,
  )
})
