/**
 * How soon does a lone task start? Submitted over HTTP to a real node at default settings, from the
 * first byte sent to the moment at which its handler runs, and to the moment at which we are told
 * that its run is complete (counted, stored and logged): while the node idles, and while it works
 * off a stream of `noop` tasks at half of what it can do. The lone task is of another kind than the
 * stream, or of the same: then it waits behind it in the same mailbox.
 *
 *   bun bench/latency.bench.ts [--quick] [--json]
 */
import { join } from 'node:path'
import { percentile } from './kit/figures.ts'
import { fileOf, noopLine } from './kit/lines.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'
import { submitAndWait } from './kit/stage.ts'

const options = readOptions()
const idleSamples = options.isQuick ? 100 : 1000
/** Under load each takes longer; the promise there is ten times as wide. */
const loadSamples = options.isQuick ? 40 : 200
const warmUpSamples = options.isQuick ? 20 : 100
const fullLoadTasks = options.isQuick ? 30_000 : 200_000
/** Between two lone tasks, so that they meet the node at any moment of its rhythm. */
const pauseMs = { min: 1, max: 11 }
/** A row that takes longer than this ends with the samples that it has. */
const rowMs = options.isQuick ? { idle: 5000, load: 5000 } : { idle: 25_000, load: 10_000 }
/** What was promised of a lone task: to its start, p99. */
const promisedMs = { idle: 5, halfLoad: 50 }
/** The stream is sent in gulps so far apart. */
const gulpMs = 10
const faults: string[] = []

const now = () => performance.timeOrigin + performance.now()

interface Sample {
  startMs: number
  doneMs: number
}

/** One lone task. A `noop` says only in which millisecond it started. */
async function lone(node: BenchNode, kind: 'bench.stamped' | 'noop'): Promise<Sample> {
  const sentAt = now()
  const run = await submitAndWait(node, [{ kind }])
  const doneMs = now() - sentAt
  if (run.counts.ok !== 1) faults.push(`a lone task: expected 1 ok, got ${JSON.stringify(run)}`)
  const { result } = await node.muster.task(run.id, 0)
  const startedAt = typeof result.output === 'number' ? result.output : result.startedAt
  return { startMs: startedAt - sentAt, doneMs }
}

async function sample(
  node: BenchNode,
  kind: 'bench.stamped' | 'noop',
  count: number,
  limitMs: number,
): Promise<Sample[]> {
  const all: Sample[] = []
  const until = performance.now() + limitMs
  while (all.length < count && performance.now() < until) {
    all.push(await lone(node, kind))
    await Bun.sleep(pauseMs.min + Math.random() * (pauseMs.max - pauseMs.min))
  }
  return all
}

function rowOf(what: string, all: readonly Sample[]): Row {
  const starts = all.map(({ startMs }) => startMs)
  const ends = all.map(({ doneMs }) => doneMs)
  return {
    what,
    samples: all.length,
    startP50: percentile(starts, 0.5),
    startP99: percentile(starts, 0.99),
    doneP50: percentile(ends, 0.5),
    doneP99: percentile(ends, 0.99),
  }
}

/** Tasks a second when it has as much to do as it can. */
async function fullLoad(node: BenchNode): Promise<number> {
  const file = await fileOf(noopLine, fullLoadTasks)
  const begun = performance.now()
  await submitAndWait(node, Bun.file(file).stream())
  return (fullLoadTasks / (performance.now() - begun)) * 1000
}

/** A source that says `perSecond` lines a second until it is told to end. */
async function* stream(
  perSecond: number,
  signal: AbortSignal,
  count: (tasks: number) => void,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  const begun = performance.now()
  for (let said = 0; !signal.aborted; ) {
    const due = Math.floor((perSecond * (performance.now() - begun)) / 1000) - said
    if (due > 0) yield encoder.encode(`${noopLine}\n`.repeat(due))
    said += due
    count(said)
    await Bun.sleep(gulpMs)
  }
}

const node = await BenchNode.start({
  words: ['--tasks', join(import.meta.dir, 'kit/stamped.tasks.ts')],
})
const rows: Row[] = []
let halfRate = 0
let heldRate = 0
try {
  for (const kind of ['bench.stamped', 'noop'] as const)
    await sample(node, kind, warmUpSamples, rowMs.load)
  await fullLoad(node)
  say('idle')
  rows.push(rowOf('idle', await sample(node, 'bench.stamped', idleSamples, rowMs.idle)))
  halfRate = (await fullLoad(node)) / 2
  say(`half load: ${Math.round(halfRate)} tasks/s`)
  const enough = new AbortController()
  let sent = 0
  const begun = performance.now()
  const source = stream(halfRate, enough.signal, (tasks) => {
    sent = tasks
  })
  const background = submitAndWait(node, source, 600_000)
  background.catch((error: unknown) => faults.push(`the stream broke off: ${String(error)}`))
  rows.push(
    rowOf('half load, another kind', await sample(node, 'bench.stamped', loadSamples, rowMs.load)),
  )
  rows.push(rowOf('half load, same kind', await sample(node, 'noop', loadSamples, rowMs.load)))
  enough.abort()
  const run = await background
  heldRate = (sent / (performance.now() - begun)) * 1000
  if (run.counts.ok !== sent) faults.push(`the stream: sent ${sent} tasks, ${run.counts.ok} ok`)
} finally {
  await node.stop()
}
await publish(
  {
    bench: 'latency',
    columns: [
      { key: 'what', title: 'a lone task, while the node is' },
      { key: 'samples', title: 'samples' },
      { key: 'startP50', title: 'to its start, p50', digits: 2, unit: 'ms' },
      { key: 'startP99', title: 'p99', digits: 2, unit: 'ms' },
      { key: 'doneP50', title: 'to the end of its run, p50', digits: 2, unit: 'ms' },
      { key: 'doneP99', title: 'p99', digits: 2, unit: 'ms' },
    ],
    rows,
    ratios: { 'stream kept up with ÷ half load': heldRate / halfRate },
    notes: [
      `half load: ${Math.round(halfRate)} noop tasks/s, half of what it did in this very run`,
      `promised p99: ${promisedMs.idle} ms idle, ${promisedMs.halfLoad} ms at half load`,
    ],
    faults,
  },
  options,
)
