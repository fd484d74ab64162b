/**
 * Healthy latency is not a healthy runtime: a handler that blocks the event loop, requests that are
 * answered as fast as ever, and an audit that is not taken in; by a real Prometheus and without.
 */
import { afterEach, describe, expect, test } from 'bun:test'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AuditReport } from '../../runtime/audit/report.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { hasPrometheus, type Prometheus, startPrometheus } from './prometheus.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

type Node = MusterProcess & { url: string; dataDir: string }

const tasks = join(import.meta.dir, '../examples/blocking.ts')
const template = join(import.meta.dir, '../../config/metrics.yaml')

async function startNode(words: string[] = []): Promise<Node> {
  const dataDir = temporaryDirectory()
  // Who blocks for so long renews no lock meanwhile either.
  const env = { MUSTER_MAILBOX_LOCK_MS: '15000' }
  const node = await startMusterNode({ dataDir, env, words: ['--tasks', tasks, ...words] })
  cleanups.push(async () => {
    await node.kill('SIGTERM')
    endProcessesIn(dataDir)
  })
  copyFileSync(template, join(dataDir, 'metrics.yaml'))
  return Object.assign(node, { dataDir })
}

async function watch(node: Node): Promise<Prometheus> {
  const prometheus = await startPrometheus([node.url])
  cleanups.push(() => prometheus.stop())
  // It begins to scrape some 5 s after its start.
  const scrapes = 'count_over_time(blocking_events_total[1m])'
  await eventually(async () => expect((await prometheus.value(scrapes)) ?? 0).toBeGreaterThan(2), {
    timeoutMs: 20_000,
  })
  return prometheus
}

/** The gate of a build. */
async function gate(
  { dataDir }: Node,
  of: string[],
): Promise<{ code: number; report: AuditReport }> {
  const words = ['audit', '--fail-on-critical', '--output-format', 'json', ...of]
  const { out, code } = await muster(words, { dataDir })
  return { code, report: JSON.parse(out) as AuditReport }
}

/** A node that is scraped, and its first audit: of one whose machine lets it run, if any does. */
async function startWatched(
  words: string[],
): Promise<{ node: Node; prometheus: Prometheus; before: Awaited<ReturnType<typeof gate>> }> {
  return startCalm(async () => {
    const node = await startNode(words)
    const prometheus = await watch(node)
    return { node, prometheus, before: await gate(node, ['--target', prometheus.url]) }
  })
}

/** A disk that is read for the first time makes a node stand still, too; that is no fact here. */
async function startCalm<Started extends { before: Awaited<ReturnType<typeof gate>> }>(
  start: () => Promise<Started>,
): Promise<Started> {
  for (let tries = 1; ; tries += 1) {
    const started = await start()
    const { code, report } = started.before
    if (code === 0 || tries === 3) return started
    const lagMs = report.max_event_loop_lag_ms
    console.log(`the machine made an idle node stand still for ${lagMs} ms; trying another`)
  }
}

const hidden = 'Customer-visible latency hides runtime instability.'
const blocks = '{"kind":"block","input":{"ms":2500}}\n'.repeat(2)

/** Blocks the event loop that runs tasks, twice; meanwhile somebody asks all the time. */
async function block(node: Node): Promise<void> {
  const ask = async () => {
    await (await fetch(`${node.url}/healthz`)).text()
  }
  // So many that a slow one or two, of a busy machine, are no percentile.
  for (let asked = 0; asked < 2000; asked += 1) await ask()
  const running = muster(['submit', '-', '--wait', '--url', node.url], {
    dataDir: node.dataDir,
    stdin: blocks,
  })
  let isOver = false
  void running.then(() => {
    isOver = true
  })
  do await ask()
  while (!isOver)
  expect((await running).code).toBe(0)
}

describe.each([
  ['of the node itself', []],
  ['of a worker process', ['--processes', '1']],
])('a handler that blocks the event loop %s', (_, words) => {
  test('fails the audit by the node while requests are as fast as ever', async () => {
    const { node, before } = await startCalm(async () => {
      const started = await startNode(words)
      return { node: started, before: await gate(started, ['--node', started.url]) }
    })
    expect(before.code).toBe(0)
    expect(before.report.missing).toEqual([])
    expect(before.report.findings).not.toContain(hidden)

    await block(node)
    const { code, report } = await eventually(async () => {
      const audited = await gate(node, ['--node', node.url])
      expect(audited.report.max_event_loop_lag_ms).toBeGreaterThan(2000)
      return audited
    })
    expect(code).toBe(1)
    expect(report.p99_latency_ms).toBeLessThan(150)
    expect(report.blocking_events).toBeGreaterThanOrEqual(2)
    expect(report.findings).toContain('Event-loop starvation detected.')
    expect(report.findings).toContain(hidden)
    expect(['CRITICAL', 'COLLAPSE_RISK']).toContain(report.status)
  })

  test.skipIf(!hasPrometheus)('fails the audit by a Prometheus that scrapes the node', async () => {
    const { node, prometheus, before } = await startWatched(words)
    expect(before).toMatchObject({ code: 0 })
    expect(before.report.findings).not.toContain(hidden)
    expect(before.report.missing.filter(({ reason }) => reason !== 'not a number')).toEqual([])

    await block(node)
    const { code, report } = await eventually(async () => {
      const audited = await gate(node, ['--target', prometheus.url])
      expect(audited.report.max_event_loop_lag_ms).toBeGreaterThan(2000)
      expect(audited.report.threadpool_backlog).toBe(0)
      return audited
    })
    expect(code).toBe(1)
    expect(report.missing).toEqual([])
    expect(report.p99_latency_ms).toBeLessThan(150)
    // On a busy machine there are others, short ones, in this average.
    expect(report.avg_blocking_duration_s).toBeGreaterThan(0.1)
    expect(report.findings).toContain('Event-loop starvation detected.')
    expect(report.findings).toContain(hidden)
  })
})

test.skipIf(!hasPrometheus)('an idle runtime can be audited strictly', async () => {
  const node = await startNode()
  const { url } = await watch(node)
  const words = ['--target', url, '--strict-telemetry']
  // As the template says it.
  const text = readFileSync(template, 'utf8')
  const averages = /: "(histogram_quantile.+|rate.+)"$/gm
  writeFileSync(
    join(node.dataDir, 'metrics.yaml'),
    text.replace(averages, ': "($1 > 0) or vector(0)"'),
  )
  expect((await gate(node, words)).report).toMatchObject({ missing: [] })
  writeFileSync(join(node.dataDir, 'metrics.yaml'), text)
  const { code, report } = await gate(node, words)
  expect(code).toBe(1)
  expect(report.missing).toContainEqual({
    query: 'threadpool_queue_wait',
    reason: 'not a number',
    detail: 'NaN',
  })
})
