/**
 * How many tasks a second go the whole way: submitted over HTTP, durably queued, run, accounted
 * for exactly once, stored as a row in SQLite and as a line of the audit log, run complete? `noop`
 * tasks on a real node at default settings, with its embedded Redis (AOF everysec), everything on
 * this machine; each round a fresh node on a fresh data directory. Then the same with the limiter
 * set to 5,000 a second, and keyed tasks, whose order is checked. What is not delivered exactly
 * once, or not in order, is a fault, and the figures are worth nothing.
 *
 *   bun bench/pipeline.bench.ts [--stage 10k|100k|1m|10m] [--quick] [--json]
 *
 * Stages up to the one named are run; without one, up to 1m (quick: 100k).
 */
import { mebibytes, median, slowest } from './kit/figures.ts'
import { runKeyed } from './kit/keyed.ts'
import { misused, readOptions } from './kit/options.ts'
import { type Column, publish, type Row, say } from './kit/report.ts'
import { runStage, type Stage, type StageFigures } from './kit/stage.ts'

const options = readOptions()
const { isQuick } = options
const stages = [
  { name: '10k', tasks: 10_000, rounds: isQuick ? 2 : 7 },
  { name: '100k', tasks: 100_000, rounds: isQuick ? 2 : 5 },
  { name: '1m', tasks: 1_000_000, rounds: isQuick ? 1 : 3 },
  { name: '10m', tasks: 10_000_000, rounds: 1 },
]
const limit = { rate: 5000, burst: 10_000, tasks: isQuick ? 35_000 : 110_000 }
/** How far off the rate may be; a short run shows every hiccup of the machine. */
const rateTolerance = isQuick ? 0.05 : 0.01
/** Of ten million lines, the default keeps only the last files: not all could be found. */
const keepAll = { MUSTER_LOG_FILES_MAX: '1000' }

const columns: Column[] = [
  { key: 'what', title: 'noop tasks' },
  { key: 'rounds', title: 'rounds' },
  { key: 'perSecond', title: 'tasks/s' },
  { key: 'slowest', title: 'p99 (slowest)' },
  { key: 'perSecondOutside', title: 'tasks/s from outside' },
  { key: 'envelopesPerSecond', title: 'envelopes/s' },
  { key: 'envelopeTasks', title: 'tasks an envelope' },
  { key: 'nodeUs', title: 'node, CPU a task', digits: 2, unit: 'µs' },
  { key: 'redisUs', title: 'Redis, CPU a task', digits: 2, unit: 'µs' },
  { key: 'threadUs', title: 'busiest thread, CPU a task', digits: 2, unit: 'µs' },
  { key: 'nodeBusyPercent', title: 'busy: node thread', unit: '%' },
  { key: 'redisBusyPercent', title: 'Redis', unit: '%' },
  { key: 'nodeRssMiB', title: 'node, peak RSS', unit: 'MiB' },
  { key: 'redisRssMiB', title: 'Redis, peak RSS', unit: 'MiB' },
  { key: 'redisUsedMiB', title: 'Redis, peak used', digits: 1, unit: 'MiB' },
]

const faults: string[] = []

async function measure(what: string, stage: Stage, rounds: number): Promise<StageFigures[]> {
  const all: StageFigures[] = []
  for (let round = 1; round <= rounds; round += 1) {
    const { figures, faults: found } = await runStage(stage)
    all.push(figures)
    faults.push(...found.map((fault) => `${what}, round ${round}: ${fault}`))
    say(`${what}, round ${round} of ${rounds}: ${Math.round(figures.perSecond)} tasks/s`)
  }
  return all
}

function rowOf(what: string, all: readonly StageFigures[]): Row {
  const middle = (pick: (figures: StageFigures) => number) => median(all.map(pick))
  return {
    what,
    rounds: all.length,
    perSecond: middle(({ perSecond }) => perSecond),
    slowest: slowest(all.map(({ perSecond }) => perSecond)),
    perSecondOutside: middle(({ perSecondOutside }) => perSecondOutside),
    envelopesPerSecond: middle(({ envelopesPerSecond }) => envelopesPerSecond),
    envelopeTasks: middle(({ envelopeTasks }) => envelopeTasks),
    nodeUs: middle(({ nodeUs }) => nodeUs),
    redisUs: middle(({ redisUs }) => redisUs),
    threadUs: middle(({ threadUs }) => threadUs),
    nodeBusyPercent: 100 * middle(({ nodeBusy }) => nodeBusy),
    redisBusyPercent: 100 * middle(({ redisBusy }) => redisBusy),
    nodeRssMiB: mebibytes(middle(({ nodeRssPeakBytes }) => nodeRssPeakBytes)),
    redisRssMiB: mebibytes(middle(({ redisRssPeakBytes }) => redisRssPeakBytes)),
    redisUsedMiB: mebibytes(middle(({ redisUsedPeakBytes }) => redisUsedPeakBytes)),
  }
}

const last = stages.findIndex(({ name }) => name === (options.stage ?? (isQuick ? '100k' : '1m')))
if (last < 0) {
  misused(`--stage: expected ${stages.map(({ name }) => name).join(', ')}, got ${options.stage}`)
}
const rows: Row[] = []
const details: Record<string, StageFigures[]> = {}
for (const { name, tasks, rounds } of stages.slice(0, last + 1)) {
  const stage = { tasks, ...(tasks > 1_000_000 ? { node: { env: keepAll } } : {}) }
  const all = await measure(name, stage, rounds)
  details[name] = all
  rows.push(rowOf(tasks.toLocaleString('en'), all))
}

const { rate, burst, tasks } = limit
const limited = await measure(
  'limited',
  {
    tasks,
    burst,
    node: {
      env: { MUSTER_DISPATCHER_RATE: String(rate), MUSTER_DISPATCHER_BURST: String(burst) },
    },
  },
  isQuick ? 1 : 3,
)
// What goes beyond the burst goes at the rate; the burst is there at once.
const heldShares = limited.map(({ perSecond }) => (tasks - burst) / (tasks / perSecond) / rate)
for (const share of heldShares.filter((held) => Math.abs(held - 1) > rateTolerance)) {
  faults.push(`limited to ${rate}/s: held ${(share * rate).toFixed(0)}/s beyond the burst`)
}
rows.push(rowOf(`${tasks.toLocaleString('en')}, limited to ${rate}/s, burst ${burst}`, limited))

const keyed = await runKeyed(isQuick ? 1000 : 10_000, 50)
faults.push(...keyed.faults)
rows.push({ what: `${keyed.tasks} keyed handlers, 50 keys`, rounds: 1, perSecond: keyed.perSecond })

const peaks = stages.slice(0, last + 1).map(({ name }) => {
  return median((details[name] ?? []).map(({ nodeRssPeakBytes }) => nodeRssPeakBytes))
})
await publish(
  {
    bench: 'pipeline',
    columns,
    rows,
    ratios: {
      'peak RSS of the node, largest stage ÷ 10k': (peaks.at(-1) ?? 0) / (peaks[0] ?? 1),
      'rate held beyond the burst ÷ 5,000/s': median(heldShares),
    },
    notes: [
      'medians of the rounds; each is checked: counts, rows (SQLite and API), audit lines, order',
      'from outside: from the first byte sent until told that it is complete; CPU: of all threads',
    ],
    faults,
    details,
  },
  options,
)
