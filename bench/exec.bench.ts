/**
 * How many subprocesses a second? Tasks of kind `exec` that run `true` on a real node (spawned,
 * watched, output kept, accounted for, stored, logged), against the ways to just start as many: bare
 * Bun.spawn, `xargs -P` and GNU parallel, as many at a time, in turns.
 *
 *   bun bench/exec.bench.ts [--quick] [--json]
 */
import { availableParallelism } from 'node:os'
import { deliveryFaults } from './kit/delivery.ts'
import { inTurns, median, slowest } from './kit/figures.ts'
import { fileOf } from './kit/lines.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'
import { submitAndWait } from './kit/stage.ts'

const options = readOptions()
const commands = options.isQuick ? 400 : 5000
const warmUpCommands = options.isQuick ? 100 : 500
const rounds = options.isQuick ? 2 : 7
const width = availableParallelism()
const program = Bun.which('true') ?? '/bin/true'
const line = JSON.stringify({ kind: 'exec', input: { argv: [program] } })
const faults: string[] = []

/** Runs so many side by side, each starting the next one. */
async function sideBySide(one: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  let left = commands
  const next = async () => {
    while (left > 0) {
      left -= 1
      await one()
    }
  }
  await Promise.all(Array.from({ length: width }, next))
  return (commands / (performance.now() - begun)) * 1000
}

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

async function byProgram(argv: readonly string[]): Promise<number> {
  const numbers = Array.from({ length: commands }, (_, index) => `${index}\n`).join('')
  const begun = performance.now()
  const child = Bun.spawn([...argv], {
    stdin: new TextEncoder().encode(numbers),
    stdout: 'ignore',
    stderr: 'ignore',
  })
  if ((await child.exited) !== 0) faults.push(`${argv[0]}: ended with ${child.exitCode}`)
  return (commands / (performance.now() - begun)) * 1000
}

const node = await BenchNode.start()
const file = await fileOf(line, commands)

async function muster(): Promise<number> {
  const run = await submitAndWait(node, Bun.file(file).stream())
  faults.push(...(await deliveryFaults(node, run, commands)))
  return (commands / ((run.finishedAt ?? Number.NaN) - run.createdAt)) * 1000
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
let rates: Record<string, number[]> = {}
try {
  await submitAndWait(node, Bun.file(await fileOf(line, warmUpCommands)).stream())
  const sides: Record<string, () => Promise<number>> = {
    muster,
    spawn: () => sideBySide(spawnBare),
    spawnAndRead: () => sideBySide(spawnAndRead),
    xargs: () => byProgram(['xargs', '-P', `${width}`, '-n', '1', program]),
  }
  if (hasParallel) {
    sides['parallel'] = () => byProgram(['parallel', '-j', `${width}`, program])
  }
  rates = await inTurns(rounds, sides)
} finally {
  await node.stop()
}
if (!hasParallel) say('GNU parallel is not installed: left out')

const ways = Object.keys(titles) as (keyof typeof titles)[]
const rows = ways.flatMap((way): Row[] => {
  const all = rates[way]
  if (all === undefined) return []
  return [{ what: titles[way], rounds: all.length, rate: median(all), slowest: slowest(all) }]
})
const ratioTo = (way: keyof typeof titles) =>
  median((rates['muster'] ?? []).map((rate, round) => rate / (rates[way]?.[round] ?? Number.NaN)))
await publish(
  {
    bench: 'exec',
    columns: [
      { key: 'what', title: `${commands} times ${program}` },
      { key: 'rounds', title: 'rounds' },
      { key: 'rate', title: 'commands/s' },
      { key: 'slowest', title: 'p99 (slowest)' },
    ],
    rows,
    ratios: {
      'Muster ÷ Bun.spawn': ratioTo('spawn'),
      'Muster ÷ Bun.spawn, output read': ratioTo('spawnAndRead'),
      'Muster ÷ xargs -P': ratioTo('xargs'),
      ...(hasParallel ? { 'Muster ÷ GNU parallel': ratioTo('parallel') } : {}),
    },
    notes: [
      `${width} at a time each; Muster by the run's own clock, every command found exactly once`,
    ],
    faults,
  },
  options,
)
