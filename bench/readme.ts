/**
 * Puts what the benchmarks measured into the README, between the marks of each benchmark:
 *
 *   <!-- bench:pipeline -->
 *   <!-- /bench:pipeline -->
 *
 * What stands between them is replaced. No other number of a benchmark belongs into the README.
 *
 *   npm run bench -- --json > reports.ndjson
 *   bun bench/readme.ts reports.ndjson [--check] [--readme FILE]
 *
 * With --check nothing is written; exits with 1 if something would be. Quick reports, and those of
 * work that went wrong, are refused.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { machineLine } from './kit/machine.ts'
import { misused } from './kit/options.ts'
import type { Report } from './kit/report.ts'
import { markdownTable } from './kit/table.ts'

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean' }, readme: { type: 'string' } },
  allowPositionals: true,
})
const readme = values.readme ?? join(import.meta.dir, '..', 'README.md')
if (positionals.length === 0) misused('expected a file of reports: npm run bench -- --json > FILE')

function sectionOf({ columns, rows, ratios = {}, notes = [], machine }: Report): string {
  const quotients = Object.entries(ratios).map(([name, ratio]) => `${name}: ${ratio.toFixed(2)}.`)
  const below = [...quotients, `${[...notes, machineLine(machine)].join('; ')}.`]
  return `${markdownTable(columns, rows)}\n\n${below.join(' ')}`
}

/** Undefined when the text has no place for it. */
function placed(text: string, bench: string, section: string): string | undefined {
  const [begin, end] = [`<!-- bench:${bench} -->`, `<!-- /bench:${bench} -->`]
  const from = text.indexOf(begin)
  const to = text.indexOf(end, from)
  if (from < 0 || to < 0) return undefined
  return `${text.slice(0, from + begin.length)}\n${section}\n${text.slice(to)}`
}

const before = readFileSync(readme, 'utf8')
let after = before
for (const line of positionals.flatMap((file) => readFileSync(file, 'utf8').trim().split('\n'))) {
  const report = JSON.parse(line) as Partial<Report> & { bench: string }
  const { bench, columns, faults = [] } = report
  if (columns === undefined) {
    console.error(`${bench}: left out, it has no table`)
    continue
  }
  if (report.isQuick === true || faults.length > 0) {
    misused(
      `${bench}: ${faults[0] ?? 'a quick report is not to be quoted; run it without --quick'}`,
    )
  }
  const placedText = placed(after, bench, sectionOf(report as Report))
  if (placedText === undefined) console.error(`${bench}: no place, ${readme} has no marks for it`)
  else after = placedText
}
if (values.check === true) {
  if (after !== before) {
    console.error(
      `${readme} does not show these reports: bun bench/readme.ts ${positionals.join(' ')}`,
    )
    process.exitCode = 1
  }
} else if (after !== before) writeFileSync(readme, after)
