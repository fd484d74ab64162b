import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import type { TreeNode } from '../../actors/tree.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { lasting } from '../kit/outage.ts'
import { descendantsOf, isAlive } from '../kit/processes.ts'

/** The default locks: what comes back sooner was given back, and has not waited for them. */
const env = {
  MUSTER_MAILBOX_LOCK_MS: '15000',
  MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000',
  MUSTER_WORKER_CONCURRENCY: '4',
  MUSTER_WORKER_ENVELOPE_TASKS_MAX: '5',
}
const silenceMs = 2000
const impatient = { ...env, MUSTER_WORKER_PROCESS_SILENCE_MS: String(silenceMs) }

type Node = MusterProcess & { url: string }

const started: { node: MusterProcess; dataDir: string }[] = []
afterEach(async () => {
  for (const { node, dataDir } of started.splice(0)) {
    await node.kill('SIGTERM')
    endProcessesIn(dataDir)
  }
})

async function startNode(over: Partial<Parameters<typeof startMusterNode>[0]> = {}) {
  const dataDir = over.dataDir ?? temporaryDirectory()
  const words = ['--processes', '2', ...(over.words ?? [])]
  const node = await startMusterNode({ env, ...over, dataDir, words })
  started.push({ node, dataDir })
  return { node, dataDir }
}

async function processesOf({ url }: Node): Promise<TreeNode[]> {
  const tree = (await (await fetch(`${url}/v1/tree`)).json()) as TreeNode
  return tree.children.find(({ id }) => id === 'processes')?.children ?? []
}

async function pidsOf(node: Node): Promise<[number, number]> {
  const [first, second] = await processesOf(node)
  if (first === undefined || second === undefined) throw new Error('expected two processes')
  return [first.pid, second.pid]
}

async function submit(node: Node, dataDir: string, lines: string): Promise<string> {
  const words = ['submit', '-', '--url', node.url]
  const submitted = await muster(words, { dataDir, stdin: lines })
  expect(submitted.code).toBe(0)
  return submitted.out.trim()
}

const completed = (node: Node, run: string, timeoutMs = 60_000) =>
  eventually(
    async () => {
      const now = (await (await fetch(`${node.url}/v1/runs/${run}`)).json()) as Run
      expect(now.state).toBe('completed')
      return now
    },
    { timeoutMs },
  )

async function resultsOf(node: Node, run: string): Promise<ResultLine[]> {
  const path = `${node.url}/v1/runs/${run}/results?limit=1000`
  const { items } = (await (await fetch(path)).json()) as { items: ResultLine[] }
  return items
}

const sleeps = (count: number, ms: number) =>
  `{"kind":"sleep","input":{"ms":${ms}}}\n`.repeat(count)

function expectWhole(dataDir: string, run: string, total: number): void {
  const { rows, audited } = readLedger(dataDir, run)
  const expected = Array.from({ length: total }, (_, seq) => ({ seq, outcome: 'ok' }))
  expect([rows, audited.size]).toEqual([expected, total])
}

/** Handlers that leave a file of their pid and seq as soon as they run. */
function writeTasks(dataDir: string): { path: string; begun(): { pid: number; seq: number }[] } {
  const path = join(dataDir, 'tasks.ts')
  const marks = join(dataDir, 'begun-')
  writeFileSync(
    path,
    `import { writeFileSync } from 'node:fs'
     import { defineTask } from 'muster'
     import { z } from 'zod'
     let number = 0
     const begin = () => writeFileSync(\`${marks}\${process.pid}-\${number++}\`, '')
     const input = z.object({ ms: z.number() })
     export const spin = defineTask({ kind: 'spin', input, run({ ms }) {
       begin()
       for (const until = Date.now() + ms; Date.now() < until; ) {}
     } })
     export const die = defineTask({ kind: 'die', input: z.unknown(), run() {
       process.kill(process.pid, 'SIGKILL')
     } })
     export const slow = defineTask({ kind: 'slow', input, async run({ ms }) {
       begin()
       const { promise, resolve } = Promise.withResolvers()
       setTimeout(() => resolve(), ms)
       await promise
     } })`,
  )
  const begun = () =>
    readdirSync(dataDir).flatMap((name) => {
      const [, pid, seq] = /^begun-(\d+)-(\d+)$/.exec(name) ?? []
      return pid === undefined ? [] : [{ pid: Number(pid), seq: Number(seq) }]
    })
  return { path, begun }
}

