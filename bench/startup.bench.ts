/**
 * How soon is a node ready, and what does it cost to have one that does nothing? `muster start` at
 * default settings with its embedded Redis: from the start of the process until /readyz says so, on
 * a fresh data directory and on one that was used; then memory and processor time while it idles.
 *
 *   bun bench/startup.bench.ts [--quick] [--json]
 */
import { removeTemporaryDirectories, temporaryDirectory } from '../test/kit/directory.ts'
import { mebibytes, median, percentile } from './kit/figures.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'

const options = readOptions()
const rounds = options.isQuick ? 2 : 10
const idleMs = options.isQuick ? 3000 : 10_000
/** What is left of its start is not idling. */
const settleMs = 2000

interface Idle {
  nodeRss: number
  redisRss: number
  /** Of one core, 0…1. */
  nodeShare: number
  redisShare: number
}

async function idle(node: BenchNode): Promise<Idle> {
  await Bun.sleep(settleMs)
  const before = node.usage()
  const begun = performance.now()
  await Bun.sleep(idleMs)
  const after = node.usage()
  const wallMs = performance.now() - begun
  return {
    nodeRss: mebibytes(after.node.rssBytes),
    redisRss: mebibytes(after.redis.rssBytes),
    nodeShare: (after.node.cpuMs - before.node.cpuMs) / wallMs,
    redisShare: (after.redis.cpuMs - before.redis.cpuMs) / wallMs,
  }
}

const fresh: number[] = []
const again: number[] = []
let resting: Idle | undefined
for (let round = 1; round <= rounds; round += 1) {
  const dataDir = temporaryDirectory()
  try {
    for (const times of [fresh, again]) {
      const node = await BenchNode.start({ dataDir })
      times.push(node.readyMs)
      if (round === 1 && times === fresh) resting = await idle(node)
      await node.stop()
    }
  } finally {
    removeTemporaryDirectories([dataDir])
  }
  say(`round ${round} of ${rounds}: ${Math.round(fresh.at(-1) ?? 0)} ms`)
}
const startRow = (what: string, all: readonly number[]): Row => ({
  what,
  rounds: all.length,
  p50: `${Math.round(median(all))} ms`,
  p99: `${Math.round(percentile(all, 0.99))} ms`,
})
const restRow = (what: string, rss = Number.NaN, share = Number.NaN): Row => ({
  what,
  rounds: 1,
  p50: `${rss.toFixed(0)} MiB, ${(100 * share).toFixed(2)} % of a core`,
  p99: '',
})
await publish(
  {
    bench: 'startup',
    columns: [
      { key: 'what', title: '`muster start`' },
      { key: 'rounds', title: 'rounds' },
      { key: 'p50', title: 'p50' },
      { key: 'p99', title: 'p99' },
    ],
    rows: [
      startRow('ready, fresh data directory', fresh),
      startRow('ready, used data directory', again),
      restRow(`node at rest, ${idleMs / 1000} s`, resting?.nodeRss, resting?.nodeShare),
      restRow(`its Redis at rest, ${idleMs / 1000} s`, resting?.redisRss, resting?.redisShare),
    ],
    faults: [],
    details: { freshMs: fresh, againMs: again, resting },
  },
  options,
)
