/** A Redis whose memory is used up, or nearly so. */
import { afterEach, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Run } from '../../actors/ports-runs.ts'
import type { TreeNode } from '../../actors/tree.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { type MusterProcess, muster, startMuster, startMusterNode } from '../kit/muster.ts'
import { lasting } from '../kit/outage.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

const mebibyte = 1_048_576
const processes: MusterProcess[] = []
const servers: RedisServer[] = []
const connections: Redis[] = []
afterEach(async () => {
  await Promise.all(processes.splice(0).map((one) => one.kill('SIGTERM')))
  for (const connection of connections.splice(0)) connection.disconnect()
  await Promise.all(servers.splice(0).map((server) => server.stop()))
})

const flat = (node: TreeNode): TreeNode[] => [node, ...node.children.flatMap(flat)]

async function begin(env: Record<string, string>) {
  const server = await startRedis()
  servers.push(server)
  const redis = new Redis(server.path)
  connections.push(redis)
  const dataDir = temporaryDirectory()
  const node = await startMusterNode({ dataDir, env, words: ['--redis', server.url] })
  processes.push(node)
  const fieldOf = async (section: string, name: string) =>
    Number(
      new RegExp(`^${name}[:=](?:count=|calls=)?(\\d+)`, 'm').exec(
        await redis.info(section),
      )?.[1] ?? 0,
    )
  return {
    redis,
    node,
    dataDir,
    limitTo: (bytes: number) => redis.config('SET', 'maxmemory', String(bytes)),
    used: () => fieldOf('memory', 'used_memory'),
    refusals: () => fieldOf('errorstats', 'errorstat_OOM'),
    commands: () => fieldOf('stats', 'total_commands_processed'),
    run: async (id: string) => (await (await fetch(`${node.url}/v1/runs/${id}`)).json()) as Run,
    tree: async () => (await (await fetch(`${node.url}/v1/tree`)).json()) as TreeNode,
    ready: async () => (await fetch(`${node.url}/readyz`)).status,
  }
}

const fullSays = /the memory of Redis is \d+ % full/
const closed = /nearly full; nothing new is let in/g
const open = /has room again; new work is let in/g

function tasksOf(count: number, ms: number, padBytes: number): string {
  const labels = { pad: 'x'.repeat(padBytes) }
  return `${JSON.stringify({ kind: 'sleep', input: { ms }, labels })}\n`.repeat(count)
}

async function isComplete(dataDir: string, run: Run, total: number): Promise<void> {
  expect(run).toMatchObject({ state: 'completed', total, counts: { ok: total, pending: 0 } })
  const { rows, audited } = readLedger(dataDir, run.id)
  expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
  expect(audited.size).toBe(total)
}

/** A fifth of it is more than what is on its way to it at any moment. */
const limitBytes = 48 * mebibyte

