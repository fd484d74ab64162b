/**
 * How fast is the HTTP interface? Tasks a second that a node takes in over loopback, from the first
 * byte of the stream until it says that all are durable; and the time until the whole answer is
 * there of what the console asks for: the tree of a node of 1,000 actors, runs where there are
 * 10,000 (quick: 1,000).
 *
 *   bun bench/api.bench.ts [--quick] [--json]
 */
import { join } from 'node:path'
import type { TreeNode } from '../actors/tree.ts'
import { median, percentile } from './kit/figures.ts'
import { fileOf, noopLine } from './kit/lines.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'

const options = readOptions()
const { isQuick } = options
const tasks = isQuick ? 50_000 : 150_000
const rounds = isQuick ? 3 : 7
const runs = isQuick ? 1000 : 10_000
const asks = isQuick ? 20 : 100
const runsAtOnce = 16
/** Each has an actor for every kind, and some more. */
const processes = isQuick ? 6 : 11
const faults: string[] = []
const rows: Row[] = []

/** Sent as it lies in a file, by a client that does nothing else. */
async function intake(): Promise<void> {
  const node = await BenchNode.start()
  const rates: number[] = []
  try {
    const path = await fileOf(noopLine, tasks)
    for (let round = 0; round <= rounds; round += 1) {
      const begun = performance.now()
      const run = await node.muster.submit(Bun.file(path).stream())
      const perSecond = (tasks / (performance.now() - begun)) * 1000
      if (run.accepted !== tasks) faults.push(`sent ${tasks} tasks, ${run.accepted} accepted`)
      const { counts } = await run.done()
      if (counts.ok !== tasks) faults.push(`sent ${tasks} tasks, ${counts.ok} ok`)
      // The first round warms up.
      if (round === 0) continue
      rates.push(perSecond)
      say(`intake, round ${round} of ${rounds}: ${Math.round(perSecond)} tasks/s`)
    }
  } finally {
    await node.stop()
  }
  const what = `taken in and durable, ${tasks.toLocaleString('en')} tasks a run`
  rows.push({ what, samples: rounds, perSecond: median(rates), slowest: Math.min(...rates) })
}

async function asked(node: BenchNode, what: string, path: string): Promise<void> {
  const times: number[] = []
  let bytes = 0
  for (let ask = 0; ask < asks; ask += 1) {
    const begun = performance.now()
    const response = await fetch(node.url + path)
    const body = await response.arrayBuffer()
    times.push(performance.now() - begun)
    bytes = body.byteLength
    if (!response.ok) faults.push(`${path}: HTTP ${response.status}`)
  }
  rows.push({
    what,
    samples: asks,
    p50: median(times),
    p99: percentile(times, 0.99),
    kilobytes: bytes / 1000,
  })
}

function countActors({ children }: TreeNode): number {
  return 1 + children.reduce((sum, child) => sum + countActors(child), 0)
}

async function reading(): Promise<void> {
  const node = await BenchNode.start({
    words: [
      '--processes',
      String(processes),
      '--tasks',
      join(import.meta.dir, 'kit/many.tasks.ts'),
    ],
  })
  try {
    const actors = countActors(await node.muster.tree())
    await asked(node, `/v1/tree, ${actors.toLocaleString('en')} actors`, '/v1/tree')
    const submitSome = async (count: number) => {
      for (let index = 0; index < count; index += 1) {
        const run = await node.muster.submit([{ kind: 'noop' }])
        await run.done()
      }
    }
    await Promise.all(
      Array.from({ length: runsAtOnce }, () => submitSome(Math.ceil(runs / runsAtOnce))),
    )
    const of = `of ${runs.toLocaleString('en')} runs`
    await asked(node, `/v1/runs, 100 ${of}`, '/v1/runs')
    await asked(node, `/v1/runs, 1,000 ${of}`, '/v1/runs?limit=1000')
  } finally {
    await node.stop()
  }
}

await intake()
await reading()
await publish(
  {
    bench: 'api',
    columns: [
      { key: 'what', title: 'over HTTP, on loopback' },
      { key: 'samples', title: 'samples' },
      { key: 'perSecond', title: 'tasks/s' },
      { key: 'slowest', title: 'slowest' },
      { key: 'p50', title: 'answered, p50', digits: 2, unit: 'ms' },
      { key: 'p99', title: 'p99', digits: 2, unit: 'ms' },
      { key: 'kilobytes', title: 'size', digits: 1, unit: 'kB' },
    ],
    rows,
    ratios: {},
    notes: [],
    faults,
  },
  options,
)
