import { afterEach, describe, expect, test } from 'bun:test'
import type { EscalationLine } from '../../actors/escalation-list.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { musterIn } from './cli-process.ts'
import { readExposition } from './exposition.ts'
import { noops, problemOf, type StartedNode, startNode, worlds } from './started-node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const escalation = { threshold: 5 }
const fails = (count: number) => '{"kind":"fail","attempts":1}\n'.repeat(count)
const timeouts = (count: number) =>
  '{"kind":"sleep","input":{"ms":60000},"timeoutMs":20,"attempts":1}\n'.repeat(count)

async function listOf({ ask }: Pick<StartedNode, 'ask'>, query = ''): Promise<EscalationLine[]> {
  const response = await ask(`/v1/escalations${query}`)
  expect(response.status).toBe(200)
  const { items, ...rest } = (await response.json()) as { items: EscalationLine[] }
  expect(rest).toEqual({})
  return items
}

const openedBy = async ({ ask }: StartedNode, metric: string) =>
  readExposition(await (await ask('/metrics')).text()).value('muster_escalations_total', { metric })

const openOn = (node: StartedNode, length = 1) =>
  eventually(async () => {
    const items = await listOf(node)
    expect(items).toHaveLength(length)
    return items
  })

async function startRedisHere(): Promise<RedisServer> {
  const redis = await startRedis()
  cleanups.push(() => redis.stop())
  return redis
}

async function startOn(redis: RedisServer, id: string): Promise<StartedNode> {
  const started = await startNode({ redis: { url: redis.url }, node: { id }, escalation })
  cleanups.push(() => started.node.stop(0))
  return started
}

for (const [where] of worlds) {
  describe(`escalations of a node ${where}`, () => {
    const begin = async () => {
      if (where === 'on Redis') return startOn(await startRedisHere(), 'n-1')
      const started = await startNode({ ephemeral: true, escalation })
      cleanups.push(() => started.node.stop(0))
      return started
    }

    test('open at the threshold of a kind, are shown with their window, and counted', async () => {
      const node = await begin()
      expect(await listOf(node)).toEqual([])
      await node.run(fails(4) + timeouts(5) + noops(100))
      const [line] = await openOn(node)
      const { buckets, openedAt, ...rest } = line ?? ({} as EscalationLine)
      expect(rest).toEqual({
        metric: 'fail:sleep',
        kind: 'sleep',
        state: 'open',
        window: 5,
        threshold: 5,
        windowMs: 60_000,
        peak: 5,
      })
      expect(buckets).toHaveLength(12)
      expect(Math.abs(openedAt - Date.now())).toBeLessThan(10_000)
      await node.run(fails(1))
      await openOn(node, 2)
      expect(await openedBy(node, 'fail:sleep')).toBe(1)
      expect(await openedBy(node, 'fail:fail')).toBe(1)
      expect(await openedBy(node, 'fail:noop')).toBeUndefined()
    })

    test('are acknowledged, by metric or kind, with a reason or none', async () => {
      const node = await begin()
      await node.run(fails(5) + timeouts(5))
      await openOn(node, 2)
      const ack = (name: string, body?: string) =>
        node.ask(`/v1/escalations/${encodeURIComponent(name)}/ack`, {
          method: 'POST',
          ...(body === undefined ? {} : { body }),
        })
      const answer = await ack('fail:fail', '{"reason":"on it"}')
      expect(answer.status).toBe(200)
      const seen = { metric: 'fail:fail', state: 'acknowledged', reason: 'on it' }
      expect(await answer.json()).toMatchObject(seen)
      expect((await ack('sleep')).status).toBe(200)
      const items = await listOf(node)
      expect(items.map(({ state }) => state)).toEqual(['acknowledged', 'acknowledged'])
      expect(items).toContainEqual(expect.objectContaining(seen))
      expect(await problemOf(await ack('noop'))).toMatchObject({ status: 404 })
      expect(await problemOf(await ack('fail', '{"reason":""}'))).toMatchObject({ status: 400 })
      expect(await problemOf(await node.ask('/v1/escalations?all=yes'))).toMatchObject({
        status: 400,
      })
    })
  })
}

