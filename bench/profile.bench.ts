/**
 * Where does the node's own thread spend its time on a `noop` task, part by part? A real node at
 * default settings under Bun's CPU profiler, or a profile that was made before. A sample counts for
 * the innermost file on its stack, so what Bun does natively counts for whoever asked for it.
 * Shares of samples are made microseconds by the processor time of the node's busiest thread.
 *
 *   bun bench/profile.bench.ts [--quick] [--json] [FILE.cpuprofile]
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../test/kit/directory.ts'
import { keptFaults } from './kit/delivery.ts'
import { fileOf, noopLine } from './kit/lines.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { type Profile, partsOf } from './kit/profile.ts'
import { publish } from './kit/report.ts'
import { submitAndWait } from './kit/stage.ts'
import { busyThreads } from './kit/usage.ts'

interface Measured {
  profile: Profile
  /** Of the node's busiest thread. */
  threadUs?: number
  notes: string[]
  faults: string[]
}

const options = readOptions()
const tasks = options.isQuick ? 100_000 : 1_000_000
const warmUpTasks = 30_000

function read(file: string): Profile {
  return JSON.parse(readFileSync(file, 'utf8')) as Profile
}

async function measure(): Promise<Measured> {
  const folder = temporaryDirectory()
  const env = { BUN_OPTIONS: `--cpu-prof --cpu-prof-dir ${folder}` }
  const node = await BenchNode.start({ env })
  try {
    await submitAndWait(node, Bun.file(await fileOf(noopLine, warmUpTasks)).stream())
    const file = await fileOf(noopLine, tasks)
    const before = node.usage()
    const begun = performance.now()
    const run = await submitAndWait(node, Bun.file(file).stream(), 60_000 + tasks)
    const wallMs = performance.now() - begun
    const after = node.usage()
    // Not through the node: it would show in the profile.
    const faults = await keptFaults(node, run, tasks)
    const usOf = (of: 'node' | 'redis') =>
      busyThreads(before[of], after[of], wallMs).map(({ thread, share }) => {
        return { thread, us: (share * wallMs * 1000) / tasks }
      })
    const [first, ...others] = usOf('node')
    await node.stop()
    const name = readdirSync(folder).find((each) => each.endsWith('.cpuprofile'))
    if (name === undefined) throw new Error(`${folder}: expected a profile, got none`)
    const shown = [...others, ...usOf('redis')].filter(({ us }) => us >= 0.05)
    return {
      profile: read(join(folder, name)),
      ...(first === undefined ? {} : { threadUs: first.us }),
      notes: [
        `${tasks.toLocaleString('en')} noop tasks, the start of the node included`,
        `its other threads and Redis, µs a task: ${shown
          .map(({ thread, us }) => `${thread} ${us.toFixed(2)}`)
          .join(', ')}`,
      ],
      faults,
    }
  } finally {
    await node.stop()
  }
}

const [given] = options.names
const { profile, threadUs, notes, faults } =
  given === undefined ? await measure() : { profile: read(given), notes: [], faults: [] }
await publish(
  {
    bench: 'profile',
    columns: [
      { key: 'part', title: "of the node's own thread" },
      { key: 'percent', title: 'share', digits: 1, unit: '%' },
      { key: 'us', title: 'a task', digits: 2, unit: 'µs' },
    ],
    rows: partsOf(profile).map(({ part, share }) => ({
      part,
      percent: 100 * share,
      us: threadUs === undefined ? undefined : share * threadUs,
    })),
    notes,
    faults,
  },
  options,
)
