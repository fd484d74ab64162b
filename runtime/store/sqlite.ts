/** The results port on SQLite: one file in the data directory, for the node that collects. */
import { Database } from 'bun:sqlite'
import { closeSync, fsync, openSync } from 'node:fs'
import { DataDirectoryError, describeError } from '../../actors/errors.ts'
import type { Attempt, Log, ResultQuery, ResultRow, Results } from '../../actors/ports.ts'
import type { ResultLine } from '../../actors/result.ts'
import { outcomeCode } from '../../machines/outcome.ts'

/** Of the schema; it stands in the file. */
const version = 2

const schema = `
  create table if not exists run (no integer primary key, id text not null unique) strict;
  create table if not exists result (
    run_no integer not null,
    seq integer not null,
    outcome integer not null,
    line text not null,
    attempts text,
    task text,
    primary key (run_no, seq)
  ) strict, without rowid;
  pragma user_version = ${version};
`

export interface SqliteOptions {
  /** `always`: rows are on the disk before they count. `everysec`: within `syncMs`. */
  durability: 'everysec' | 'always'
  syncMs: number
  log: Pick<Log, 'warn'>
}

/** 10 ms apart. */
const keepLogTries = 500

const defaults: SqliteOptions = { durability: 'always', syncMs: 500, log: { warn() {} } }

/**
 * @param file path of the database, or ':memory:'
 * @throws DataDirectoryError when the file cannot be made or is not ours
 */
export function sqliteResults(
  file: string,
  options: SqliteOptions = defaults,
): Results & { close(): void } {
  const database = open(file, options)
  let syncTimer: ReturnType<typeof setTimeout> | undefined

  // SQLite itself would sync its log only when it is full, which may be much later than Redis.
  const sync = () => {
    syncTimer = undefined
    try {
      const descriptor = openSync(`${file}-wal`, 'r')
      fsync(descriptor, (error) => {
        closeSync(descriptor)
        if (error !== null) options.log.warn({ file, error: error.message }, 'cannot sync results')
      })
    } catch (error) {
      options.log.warn({ file, ...describeError(error) }, 'cannot sync results')
    }
  }
  const insertRun = database.query('insert into run (id) values (?) on conflict do nothing')
  const selectRun = database.query<{ no: number }, [string]>('select no from run where id = ?')
  const insert = database.query(
    'insert into result (run_no, seq, outcome, line, attempts, task) values (?, ?, ?, ?, ?, ?) ' +
      'on conflict (run_no, seq) do nothing',
  )
  /** Numbers of the runs last used. Bounded: forgetting one costs a look-up. */
  const numbers = new Map<string, number>()

  const findNumber = (run: string): number | undefined => {
    const known = numbers.get(run) ?? selectRun.get(run)?.no
    if (known !== undefined) {
      if (numbers.size > 1000) numbers.clear()
      numbers.set(run, known)
    }
    return known
  }

  const putAll = database.transaction((rows: readonly ResultRow[]) => {
    for (const { run, seq, outcome, line, attempts, task } of rows) {
      let number = findNumber(run)
      if (number === undefined) {
        insertRun.run(run)
        number = findNumber(run) ?? 0
      }
      insert.run(number, seq, outcomeCode(outcome), line, attempts ?? null, task ?? null)
    }
  })

  const select = <Row>(
    columns: string,
    run: string,
    { outcomes, after, limit }: ResultQuery,
  ): Row[] => {
    const number = findNumber(run)
    if (number === undefined) return []
    const codes = outcomes?.map(outcomeCode) ?? []
    const which = codes.length === 0 ? '' : `and outcome in (${codes.join(', ')})`
    const where = `run_no = ? and seq > ? ${which} order by seq limit ?`
    return database
      .query<Row, [number, number, number]>(`select ${columns} from result where ${where}`)
      .all(number, after ?? -1, limit)
  }

  return {
    async put(rows) {
      try {
        putAll.immediate(rows)
        if (options.durability === 'everysec' && file !== ':memory:')
          syncTimer ??= setTimeout(sync, options.syncMs)
      } catch (error) {
        // A transaction that was rolled back may have numbered a run that is not there now.
        numbers.clear()
        throw error
      }
    },

    query: async (run, query) => select<{ seq: number; line: string }>('seq, line', run, query),

    async tasks(run, query) {
      const rows = select<{ seq: number; line: string; task: string | null }>(
        'seq, line, task',
        run,
        query,
      )
      return rows.map(({ task, ...row }) => (task === null ? row : { ...row, task }))
    },

    async get(run, seq) {
      const number = findNumber(run)
      if (number === undefined) return undefined
      const row = database
        .query<{ line: string; attempts: string | null }, [number, number]>(
          'select line, attempts from result where run_no = ? and seq = ?',
        )
        .get(number, seq)
      if (row === null) return undefined
      return {
        line: JSON.parse(row.line) as ResultLine,
        attempts: row.attempts === null ? [] : (JSON.parse(row.attempts) as Attempt[]),
      }
    },

    close() {
      clearTimeout(syncTimer)
      database.close()
    },
  }
}

function open(file: string, { durability }: SqliteOptions): Database {
  try {
    const database = new Database(file, { create: true })
    // First of all: making the file takes turns, too.
    database.run('pragma busy_timeout = 10000')
    keepLog(database)
    // A killed process loses nothing either way; this is about the loss of power.
    database.run(`pragma synchronous = ${durability === 'always' ? 'full' : 'normal'}`)
    const found = database.query<{ user_version: number }, []>('pragma user_version').get()
    if ((found?.user_version ?? 0) > version) {
      database.close()
      throw new Error(`expected version ${version} of it, got version ${found?.user_version}`)
    }
    if (found?.user_version === 1) database.run('alter table result add column task text')
    database.run(schema)
    return database
  } catch (error) {
    throw new DataDirectoryError(
      `cannot open the result store ${file}: ${describeError(error).message}; ` +
        'choose another directory with --data, or make this one writable',
      { cause: error },
    )
  }
}

/**
 * Writes go to a log beside the file. Of two that turn a new file to that at the same moment one is
 * refused at once, whatever its time limit: each would wait for the other.
 */
function keepLog(database: Database): void {
  for (let triesLeft = keepLogTries; ; triesLeft -= 1) {
    try {
      database.run('pragma journal_mode = wal')
      return
    } catch (error) {
      if (!describeError(error).code.startsWith('SQLITE_BUSY') || triesLeft <= 1) throw error
      Bun.sleepSync(10)
    }
  }
}