describe('escalations of several nodes', () => {
  test('are the same on all of them, counted together, and outlive them', async () => {
    const redis = await startRedisHere()
    const first = await startOn(redis, 'n-1')
    const second = await startOn(redis, 'n-2')
    // Run by both, counted by the one that leads the collector.
    await Promise.all([first.run(fails(3)), second.run(fails(2))])
    const [line] = await openOn(first)
    expect(line).toMatchObject({ metric: 'fail:fail', window: 5 })
    expect(await listOf(second)).toMatchObject([{ metric: 'fail:fail', window: 5 }])
    const opened = [await openedBy(first, 'fail:fail'), await openedBy(second, 'fail:fail')]
    expect(opened.filter((count) => count !== undefined)).toEqual([1])
    // Whoever led is gone; the other goes on counting in the same windows.
    await first.node.stop()
    await second.run(fails(2))
    await eventually(async () => {
      expect(await listOf(second)).toMatchObject([{ metric: 'fail:fail', window: 7, peak: 7 }])
    })
    await second.node.stop()
    const third = await startOn(redis, 'n-3')
    expect(await listOf(third)).toMatchObject([
      { metric: 'fail:fail', window: 7, openedAt: line?.openedAt },
    ])
    expect(await openedBy(third, 'fail:fail')).toBeUndefined()
  })

  test('are told as unknown while Redis is away, and never as none', async () => {
    const redis = await startRedisHere()
    const node = await startOn(redis, 'n-1')
    const quiet = await startOn(redis, 'n-2')
    await node.run(fails(5))
    await openOn(node)
    await openOn(quiet)
    await redis.kill()
    expect(await listOf(node)).toMatchObject([
      { metric: 'fail:fail', state: 'open', window: null, buckets: null },
    ])
    await eventually(async () => {
      const tree = JSON.stringify(await (await node.ask('/v1/tree')).json())
      expect(tree).toContain('"id":"windows","state":"alone"')
    })
    await redis.restart()
    await eventually(
      async () => {
        expect(await listOf(node)).toMatchObject([{ metric: 'fail:fail', window: 5 }])
      },
      { timeoutMs: 40_000 },
    )
  })

  test('are an error while Redis is away, where nothing is known of any', async () => {
    const redis = await startRedisHere()
    const node = await startOn(redis, 'n-1')
    await redis.kill()
    const problem = await problemOf(await node.ask('/v1/escalations'))
    expect(problem.status).toBe(503)
    await redis.restart()
  })
})

describe('muster escalations', () => {
  const muster = musterIn(temporaryDirectory())

  test('prints a line for each, as JSON an object, and acknowledges one', async () => {
    const node = await startNode({ ephemeral: true, escalation })
    cleanups.push(() => node.node.stop(0))
    const none = await muster(['escalations', '--url', node.url])
    expect(none).toEqual({ out: '', err: 'no escalation is open\n', code: 0 })
    expect(await muster(['escalations', '--json', '--url', node.url])).toMatchObject({ out: '' })
    await node.run(fails(6))
    await openOn(node)
    const { out } = await muster(['escalations', '--url', node.url])
    const cells = out.split('\n').map((line) => line.split(/ +/).slice(0, 5))
    expect(cells).toEqual([
      ['METRIC', 'STATE', 'WINDOW', 'THRESHOLD', 'PEAK'],
      ['fail:fail', 'open', '6', '5', '6'],
      [''],
    ])
    const words = ['escalations', 'ack', 'fail', '--reason', 'on it', '--url', node.url]
    const acked = await muster(words)
    expect(acked).toMatchObject({ out: '', code: 0 })
    expect(acked.err).toContain('escalation fail:fail is acknowledged')
    const json = await muster(['escalations', '--json', '--url', node.url])
    expect(JSON.parse(json.out)).toMatchObject({ metric: 'fail:fail', state: 'acknowledged' })
    expect(json.out.trimEnd().split('\n')).toHaveLength(1)
    const missing = await muster(['escalations', 'ack', 'noop', '--url', node.url])
    expect(missing).toMatchObject({ out: '', code: 66 })
    expect(missing.err).toContain('no escalation fail:noop is open')
  })

  test('without a node looks into the data directory itself', async () => {
    const config = ['--config', 'muster.toml']
    const folder = temporaryDirectory()
    const here = musterIn(folder)
    await Bun.write(`${folder}/muster.toml`, '[escalation]\nthreshold = 3\n')
    await Bun.write(`${folder}/tasks.ndjson`, fails(4))
    expect(await here(['run', 'tasks.ndjson', '--quiet', ...config])).toMatchObject({ code: 1 })
    const { out, code } = await here(['escalations', '--json', ...config])
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ metric: 'fail:fail', window: 4, threshold: 3 })
  })
})
