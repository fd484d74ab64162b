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
/** What is left of its start is not idling. */
const settleMs = 2000
/** Then it is watched: what is new to it is still being compiled for more than a minute. */
const idleMs = options.isQuick ? [2000, 3000] : [10_000, 60_000, 60_000]

interface Idle {
  nodeRss: number
  redisRss: number
  /** Of one core, 0…1. */
  nodeShare: number
  redisShare: number
}

async function idle(node: BenchNode, forMs: number): Promise<Idle> {
  const before = node.usage()
  const begun = performance.now()
  await Bun.sleep(forMs)
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
const resting: Idle[] = []
for (let round = 1; round <= rounds; round += 1) {
  const dataDir = temporaryDirectory()
  try {
    for (const times of [fresh, again]) {
      const node = await BenchNode.start({ dataDir })
      times.push(node.readyMs)
      if (round === 1 && times === fresh) {
        await Bun.sleep(settleMs)
        for (const forMs of idleMs) resting.push(await idle(node, forMs))
      }
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
  readyP50: median(all),
  readyP99: percentile(all, 0.99),
})
const restRow = (what: string, rssMiB: number, share: number): Row => ({
  what,
  rounds: 1,
  rssMiB,
  cpuPercent: 100 * share,
})
const restRows = resting.flatMap(({ nodeRss, nodeShare, redisRss, redisShare }, index) => {
  const [from, to] = [index, index + 1].map((end) => {
    return idleMs.slice(0, end).reduce((sum, ms) => sum + ms / 1000, 0)
  })
  return [
    restRow(`at rest, from ${from} to ${to} s`, nodeRss, nodeShare),
    restRow('its Redis, in the same time', redisRss, redisShare),
  ]
})
await publish(
  {
    bench: 'startup',
    columns: [
      { key: 'what', title: '`muster start`' },
      { key: 'rounds', title: 'rounds' },
      { key: 'readyP50', title: 'ready, p50', unit: 'ms' },
      { key: 'readyP99', title: 'p99', unit: 'ms' },
      { key: 'rssMiB', title: 'RSS', unit: 'MiB' },
      { key: 'cpuPercent', title: 'of a core', digits: 2, unit: '%' },
    ],
    rows: [
      startRow('fresh data directory', fresh),
      startRow('used data directory', again),
      ...restRows,
    ],
    faults: [],
    details: { freshMs: fresh, againMs: again, resting },
  },
  options,
)
