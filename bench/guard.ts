/**
 * Has something become twice as slow? Measures quickly and compares ratios, never times, with
 * those of baseline.json: what a task costs in Muster and in plain BullMQ, and what a command
 * costs in Muster and started bare, each in one run on one machine. Loosely: fails only where a
 * ratio is under half of the baseline, twice.
 *
 *   bun bench/guard.ts                 measure and compare
 *   bun bench/guard.ts --write         measure and make that the baseline
 *   bun bench/guard.ts --reports FILE  compare what was measured before (NDJSON)
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Report } from './kit/report.ts'

type Ratios = Record<string, Record<string, number>>

const baselineFile = join(import.meta.dir, 'baseline.json')
// Of processor time: neighbours on the machine change it far less than what is done a second.
const guarded: Record<string, readonly string[]> = {
  'versus-bullmq': ['CPU of plain BullMQ ÷ of Muster'],
  exec: ['CPU of Bun.spawn, output read ÷ of Muster'],
}
/** Of the baseline. */
const leastShare = 0.5
const benchLimitMs = 120_000

async function measure(bench: string): Promise<Report> {
  const file = join(import.meta.dir, `${bench}.bench.ts`)
  const child = Bun.spawn([process.execPath, '--no-install', file, '--quick', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: benchLimitMs,
  })
  const text = await new Response(child.stdout).text()
  if ((await child.exited) !== 0) {
    throw new Error(`${bench}: ended with ${child.exitCode ?? child.signalCode}: ${text}`)
  }
  return JSON.parse(text) as Report
}

function guardedOf(reports: readonly Report[]): Ratios {
  const ratios: Ratios = {}
  for (const { bench, ratios: found = {} } of reports) {
    const names = guarded[bench] ?? []
    const rounded = names.map((name) => [name, Number(found[name]?.toPrecision(3))] as const)
    if (names.length > 0) ratios[bench] = Object.fromEntries(rounded)
  }
  return ratios
}

/** The benchmarks of which some ratio is missing, or too low. */
function compare(baseline: Ratios, measured: Ratios): string[] {
  const low = new Set<string>()
  for (const [bench, names] of Object.entries(guarded)) {
    for (const name of names) {
      const before = baseline[bench]?.[name] ?? Number.NaN
      const now = measured[bench]?.[name] ?? Number.NaN
      const isLow = !(now >= before * leastShare)
      if (isLow) low.add(bench)
      console.log(`${isLow ? 'LOW ' : 'ok  '} ${bench}: ${name}: ${now}, baseline ${before}`)
    }
  }
  return [...low]
}

const { values } = parseArgs({
  options: { write: { type: 'boolean' }, reports: { type: 'string' } },
})

async function firstLook(): Promise<Ratios> {
  if (values.reports !== undefined) {
    const lines = readFileSync(values.reports, 'utf8').trim().split('\n')
    return guardedOf(lines.map((line) => JSON.parse(line) as Report))
  }
  const reports: Report[] = []
  for (const bench of Object.keys(guarded)) reports.push(await measure(bench))
  return guardedOf(reports)
}

const measured = await firstLook()
if (values.write === true) {
  writeFileSync(baselineFile, `${JSON.stringify(measured, null, 2)}\n`)
  console.log(`wrote ${baselineFile}`)
} else {
  const baseline = JSON.parse(readFileSync(baselineFile, 'utf8')) as Ratios
  let low = compare(baseline, measured)
  if (low.length > 0 && values.reports === undefined) {
    // A neighbour on the machine may have taken a core for a while.
    console.log('measuring once more')
    for (const bench of low) Object.assign(measured, guardedOf([await measure(bench)]))
    low = compare(baseline, measured)
  }
  if (low.length > 0) process.exitCode = 1
}
