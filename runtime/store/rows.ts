/** Rows of the result store, in whichever database, and what is made of them. */
import type { Attempt, StoredResult } from '../../actors/ports.ts'
import type { ResultLine } from '../../actors/result.ts'
import { lineWriter, type More } from '../../actors/results.ts'

/** A row of the store, with what it has in common with others. */
export interface Row {
  seq: number
  outcome: number
  started_at: number
  duration_ms: number
  queue_ms: number
  more: string | null
  attempts: string | null
  task: string | null
  kind: string
  attempt: number
  node: string
  worker: string
  priority: string
}

export function linesOfRows(run: string, rows: readonly Row[]): { seq: number; line: string }[] {
  return rows.map((row) => {
    const { seq, outcome: code, started_at: startedAt } = row
    const write = lineWriter({ run, ...row })
    const measured = { startedAt, durationMs: row.duration_ms, queueMs: row.queue_ms }
    const more = row.more === null ? null : (JSON.parse(row.more) as More)
    return { seq, line: write({ seq, code, ...measured }, more) }
  })
}

export function taskOf(row: Row | undefined): { task?: string } {
  if (row === undefined || (row.task === null && row.priority === 'normal')) return {}
  if (row.priority === 'normal') return { task: row.task ?? '{}' }
  return { task: JSON.stringify({ ...JSON.parse(row.task ?? '{}'), priority: row.priority }) }
}

export const textOf = (value: unknown) => (value === undefined ? null : JSON.stringify(value))

/** What stands in the line of a task, beside what all have. */
export function moreText(more: More | null | undefined): string | null {
  if (more === null || more === undefined) return null
  const { attempts: _, task: __, ...said } = more
  return Object.keys(said).length === 0 ? null : JSON.stringify(said)
}

export function storedOf(run: string, row: Row): StoredResult {
  const [found] = linesOfRows(run, [row])
  const { routing } = (JSON.parse(row.more ?? '{}') as More | null) ?? {}
  return {
    line: JSON.parse(found?.line ?? '') as ResultLine,
    attempts: row.attempts === null ? [] : (JSON.parse(row.attempts) as Attempt[]),
    ...(routing === undefined ? {} : { routing }),
  }
}
