/** Results in PostgreSQL: nodes with directories of their own, of which each collects. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { TreeNode } from '../../actors/tree.ts'
import { outcomeCode } from '../../machines/outcome.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { readLedger } from '../kit/ledger.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import {
  type PostgresServer,
  postgresPassword,
  postgresProblem,
  startPostgres,
} from '../kit/postgres.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

const problem = postgresProblem()
/** Of a server, on a loaded machine. */
const hookMs = 60_000
/** More than a run may take to complete. */
const testMs = 120_000
if (problem !== undefined) console.log(`results in PostgreSQL: skipped, ${problem}`)

type Node = MusterProcess & { url: string; dataDir: string }

let postgres: PostgresServer
let redis: RedisServer
const nodes: Node[] = []

const noops = (count: number) => '{"kind":"noop"}\n'.repeat(count)
/** So slow that a run is still under way when something happens to it. */
const slowly = {
  MUSTER_DISPATCHER_RATE: '6000',
  MUSTER_DISPATCHER_BURST: '500',
  MUSTER_DISPATCHER_QUEUE_MAX: '2000',
  MUSTER_WORKER_ENVELOPE_TASKS_MAX: '50',
}

async function startNode(id: string, env: Record<string, string> = {}): Promise<Node> {
  const dataDir = temporaryDirectory()
  const words = ['--node-id', id, '--redis', redis.url]
  const store = { MUSTER_STORE_URL: postgres.url }
  const node = await startMusterNode({ dataDir, words, env: { ...slowly, ...store, ...env } })
  const started = Object.assign(node, { dataDir })
  nodes.push(started)
  return started
}

async function submit(to: Node, count: number): Promise<string> {
  const words = ['submit', '-', '--url', to.url]
  const { code, out } = await muster(words, { dataDir: to.dataDir, stdin: noops(count) })
  expect(code).toBe(0)
  return out.trim()
}

const json = async (url: string) => (await fetch(url)).json()
const runOf = async (of: Node, run: string) => (await json(`${of.url}/v1/runs/${run}`)) as Run
const rowsSoFar = async (run: string) => (await postgres.rowsOf(run)).length

const completed = (of: Node, run: string, count: number) =>
  eventually(
    async () => {
      const now = await runOf(of, run)
      expect(now).toMatchObject({ state: 'completed', counts: { ok: count, pending: 0 } })
    },
    { timeoutMs: 45_000, intervalMs: 50 },
  )

/** One row for each task, and a line of the audit log of some collector. */
async function expectWhole(run: string, count: number): Promise<void> {
  const ok = outcomeCode('ok')
  const every = Array.from({ length: count }, (_, seq) => ({ seq, outcome: ok }))
  expect(await postgres.rowsOf(run)).toEqual(every)
  const audited = nodes.map(({ dataDir }) => readLedger(dataDir, run).audited)
  expect(audited.reduce((all, some) => all.union(some), new Set<number>()).size).toBe(count)
}

const flat = (node: TreeNode): TreeNode[] => [node, ...node.children.flatMap(flat)]

