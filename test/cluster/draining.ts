/** Nodes that are told to go, their Redis, and work that tells how far it came. */
import { expect } from 'bun:test'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeLine } from '../../actors/membership.ts'
import type { LeaseRecord } from '../../actors/ports-fleet.ts'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { eventually } from '../kit/eventually.ts'
import { readLedger } from '../kit/ledger.ts'
import { type Ended, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

/** The default locks: what comes back sooner was given back, and has not waited for them. */
export const env = {
  MUSTER_MAILBOX_LOCK_MS: '15000',
  MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000',
  MUSTER_WORKER_CONCURRENCY: '4',
  MUSTER_WORKER_ENVELOPE_TASKS_MAX: '5',
}
/** Kubernetes kills after 30 s. */
export const budgetMs = 25_000
/** Signals that come closer together are taken for one. */
export const apartMs = 400

export type Node = MusterProcess & { url: string }

export const nodes: MusterProcess[] = []
const servers: RedisServer[] = []
/** Ends what a test has started. */
export async function endAll(): Promise<void> {
  await Promise.all(nodes.splice(0).map((node) => node.kill('SIGTERM')))
  await Promise.all(servers.splice(0).map((server) => server.stop()))
}

export async function startServer(): Promise<RedisServer> {
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

export function wordsOf({ redis, id, processes = 0, words = [] }: NodeWish): string[] {
  return [
    ...(redis === undefined ? [] : ['--redis', redis.url]),
    ...(id === undefined ? [] : ['--node-id', id]),
    ...(processes === 0 ? [] : ['--processes', String(processes)]),
    ...words,
  ]
}

export async function startNode(wish: NodeWish): Promise<Node> {
  const { dataDir } = wish
  const over = { ...env, ...wish.env }
  const node = await startMusterNode({ dataDir, env: over, words: wordsOf(wish) })
  nodes.push(node)
  return node
}

export const ask = async <Answer>({ url }: Node, path: string): Promise<Answer> =>
  (await (await fetch(url + path)).json()) as Answer

export const statesOf = async (node: Node) => {
  const { items } = await ask<{ items: NodeLine[] }>(node, '/v1/nodes')
  return items.map(({ id, state }) => `${id} ${state}`)
}

export const holdersOf = async (node: Node) => {
  const { items } = await ask<{ items: LeaseRecord[] }>(node, '/v1/leases')
  return Object.fromEntries(items.map(({ name, holder }) => [name, holder]))
}

export async function submit(node: Node, dataDir: string, stdin: string): Promise<string> {
  const { code, out } = await muster(['submit', '-', '--url', node.url], { dataDir, stdin })
  expect(code).toBe(0)
  return out.trim()
}

export const completed = (node: Node, run: string) =>
  eventually(
    async () => {
      const now = await ask<Run>(node, `/v1/runs/${run}`)
      expect(now.state).toBe('completed')
      return now
    },
    { timeoutMs: 60_000 },
  )

/** Every task ok, on record once, at its first attempt. */
export async function expectWhole(node: Node, dataDir: string, run: string, total: number) {
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
export async function signalled(node: MusterProcess, signal: NodeJS.Signals = 'SIGTERM') {
  const since = performance.now()
  process.kill(node.pid, signal)
  const ended: Ended = await node.ended
  return { ...ended, tookMs: Math.round(performance.now() - since) }
}

export const sleeps = (count: number, ms: number) =>
  `{"kind":"sleep","input":{"ms":${ms}}}\n`.repeat(count)

/**
 * Handlers that leave a line when they begin and one when they end. `slow` takes its time; `stuck`
 * does so the first time only, and gives no heed to its signal when it is told to be deaf.
 */
export function writeTasks(dataDir: string) {
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
       setTimeout(() => resolve(), ms)
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
     const stop = (task, { signal }) => late(task, signal)
     export const stuck = defineTask({ kind: 'stuck', input, run: stop })
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

export const lines = (kind: string, count: number, ms: number) =>
  Array.from(
    { length: count },
    (_, n) => `{"kind":"${kind}","input":{"ms":${ms},"n":${n}},"delayMs":200}\n`,
  ).join('')
