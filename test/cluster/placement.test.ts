/** Where tasks run, on several nodes that are processes of their own. */
import { afterEach, describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { connect, type Muster } from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { shortTerms } from '../kit/fleet.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

type Node = MusterProcess & { url: string }

let redis: RedisServer
let dataDir = ''
const started: Node[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.kill('SIGKILL')))
  await redis.stop()
})

const env = {
  MUSTER_MEMBER_HEARTBEAT_MS: '500',
  MUSTER_MEMBER_STALE_MS: '3000',
  ...shortTerms,
  MUSTER_DISPATCHER_UNSERVED_MS: '2000',
}

interface Given {
  labels?: readonly string[]
  roles?: string
  env?: Record<string, string>
}

async function node(id: string, { labels = [], roles, env: more }: Given = {}): Promise<Node> {
  const words = [
    '--node-id',
    id,
    ...labels.flatMap((label) => ['--label', label]),
    ...(roles === undefined ? [] : ['--role', roles]),
  ]
  const all = { ...env, MUSTER_REDIS_URL: redis.url, ...more }
  const begun = await startMusterNode({ dataDir, words, env: all })
  started.push(begun)
  return begun
}

async function fleet(ids: Record<string, Given>): Promise<{ nodes: Node[]; client: Muster }> {
  redis = await startRedis()
  dataDir = temporaryDirectory()
  const nodes: Node[] = []
  for (const [id, given] of Object.entries(ids)) nodes.push(await node(id, given))
  const [first] = nodes
  if (first === undefined) throw new Error('expected at least one node')
  const client = await connect({ url: first.url })
  await eventually(async () => {
    const alive = (await client.nodes()).filter(({ state }) => state === 'alive')
    expect(alive.length).toBe(nodes.length)
  })
  return { nodes, client }
}

type Line = Record<string, unknown>

async function runOf(client: Muster, tasks: readonly Line[]): Promise<Run> {
  const text = tasks.map((task) => `${JSON.stringify(task)}\n`).join('')
  const handle = await client.submit([new TextEncoder().encode(text)])
  expect(handle.rejected).toEqual([])
  return handle.done()
}

async function resultsOf(client: Muster, run: Run): Promise<ResultLine[]> {
  const lines: ResultLine[] = []
  for await (const line of client.results(run.id)) lines.push(line)
  return lines
}

/** How many of the results are of each node. */
async function byNode(client: Muster, run: Run): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { node: at } of await resultsOf(client, run)) counts[at] = (counts[at] ?? 0) + 1
  return counts
}

const byName = (a = '', b = '') => (a < b ? -1 : 1)
const many = (count: number, task: Line) => Array.from({ length: count }, () => task)

describe('two nodes', () => {
  test('share a hundred balanced tasks; one left alone gets all of them (D-40)', async () => {
    const { nodes, client } = await fleet({ a: {}, b: {} })
    const task = { kind: 'sleep', input: { ms: 5 }, placement: 'balanced' }
    const run = await runOf(client, many(100, task))
    expect(run).toMatchObject({ state: 'completed', total: 100, counts: { ok: 100 } })
    const counts = await byNode(client, run)
    expect(Object.keys(counts).sort()).toEqual(['a', 'b'])
    expect(Math.max(...Object.values(counts))).toBeLessThanOrEqual(95)

    const { out } = await muster(['show', `${run.id}/0`], { dataDir, env })
    expect(out).toMatch(/placed +on [ab] by weighted, of 2: score \d+/)
    const shown = await client.task(run.id, 0)
    expect(shown.routing).toMatchObject({ strategy: 'weighted', candidates: 2 })
    expect(shown.routing?.winner).toBe(shown.result.node)

    await nodes[1]?.kill('SIGTERM')
    const after = await runOf(client, many(100, task))
    expect(await byNode(client, after)).toEqual({ a: 100 })
  })

  test('run tasks where their labels, their target and the word "all" say', async () => {
    const { client } = await fleet({
      a: { labels: ['rack=r1', 'zone=x'] },
      b: { labels: ['rack=r2', 'zone=x'] },
    })
    const listed = await muster(['nodes', '--json'], { dataDir, env })
    expect(listed.out).toContain('"labels":{"rack":"r2","zone":"x"}')
    const run = await runOf(client, [
      ...many(10, { kind: 'noop', select: { rack: 'r2' } }),
      { kind: 'noop', target: 'a', id: 'on-a' },
      { kind: 'noop', target: 'rack=r2', id: 'on-r2' },
      { kind: 'noop', target: 'b', key: 'k', id: 'keyed' },
      { kind: 'noop', placement: 'all', id: 'everywhere' },
      { kind: 'noop', placement: 'all', select: { rack: 'r1' }, id: 'on-r1' },
      { kind: 'exec', input: { argv: ['true'] }, dependsOn: ['everywhere'], id: 'after' },
    ])
    expect(run).toMatchObject({ total: 17, counts: { ok: 17 } })
    const results = await resultsOf(client, run)
    const nodesOf = (id: string) =>
      results
        .filter((line) => line.id === id)
        .map((line) => line.node)
        .sort()
    expect(results.slice(0, 10).map((line) => line.node)).toEqual(many(10, {}).map(() => 'b'))
    expect(nodesOf('on-a')).toEqual(['a'])
    expect(nodesOf('on-r2')).toEqual(['b'])
    expect(nodesOf('keyed')).toEqual(['b'])
    expect(nodesOf('everywhere')).toEqual(['a', 'b'])
    expect(nodesOf('on-r1')).toEqual(['a'])
    const targets = results.filter((line) => line.id === 'everywhere').map((line) => line.target)
    expect(targets.toSorted(byName)).toEqual(['a', 'b'])
  })

  test('have each shard of keyed tasks on one node, also when nodes come and go', async () => {
    const { nodes, client } = await fleet({ a: {}, b: {} })
    const keyed = Array.from({ length: 120 }, (_, index) => ({
      kind: 'noop',
      placement: 'sharded',
      key: `m-${index % 40}`,
    }))
    const before = await placesOf(client, keyed)
    expect(new Set(Object.values(before)).size).toBe(2)
    await nodes[1]?.kill('SIGTERM')
    const after = await placesOf(client, keyed)
    expect(new Set(Object.values(after))).toEqual(new Set(['a']))
  })
})