describe.skipIf(problem !== undefined)('nodes with one PostgreSQL', () => {
  beforeAll(async () => {
    postgres = await startPostgres()
  }, hookMs)
  afterAll(() => postgres.stop(), hookMs)
  beforeEach(async () => {
    await postgres.clear()
    redis = await startRedis()
  }, hookMs)
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((node) => node.kill('SIGTERM')))
    await redis.stop()
  }, hookMs)

  test(
    'collect the same run side by side, and each answers for all of it',
    async () => {
      const count = 20_000
      const [a, b] = await Promise.all([startNode('a'), startNode('b')])
      const run = await submit(a, count)
      await completed(b, run, count)
      await expectWhole(run, count)
      for (const { dataDir } of [a, b]) {
        expect(readLedger(dataDir, run).audited.size).toBeGreaterThan(0)
        expect(existsSync(join(dataDir, 'results.sqlite'))).toBe(false)
      }
      const pages = [a, b].map(({ url }) =>
        json(`${url}/v1/runs/${run}/results?after=9000&limit=5`),
      )
      const [ofA, ofB] = (await Promise.all(pages)) as { items: { seq: number }[] }[]
      expect(ofA?.items.map(({ seq }) => seq)).toEqual([9001, 9002, 9003, 9004, 9005])
      expect(ofB).toEqual(ofA ?? { items: [] })
      const { items } = (await json(`${a.url}/v1/leases`)) as { items: { name: string }[] }
      expect(items.map(({ name }) => name)).toEqual(['coordinator'])
    },
    testMs,
  )

  test(
    'lose nothing when one of them is killed',
    async () => {
      const count = 20_000
      const [a, b] = await Promise.all([startNode('a'), startNode('b')])
      const run = await submit(a, count)
      await eventually(async () => expect(await rowsSoFar(run)).toBeGreaterThan(3000))
      await b.kill()
      expect(await rowsSoFar(run)).toBeLessThan(count)
      await completed(a, run, count)
      await expectWhole(run, count)
    },
    testMs,
  )

  test(
    'a collector that stood still while another did its work changes nothing',
    async () => {
      const count = 10_000
      const [a, b] = await Promise.all([startNode('a'), startNode('b')])
      const run = await submit(a, count)
      await eventually(async () => expect(await rowsSoFar(run)).toBeGreaterThan(1000))
      process.kill(b.pid, 'SIGSTOP')
      await completed(a, run, count)
      await expectWhole(run, count)
      process.kill(b.pid, 'SIGCONT')
      // What it had at hand it has still to hand in; another run shows that it takes part again.
      const next = await submit(a, count)
      await completed(b, next, count)
      await expectWhole(run, count)
      await expectWhole(next, count)
      expect((await runOf(b, run)).counts).toMatchObject({ ok: count })
    },
    testMs,
  )

  const outages: [string, () => Promise<() => Promise<void>>][] = [
    [
      'crashes and comes back',
      async () => {
        await postgres.crash()
        return () => postgres.start()
      },
    ],
    [
      'freezes for a while',
      async () => {
        postgres.signal('SIGSTOP')
        return async () => postgres.signal('SIGCONT')
      },
    ],
  ]
  test.each(outages)(
    'wait while it %s under load, and miss no row',
    async (_, begin) => {
      const count = 20_000
      const node = await startNode('a')
      const ready = async () => fetch(`${node.url}/readyz`)
      const tree = async () => (await json(`${node.url}/v1/tree`)) as TreeNode
      const stateOfStore = async () =>
        (await tree()).children.find(({ id }) => id === 'store')?.state
      expect([(await ready()).status, await stateOfStore()]).toEqual([200, 'connected'])
      const run = await submit(node, count)
      await eventually(async () => expect(await rowsSoFar(run)).toBeGreaterThan(2000))
      const end = await begin()
      try {
        await eventually(async () => expect(await stateOfStore()).toStartWith('away.'), {
          timeoutMs: 20_000,
        })
        const unready = await ready()
        const why = await unready.text()
        expect([unready.status, why.includes('PostgreSQL at ')]).toEqual([503, true])
        expect(why).not.toContain(postgresPassword)
        const asked = await fetch(`${node.url}/v1/runs/${run}/results`)
        expect([asked.status, asked.headers.get('retry-after')]).toEqual([503, '2'])
        expect((await runOf(node, run)).state).not.toBe('completed')
      } finally {
        await end()
      }
      await completed(node, run, count)
      await expectWhole(run, count)
      await eventually(async () => expect((await ready()).status).toBe(200))
      expect(flat(await tree()).filter(({ restarts }) => restarts > 0)).toEqual([])
    },
    testMs,
  )
})

describe.skipIf(problem !== undefined)('the program on a PostgreSQL', () => {
  beforeAll(async () => {
    postgres = await startPostgres()
  }, hookMs)
  afterAll(() => postgres.stop(), hookMs)

  test('runs tasks, and another process finds their results there', async () => {
    const dataDir = temporaryDirectory()
    const env = { MUSTER_STORE_URL: postgres.url }
    const stdin = `{"kind":"exec","input":{"argv":["echo","stored"]}}\n${noops(3)}`
    const ran = await muster(['run', '-', '--json'], { dataDir, env, stdin })
    const run = JSON.parse(ran.out) as Run
    expect([ran.code, run.counts.ok]).toEqual([0, 4])
    const found = await muster(['results', run.id, '--json'], { dataDir, env })
    const lines = found.out.trimEnd().split('\n')
    const outputs = lines.map(
      (line) => (JSON.parse(line) as { output?: { stdout: string } }).output,
    )
    expect([found.code, lines.length, outputs[0]?.stdout]).toEqual([0, 4, 'stored\n'])
    const folded = await muster(['results', run.id], { dataDir, env })
    expect([folded.code, folded.out.includes('stored')]).toEqual([0, true])
    expect(await postgres.rowsOf(run.id)).toHaveLength(4)
    expect(existsSync(join(dataDir, 'results.sqlite'))).toBe(false)
    for (const { out, err } of [ran, found, folded]) {
      expect(out + err).not.toContain(postgresPassword)
    }
  })

  test('ends with 69 and names it, without its password, when it is away at start', async () => {
    const dataDir = temporaryDirectory()
    const url = `postgres://muster:${postgresPassword}@/nothing?host=${dataDir}`
    const env = { MUSTER_STORE_URL: url }
    const started = await muster(['start', '--port', '0'], { dataDir, env })
    expect(started.code).toBe(69)
    expect(started.err).toContain(`postgres://muster:***@/nothing?host=${dataDir}`)
    const doctor = await muster(['doctor', '--json'], { dataDir, env })
    expect(doctor.code).toBe(2)
    const printed = await muster(['start', '--print-config'], { dataDir, env })
    expect(printed.out).toContain('postgres://muster:***@/nothing')
    const odd = { MUSTER_STORE_URL: `postgres://muster:${postgresPassword}/@[host/db` }
    const refused = await muster(['start', '--port', '0'], { dataDir, env: odd })
    expect([refused.code, refused.err.includes('store.url')]).toEqual([64, true])
    for (const { out, err } of [started, doctor, printed, refused]) {
      expect(out + err).not.toContain(postgresPassword)
    }
  })
})
