/** What worker processes count is in their node's `/metrics`, and never becomes less. */
import { afterEach, expect, test } from 'bun:test'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { descendantsOf } from '../kit/processes.ts'
import { type Exposition, readExposition } from '../runtime/exposition.ts'

type Node = MusterProcess & { url: string }

const started: { node: MusterProcess; dataDir: string }[] = []
afterEach(async () => {
  for (const { node, dataDir } of started.splice(0)) {
    await node.kill('SIGTERM')
    endProcessesIn(dataDir)
  }
})

async function startNode(): Promise<{ node: Node; dataDir: string }> {
  const dataDir = temporaryDirectory()
  const env = {
    MUSTER_WORKER_ENVELOPE_TASKS_MAX: '5',
    MUSTER_WORKER_CONCURRENCY: '4',
    // Nobody loses one for being slow: each task is run, and counted, once.
    MUSTER_MAILBOX_LOCK_MS: '15000',
    MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000',
  }
  const node = await startMusterNode({ dataDir, env, words: ['--processes', '2'] })
  started.push({ node, dataDir })
  return { node, dataDir }
}

const scrape = async ({ url }: Node): Promise<Exposition> =>
  readExposition(await (await fetch(`${url}/metrics`)).text())

async function run(node: Node, dataDir: string, lines: string): Promise<void> {
  const words = ['submit', '-', '--url', node.url]
  const id = (await muster(words, { dataDir, stdin: lines })).out.trim()
  await eventually(
    async () => {
      const now = (await (await fetch(`${node.url}/v1/runs/${id}`)).json()) as Run
      expect(now.state).toBe('completed')
    },
    { timeoutMs: 40_000 },
  )
}

const sleeps = (count: number) => '{"kind":"sleep","input":{"ms":20}}\n'.repeat(count)
const sleep = { kind: 'sleep' }
const duration = 'muster_task_duration_seconds_count'

/** Counters and parts of histograms: what must never fall. */
const counts = ({ families }: Exposition) =>
  [...families].flatMap(([, { type, samples }]) =>
    type === 'gauge' || type === 'summary' ? [] : samples,
  )

test('a node tells what its worker processes count, also those that were killed', async () => {
  const { node, dataDir } = await startNode()
  await run(node, dataDir, sleeps(100) + '{"kind":"fail","attempts":2}\n'.repeat(3))
  await eventually(async () => {
    const { value } = await scrape(node)
    expect(value('muster_tasks_total', { ...sleep, outcome: 'ok' })).toBe(100)
    expect(value(duration, sleep)).toBe(100)
    expect(value(duration, { kind: 'fail' })).toBe(6)
    expect(value('muster_retries_total', { kind: 'fail' })).toBe(3)
    expect(value('muster_queue_wait_seconds_count', { mailbox: 'work.sleep' })).toBe(100)
    expect(value('muster_worker_alive', { role: 'worker' })).toBe(1)
  })

  const before = await scrape(node)
  const victims = descendantsOf(node.pid)
  const tree = (await (await fetch(`${node.url}/v1/tree`)).json()) as {
    children: { id: string; children: { pid: number }[] }[]
  }
  const victim = tree.children.find(({ id }) => id === 'processes')?.children[0]?.pid ?? 0
  expect(victims).toContain(victim)
  const running = run(node, dataDir, sleeps(200))
  await eventually(async () => {
    const done = (await scrape(node)).value('muster_tasks_total', { ...sleep, outcome: 'ok' }) ?? 0
    expect(done).toBeGreaterThan(110)
  })
  process.kill(victim, 'SIGKILL')
  await running
  await eventually(async () => {
    const { value } = await scrape(node)
    expect(value('muster_restarts_total', { child: 'process-1' })).toBe(1)
    expect(value('muster_tasks_total', { ...sleep, outcome: 'ok' })).toBe(300)
    const begun = value('threadpool_tasks_started_total') ?? 0
    expect(value('threadpool_tasks_completed_total')).toBe(begun)
    // What the killed one did in its last second it has not told.
    expect(value(duration, sleep)).toBeGreaterThan(100)
  })
  const after = await scrape(node)
  for (const { name, labels, value } of counts(before)) {
    expect(after.value(name, labels)).toBeGreaterThanOrEqual(value)
  }
})

test('what a process has counted last is told when it stops in order', async () => {
  const { node, dataDir } = await startNode()
  await run(node, dataDir, sleeps(20))
  const tree = (await (await fetch(`${node.url}/v1/tree`)).json()) as {
    children: { id: string; children: { pid: number }[] }[]
  }
  const processes = tree.children.find(({ id }) => id === 'processes')?.children ?? []
  expect(processes).toHaveLength(2)
  // In order, though nobody asked it: it drains and leaves.
  for (const { pid } of processes) process.kill(pid, 'SIGTERM')
  await eventually(async () => {
    const { value } = await scrape(node)
    expect(value(duration, sleep)).toBe(20)
    for (const child of ['process-1', 'process-2']) {
      expect(value('muster_restarts_total', { child })).toBe(1)
    }
  })
})