describe('a Redis that fills up', () => {
  test('takes nothing new from four fifths on, refuses nobody, and loses nothing', async () => {
    const total = 15_000
    const it = await begin({ MUSTER_WORKER_CONCURRENCY: '16' })
    await it.limitTo(limitBytes)
    const file = join(it.dataDir, 'tasks.ndjson')
    // 60 MB.
    writeFileSync(file, tasksOf(total, 20, 4000))
    const words = ['run', file, '--json', '--url', it.node.url]
    const running = startMuster(words, { dataDir: it.dataDir })
    processes.push(running)
    let most = 0
    await eventually(async () => {
      most = Math.max(most, (await it.used()) / limitBytes)
      expect(it.node.err).toMatch(closed)
    })
    // It opens now and then, as the work goes on; a run that is taken then is none of this one.
    await eventually(async () => {
      const again = await muster(['submit', '-', '--url', it.node.url], {
        dataDir: it.dataDir,
        stdin: tasksOf(1, 1, 10),
      })
      expect([again.code, again.err]).toEqual([75, expect.stringMatching(fullSays)])
    })
    const answer = await eventually(async () => {
      const response = await fetch(`${it.node.url}/v1/runs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"tasks":[{"kind":"noop"}]}',
      })
      expect(response.status).toBe(429)
      return response
    })
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await answer.json()).toMatchObject({ detail: expect.stringMatching(fullSays) })
    expect(await it.ready()).toBe(200)
    const sampling = lasting(3000)
    let isSampled = false
    void sampling.then(() => (isSampled = true))
    while (!isSampled) most = Math.max(most, (await it.used()) / limitBytes)
    expect(await it.refusals()).toBe(0)
    await it.limitTo(256 * mebibyte)
    const { code, out } = await running.ended
    console.log(
      `at most ${Math.round(most * 100)} % used, ${it.node.err.match(closed)?.length} times closed`,
    )
    expect(code).toBe(0)
    await isComplete(it.dataDir, JSON.parse(out) as Run, total)
    expect(await it.refusals()).toBe(0)
    expect(it.node.err.match(open)?.length).toBe(it.node.err.match(closed)?.length ?? 0)
  })

  test('is emptied by the work itself, and takes the rest of the tasks then', async () => {
    const total = 14_000
    const it = await begin({ MUSTER_WORKER_CONCURRENCY: '8' })
    await it.limitTo(limitBytes)
    const file = join(it.dataDir, 'tasks.ndjson')
    writeFileSync(file, tasksOf(total, 10, 4000))
    const since = performance.now()
    const words = ['run', file, '--json', '--url', it.node.url]
    const { code, out } = await muster(words, { dataDir: it.dataDir })
    const seconds = (performance.now() - since) / 1000
    const times = it.node.err.match(closed)?.length ?? 0
    console.log(`${total} tasks in ${seconds.toFixed(1)} s, ${times} times closed`)
    expect(code).toBe(0)
    await isComplete(it.dataDir, JSON.parse(out) as Run, total)
    expect(it.node.err).toMatch(closed)
    expect(await it.refusals()).toBe(0)
  })

  test('and refuses everything for a while, is left alone; all completes later', async () => {
    const total = 3000
    const it = await begin({
      MUSTER_WORKER_CONCURRENCY: '4',
      MUSTER_WORKER_ENVELOPE_TASKS_MAX: '20',
    })
    const submitted = await muster(['submit', '-', '--url', it.node.url], {
      dataDir: it.dataDir,
      stdin: tasksOf(total, 5, 100),
    })
    expect(submitted.code).toBe(0)
    const run = submitted.out.trim()
    await eventually(() => expect(countRows(it.dataDir)).toBeGreaterThan(100))
    await it.limitTo(mebibyte)
    await lasting(3000)
    const [commands, refusals] = [await it.commands(), await it.refusals()]
    const since = performance.now()
    await lasting(6000)
    const seconds = (performance.now() - since) / 1000
    const rates = [(await it.commands()) - commands, (await it.refusals()) - refusals].map(
      (count) => Math.round(count / seconds),
    )
    console.log(`while full: ${rates[0]} commands and ${rates[1]} refusals a second`)
    expect(countRows(it.dataDir)).toBeLessThan(total)
    await it.limitTo(0)
    const endedAt = performance.now()
    await eventually(
      async () => expect((await it.run(run)).counts).toMatchObject({ ok: total, pending: 0 }),
      { timeoutMs: 40_000 },
    )
    console.log(`complete ${Math.round(performance.now() - endedAt)} ms after its end`)
    await eventually(async () => expect((await it.run(run)).state).toBe('completed'))
    await isComplete(it.dataDir, await it.run(run), total)
    const restarts = flat(await it.tree()).filter((child) => child.restarts > 0)
    expect(restarts).toEqual([])
    expect(it.node.err.split('\n').length).toBeLessThan(400)
    expect(rates[0]).toBeLessThan(300)
    expect(rates[1]).toBeLessThan(150)
  })
})
