/**
 * How many subprocesses a second? Tasks of kind `exec` that run `true` on a real node (spawned,
 * watched, output kept, accounted for, stored, logged), against the ways to just start as many:
 * bare Bun.spawn, `xargs -P` and GNU parallel, as many at a time, in turns.
 *
 *   bun bench/exec.bench.ts [--quick] [--json]
 */
import { availableParallelism } from 'node:os'
import type { Run } from '../runtime/index.ts'
import { deliveryFaults } from './kit/delivery.ts'
import { comparison, inTurns, median, type Pace, slowest } from './kit/figures.ts'
import { fileOf } from './kit/lines.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'
import { submitAndWait } from './kit/stage.ts'
import { processorMs } from './kit/usage.ts'

const options = readOptions()
const commands = options.isQuick ? 400 : 5000
const warmUpCommands = options.isQuick ? 100 : 500
const rounds = options.isQuick ? 2 : 7
const width = availableParallelism()
const program = Bun.which('true') ?? '/bin/true'
const line = JSON.stringify({ kind: 'exec', input: { argv: [program] } })
const faults: string[] = []

/** How fast so many are done, and at what cost to a process and its children. */
async function pace(pid: number, work: () => Promise<number | undefined>): Promise<Pace> {
  const before = processorMs(pid)
  const begun = performance.now()
  // Muster has a clock of its own.
  const ms = (await work()) ?? performance.now() - begun
  const cpuUs = ((processorMs(pid) - before) * 1000) / commands
  return { perSecond: (commands / ms) * 1000, cpuUs }
}

/** Runs them side by side, each starting the next one. */
const sideBySide = (one: () => Promise<void>) =>
  pace(process.pid, async () => {
    let left = commands
    const next = async () => {
      while (left > 0) {
        left -= 1
        await one()
      }
    }
    await Promise.all(Array.from({ length: width }, next))
    return undefined
  })

async function spawnBare(): Promise<void> {
  const child = Bun.spawn([program], { stdio: ['ignore', 'ignore', 'ignore'] })
  if ((await child.exited) !== 0) faults.push(`bare Bun.spawn: ended with ${child.exitCode}`)
}

/** What it says is read, as it must be by whoever keeps it. */
async function spawnAndRead(): Promise<void> {
  const child = Bun.spawn([program], { stdio: ['ignore', 'pipe', 'pipe'] })
  await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
}

function byProgram(argv: readonly string[]): Promise<Pace> {
  const numbers = Array.from({ length: commands }, (_, index) => `${index}\n`).join('')
  return pace(process.pid, async () => {
    const child = Bun.spawn([...argv], {
      stdin: new TextEncoder().encode(numbers),
      stdout: 'ignore',
      stderr: 'ignore',
    })
    if ((await child.exited) !== 0) faults.push(`${argv[0]}: ended with ${child.exitCode}`)
    return undefined
  })
}

const node = await BenchNode.start()
const file = await fileOf(line, commands)

async function muster(): Promise<Pace> {
  let run: Run | undefined
  const measured = await pace(node.pid, async () => {
    run = await submitAndWait(node, Bun.file(file).stream())
    return (run.finishedAt ?? Number.NaN) - run.createdAt
  })
  if (run !== undefined) faults.push(...(await deliveryFaults(node, run, commands)))
  return measured
}

/** The name is also that of another program. */
function isGnuParallel(): boolean {
  if (Bun.which('parallel') === null) return false
  return Bun.spawnSync(['parallel', '--version']).stdout.toString().includes('GNU')
}

const titles = {
  muster: 'Muster, kind exec',
  spawn: 'Bun.spawn, output ignored',
  spawnAndRead: 'Bun.spawn, output read',
  xargs: `xargs -P ${width}`,
  parallel: `GNU parallel -j ${width}`,
}
const hasParallel = isGnuParallel()
let paces: Record<string, Pace[]> = {}
try {
  await submitAndWait(node, Bun.file(await fileOf(line, warmUpCommands)).stream())
  const sides: Record<string, () => Promise<Pace>> = {
    muster,
    spawn: () => sideBySide(spawnBare),
    spawnAndRead: () => sideBySide(spawnAndRead),
    xargs: () => byProgram(['xargs', '-P', `${width}`, '-n', '1', program]),
  }
  if (hasParallel) {
    sides['parallel'] = () => byProgram(['parallel', '-j', `${width}`, program])
  }
  paces = await inTurns(rounds, sides)
} finally {
  await node.stop()
}
if (!hasParallel) say('GNU parallel is not installed: left out')

const ways = Object.keys(titles) as (keyof typeof titles)[]
const rows = ways.flatMap((way): Row[] => {
  const all = paces[way]
  if (all === undefined) return []
  const rates = all.map(({ perSecond }) => perSecond)
  const cpuUs = median(all.map((one) => one.cpuUs))
  return [
    { what: titles[way], rounds: all.length, rate: median(rates), slowest: slowest(rates), cpuUs },
  ]
})
const against = (way: keyof typeof titles) => comparison(paces['muster'] ?? [], paces[way] ?? [])
await publish(
  {
    bench: 'exec',
    columns: [
      { key: 'what', title: `${commands} times ${program}` },
      { key: 'rounds', title: 'rounds' },
      { key: 'rate', title: 'commands/s' },
      { key: 'slowest', title: 'p99 (slowest)' },
      { key: 'cpuUs', title: 'CPU a command, its own too', unit: 'µs' },
    ],
    rows,
    ratios: {
      'Muster ÷ Bun.spawn': against('spawn').throughput,
      'Muster ÷ Bun.spawn, output read': against('spawnAndRead').throughput,
      'Muster ÷ xargs -P': against('xargs').throughput,
      'CPU of Bun.spawn, output read ÷ of Muster': against('spawnAndRead').processorTime,
      ...(hasParallel ? { 'Muster ÷ GNU parallel': against('parallel').throughput } : {}),
    },
    notes: [
      `${width} at a time each; Muster by the run's own clock, every command found exactly once`,
    ],
    faults,
  },
  options,
)
