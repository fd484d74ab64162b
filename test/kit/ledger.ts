/** What a data directory has on record of a run, read past the program that wrote it. */
import { Database } from 'bun:sqlite'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { outcomeOf } from '../../machines/outcome.ts'

export interface Ledger {
  /** Rows of the result store: seq and outcome, by seq. */
  rows: { seq: number; outcome: string }[]
  /** The seqs the audit log has a line of. */
  audited: Set<number>
}

/** A store that is not there yet has no rows. */
export function readLedger(dataDir: string, run: string): Ledger {
  return { rows: readRows(dataDir, run), audited: readAudit(dataDir, run) }
}

/** Rows of all runs together, cheaply: how far the work has come. */
export function countRows(dataDir: string): number {
  return withStore(dataDir, (store) => {
    const row = store.query<{ rows: number }, []>('select count(*) as rows from result').get()
    return row?.rows ?? 0
  })
}

function readRows(dataDir: string, run: string): Ledger['rows'] {
  const found = withStore(dataDir, (store) =>
    store
      .query<{ seq: number; outcome: number }, [string]>(
        'select seq, outcome from result join run on run.no = run_no where id = ? order by seq',
      )
      .all(run),
  )
  if (typeof found === 'number') return []
  return found.map(({ seq, outcome }) => ({ seq, outcome: outcomeOf(outcome) ?? 'none' }))
}

function withStore<Value>(dataDir: string, read: (store: Database) => Value): Value | 0 {
  const file = join(dataDir, 'results.sqlite')
  if (!existsSync(file)) return 0
  const store = new Database(file, { readwrite: true })
  try {
    store.run('pragma busy_timeout = 5000')
    return read(store)
  } catch (error) {
    // The file is made before its tables are.
    if (error instanceof Error && error.message.includes('no such table')) return 0
    throw error
  } finally {
    store.close()
  }
}

function readAudit(dataDir: string, run: string): Set<number> {
  const folder = join(dataDir, 'audit')
  const seqs = new Set<number>()
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    for (const line of readFileSync(join(folder, name), 'utf8').split('\n')) {
      const entry = readLine(line)
      if (entry?.run === run) seqs.add(entry.seq)
    }
  }
  return seqs
}

/** Undefined where a writer was killed in the middle of the line: it is written again, whole. */
function readLine(line: string): { run: string; seq: number } | undefined {
  try {
    return JSON.parse(line) as { run: string; seq: number }
  } catch {
    return undefined
  }
}