/** By key, the only node that ran its tasks. */
async function placesOf(client: Muster, tasks: readonly Line[]): Promise<Record<string, string>> {
  const run = await runOf(client, tasks)
  expect(run.counts.ok).toBe(tasks.length)
  const places: Record<string, string> = {}
  for (const { seq, node: at } of await resultsOf(client, run)) {
    const key = String(tasks[seq]?.['key'])
    expect(places[key] ?? at).toBe(at)
    places[key] = at
  }
  return places
}

describe('what nobody can do', () => {
  test('ends as unreached, and says why', async () => {
    const { client } = await fleet({ a: {} })
    const run = await runOf(client, [
      { kind: 'noop', target: 'nobody', id: 'target' },
      { kind: 'noop', select: { rack: 'r9' }, id: 'select' },
      { kind: 'noop', placement: 'all', select: { rack: 'r9' }, id: 'all' },
      { kind: 'noop', id: 'fine' },
    ])
    expect(run).toMatchObject({ state: 'completed', counts: { ok: 1, unreached: 3 } })
    const errors = (await resultsOf(client, run)).map(({ id, error }) => [id, error?.message])
    expect(errors).toEqual([
      ['target', expect.stringContaining('there is no node "nobody"')],
      ['select', 'no node with rack=r9 runs tasks of kind "noop"'],
      ['all', 'no node with rack=r9 runs tasks of kind "noop"'],
      ['fine', undefined],
    ])
  })

  test('of a kind that no node runs ends so too; a node that comes in time does it', async () => {
    const slow = { MUSTER_DISPATCHER_UNSERVED_MS: '4000' }
    const { client } = await fleet({ d: { roles: 'dispatcher,collector', env: slow } })
    const never = await runOf(client, [{ kind: 'noop' }, { kind: 'noop', key: 'k' }])
    expect(never.counts).toMatchObject({ unreached: 2 })
    const coming = runOf(client, [{ kind: 'noop' }, { kind: 'noop', target: 'late' }])
    await node('late', { env: slow })
    const run = await coming
    expect(run.counts).toMatchObject({ ok: 2 })
    expect(await byNode(client, run)).toEqual({ late: 2 })
  })
})

test('what waits for a killed node is done elsewhere, each task exactly once', async () => {
  const { nodes, client } = await fleet({
    a: {},
    b: { labels: ['role=x'] },
    c: { labels: ['role=x'], env: { MUSTER_WORKER_COMMAND_CONCURRENCY: '1' } },
  })
  const journal = join(dataDir, 'journal')
  const script = 'sleep 0.05; echo "$MUSTER_SEQ" >> "$1"'
  const task = {
    kind: 'exec',
    input: { argv: ['sh', '-c', script, 'sh', journal] },
    select: { role: 'x' },
    attempts: 3,
  }
  const done = runOf(client, [...many(200, task), { kind: 'noop', target: 'c', delayMs: 8000 }])
  await eventually(() => {
    expect(readFileSync(journal, 'utf8').split('\n').length).toBeGreaterThan(20)
  })
  await nodes[2]?.kill('SIGKILL')
  const run = await done
  expect(run).toMatchObject({ total: 201, counts: { ok: 200, unreached: 1 } })
  const results = await resultsOf(client, run)
  expect(results.map(({ seq }) => seq)).toEqual(many(201, {}).map((_, seq) => seq))
  expect((await byNode(client, run))['b']).toBeGreaterThan(100)
  // Only what the killed one had at hand may have begun twice.
  const begun = readFileSync(journal, 'utf8').trimEnd().split('\n')
  expect(new Set(begun).size).toBe(200)
  expect(begun.length).toBeLessThanOrEqual(210)
})
