/** What a benchmark says: one shape for the table, for `--json`, for the guard and the README. */
import { describeMachine, type Machine, machineLine } from './machine.ts'
import type { Options } from './options.ts'
import { markdownTable } from './table.ts'

export interface Column {
  key: string
  title: string
  /** Digits behind the point; 0 when it is not said. */
  digits?: number
  unit?: string
}

export type Row = Record<string, string | number | undefined>

/** What a benchmark measured. */
export interface Findings {
  bench: string
  columns: readonly Column[]
  rows: readonly Row[]
  /** Quotients of figures of one run: they mean the same on another machine. */
  ratios?: Record<string, number>
  /** What must be known to read the table. */
  notes?: readonly string[]
  /** What was wrong with the work itself: figures of wrong work are worth nothing. */
  faults: readonly string[]
  /** For machines alone. */
  details?: unknown
}

export type Report = Findings & { isQuick: boolean; machine: Machine }

/** Prints it, and ends with 1 if there are faults. */
export async function publish(findings: Findings, options: Options): Promise<void> {
  const report: Report = {
    ...findings,
    isQuick: options.isQuick,
    machine: await describeMachine(),
  }
  console.log(options.isJson ? JSON.stringify(report) : forPeople(report))
  if (report.faults.length > 0) process.exitCode = 1
}

function forPeople(report: Report): string {
  const { bench, columns, rows, ratios = {}, notes = [], faults } = report
  const lines = [`## ${bench}`, '', markdownTable(columns, rows), '']
  for (const [name, ratio] of Object.entries(ratios)) lines.push(`${name}: ${ratio.toFixed(2)}`)
  lines.push(...notes, machineLine(report.machine))
  if (report.isQuick) lines.push('quick: few and small rounds, not to be quoted')
  lines.push(...faults.map((fault) => `WRONG: ${fault}`), '')
  return lines.join('\n')
}

/** Progress, for people who wait. */
export function say(text: string): void {
  console.error(text)
}