describe('a node with two worker processes', () => {
  test('shows them in its tree, each with its actors under its own pid', async () => {
    const { node, dataDir } = await startNode()
    const processes = await processesOf(node)
    expect(processes.map(({ id, state }) => [id, state])).toEqual([
      ['process-1', 'running.heard'],
      ['process-2', 'running.heard'],
    ])
    const pids = processes.map(({ pid }) => pid)
    expect(new Set([node.pid, ...pids]).size).toBe(3)
    for (const pid of pids) expect(descendantsOf(node.pid)).toContain(pid)
    for (const { path, pid, children } of processes) {
      const workers = children.find(({ id }) => id === 'workers')
      expect(workers?.path).toBe(`${path}/workers`)
      const sleeper = workers?.children.find(({ id }) => id === 'work.sleep')
      expect(sleeper).toMatchObject({ pid, path: `${path}/workers/work.sleep`, restarts: 0 })
    }
    const run = await submit(node, dataDir, sleeps(100, 20))
    await completed(node, run)
    const lines = await resultsOf(node, run)
    expect(new Set(lines.map(({ worker }) => worker))).toEqual(
      new Set(['process-1/work.sleep', 'process-2/work.sleep']),
    )
    expect(new Set(lines.map(({ node: id }) => id)).size).toBe(1)
  })

  test('starts one anew that is killed under load; what it held comes back at once', async () => {
    const { node, dataDir } = await startNode()
    const run = await submit(node, dataDir, sleeps(200, 50))
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(20))
    const [victim, other] = await pidsOf(node)
    const killedAt = performance.now()
    process.kill(victim, 'SIGKILL')
    await completed(node, run)
    const tookMs = performance.now() - killedAt
    console.log(`killed under load: the run was complete ${Math.round(tookMs)} ms later`)
    expect(tookMs).toBeLessThan(13_000)
    expectWhole(dataDir, run, 200)
    const [first, second] = await eventually(async () => {
      const now = await processesOf(node)
      expect(now[0]?.state).toBe('running.heard')
      return now
    })
    expect(first).toMatchObject({ incarnation: 2, restarts: 1 })
    expect(first?.lastError).toMatch(/^worker process \d+ ended unasked: SIGKILL$/)
    expect(first?.pid).not.toBe(victim)
    expect(second).toMatchObject({ incarnation: 1, restarts: 0, pid: other })
  })

  test('condemns the tasks that kill it, and none that only ran beside them', async () => {
    const dataDir = temporaryDirectory()
    const { path } = writeTasks(dataDir)
    const oneByOne = { ...env, MUSTER_WORKER_ENVELOPE_TASKS_MAX: '1' }
    const { node } = await startNode({ dataDir, env: oneByOne, words: ['--tasks', path] })
    const slow = '{"kind":"slow","input":{"ms":400}}\n'.repeat(3)
    const deadly = 10
    const run = await submit(node, dataDir, `${slow}{"kind":"die"}\n`.repeat(deadly))
    const begun = performance.now()
    const { counts } = await completed(node, run, 90_000)
    const [first, second] = await processesOf(node)
    const restarts = (first?.restarts ?? 0) + (second?.restarts ?? 0)
    const tookMs = Math.round(performance.now() - begun)
    console.log(`${deadly} tasks that kill, in ${tookMs} ms and ${restarts} restarts`)
    expect(counts).toMatchObject({ ok: 3 * deadly, dead: deadly })
    const dead = (await resultsOf(node, run)).filter(({ outcome }) => outcome === 'dead')
    expect(new Set(dead.map(({ kind }) => kind))).toEqual(new Set(['die']))
  })

  test('kills one that is frozen, and starts it anew', async () => {
    const { node, dataDir } = await startNode({ env: impatient })
    const run = await submit(node, dataDir, sleeps(200, 50))
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(20))
    const [victim] = await pidsOf(node)
    const frozenAt = performance.now()
    process.kill(victim, 'SIGSTOP')
    await eventually(() => expect(isAlive(victim)).toBe(false), { timeoutMs: 30_000 })
    const deadMs = performance.now() - frozenAt
    await completed(node, run)
    const tookMs = performance.now() - frozenAt
    const figures = [deadMs, tookMs].map((ms) => Math.round(ms)).join(', complete after ')
    console.log(`frozen: killed after ${figures} ms`)
    expect(deadMs).toBeWithin(silenceMs - 1100, silenceMs + 6000)
    expectWhole(dataDir, run, 200)
    const [first] = await eventually(async () => {
      const now = await processesOf(node)
      expect(now[0]?.state).toBe('running.heard')
      return now
    })
    expect(first).toMatchObject({ incarnation: 2, restarts: 1 })
    expect(first?.lastError).toContain(`said nothing for ${silenceMs} ms and was killed`)
  })

  test('condemns none of them when it stood still itself', async () => {
    const { node } = await startNode({ env: impatient })
    const before = await pidsOf(node)
    for (let round = 0; round < 3; round += 1) {
      process.kill(node.pid, 'SIGSTOP')
      await lasting(silenceMs * 1.5)
      process.kill(node.pid, 'SIGCONT')
      await lasting(silenceMs / 4)
    }
    expect(await pidsOf(node)).toEqual(before)
    expect((await processesOf(node)).map(({ restarts }) => restarts)).toEqual([0, 0])
  })

  test('that is killed takes them along, also one that is blocked', async () => {
    const dataDir = temporaryDirectory()
    const { path, begun } = writeTasks(dataDir)
    const { node } = await startNode({ dataDir, words: ['--tasks', path] })
    await submit(node, dataDir, '{"kind":"spin","input":{"ms":20000},"delayMs":500}\n')
    const pids = await pidsOf(node)
    const blocked = await eventually(() => {
      const [first] = begun()
      if (first === undefined) throw new Error('the task has not begun')
      return first.pid
    })
    expect(pids).toContain(blocked)
    const killedAt = performance.now()
    // Its own end is not waited for: they have its pipes, so that would be theirs.
    process.kill(node.pid, 'SIGKILL')
    const goneMs: Record<string, number> = {}
    for (const pid of pids.toSorted((a, b) => Number(a === blocked) - Number(b === blocked))) {
      await eventually(() => expect(isAlive(pid)).toBe(false))
      goneMs[pid === blocked ? 'blocked' : 'idle'] = Math.round(performance.now() - killedAt)
    }
    console.log(`the node killed: its processes were gone after (ms) ${JSON.stringify(goneMs)}`)
    expect(goneMs['blocked']).toBeLessThan(5000)
    expect(goneMs['idle']).toBeLessThan(5000)
  })

  test('stopped in order lets both finish what they have at hand, and leaves nothing', async () => {
    const dataDir = temporaryDirectory()
    const { path, begun } = writeTasks(dataDir)
    const oneByOne = { ...env, MUSTER_WORKER_ENVELOPE_TASKS_MAX: '1' }
    const { node } = await startNode({ dataDir, env: oneByOne, words: ['--tasks', path] })
    const line = '{"kind":"slow","input":{"ms":2000},"delayMs":300}\n'
    const run = await submit(node, dataDir, line.repeat(24))
    const pids = await pidsOf(node)
    await eventually(() => expect(new Set(begun().map(({ pid }) => pid)).size).toBe(2))
    const children = descendantsOf(node.pid)
    const stoppedAt = performance.now()
    const { code, err } = await node.kill('SIGTERM')
    console.log(`stopped in order after ${Math.round(performance.now() - stoppedAt)} ms`)
    expect([code, err.includes('cannot go back')]).toEqual([0, false])
    expect([...children, ...pids].filter(isAlive)).toEqual([])
    expect(existsSync(join(dataDir, 'redis', 'redis.sock'))).toBe(false)
    // What had begun has ended, in both of them.
    expect(readLedger(dataDir, run).rows.length).toBe(begun().length)
    const next = await startNode({ dataDir, env: oneByOne, words: ['--tasks', path] })
    await completed(next.node, run)
    expectWhole(dataDir, run, 24)
    expect((await resultsOf(next.node, run)).map(({ attempt }) => attempt)).toEqual(
      Array.from({ length: 24 }, () => 1),
    )
    expect(begun().length).toBe(24)
  })

  test('that cannot start one any more says why and gives up; the other finishes', async () => {
    const dataDir = temporaryDirectory()
    const { path, begun } = writeTasks(dataDir)
    const { node } = await startNode({ dataDir, words: ['--tasks', path] })
    const pids = await pidsOf(node)
    // Longer than the restarts go on.
    const run = await submit(node, dataDir, '{"kind":"slow","input":{"ms":14000}}\n')
    await eventually(() => expect(begun()).toHaveLength(1))
    rmSync(path)
    const killedAt = performance.now()
    process.kill(pids.find((pid) => pid !== begun()[0]?.pid) ?? 0, 'SIGKILL')
    const { code, err } = await node.ended
    console.log(`gave up after ${Math.round(performance.now() - killedAt)} ms`)
    expect(code).toBe(70)
    expect(err).toContain(path)
    expect(pids.filter(isAlive)).toEqual([])
    expect([begun().length, readLedger(dataDir, run).rows]).toEqual([
      1,
      [{ seq: 0, outcome: 'ok' }],
    ])
  })
})

test('an ephemeral node has no worker processes, and says so', async () => {
  const words = ['start', '--port', '0', '--processes', '1', '--ephemeral']
  const { code, err } = await muster(words, { dataDir: temporaryDirectory() })
  expect(code).toBe(64)
  expect(err).toContain('worker.processes: expected 0, got 1: an ephemeral node is one process')
})
