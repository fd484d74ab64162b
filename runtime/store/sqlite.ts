/** The results port on SQLite: one file in the data directory, for the node that collects. */
import { Database, type SQLQueryBindings, type Statement } from 'bun:sqlite'
import { closeSync, fsync, openSync } from 'node:fs'
import { DataDirectoryError, describeError } from '../../actors/errors.ts'
import type { Log, ResultQuery, Results } from '../../actors/ports.ts'
import { moreOf, type ResultBatch } from '../../actors/results.ts'
import { outcomeCode } from '../../machines/outcome.ts'
import { linesOfRows, moreText, type Row, storedOf, taskOf, textOf } from './rows.ts'

/** Of the schema; it stands in the file. */
const version = 3

/** What many rows have in common stands in `origin`; a row is mostly a few small numbers. */
const schema = `
  create table if not exists run (no integer primary key, id text not null unique) strict;
  create table if not exists origin (
    no integer primary key,
    kind text not null,
    attempt integer not null,
    node text not null,
    worker text not null,
    priority text not null,
    unique (kind, attempt, node, worker, priority)
  ) strict;
  create table if not exists result (
    run_no integer not null,
    seq integer not null,
    outcome integer not null,
    origin_no integer not null,
    started_at integer not null,
    duration_ms real not null,
    queue_ms real not null,
    more text,
    attempts text,
    task text,
    primary key (run_no, seq)
  ) strict, without rowid;
  pragma user_version = ${version};
`
const columns = 10
/** Rows of one statement: of the cost of a row, most is that of a statement. */
const rowsTogether = 50

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
  const runs = new Numbered(
    database.query('insert into run (id) values (?) on conflict do nothing'),
    database.query('select no from run where id = ?'),
  )
  const fields = ['kind', 'attempt', 'node', 'worker', 'priority']
  const originPlaces = fields.map(() => '?').join(', ')
  const origins = new Numbered(
    database.query(
      `insert into origin (${fields.join(', ')}) values (${originPlaces}) on conflict do nothing`,
    ),
    database.query(
      `select no from origin where ${fields.map((field) => `${field} = ?`).join(' and ')}`,
    ),
  )
  const insertOf = (rows: number) => {
    const places = `(${Array(columns).fill('?').join(', ')})`
    const values = Array(rows).fill(places).join(', ')
    return database.query(
      `insert into result values ${values} on conflict (run_no, seq) do nothing`,
    )
  }
  const insertOne = insertOf(1)
  const insertMany = insertOf(rowsTogether)

  const putBatch = (batch: ResultBatch) => {
    const { kind, attempt, node, worker, priority = 'normal' } = batch
    const run = runs.made([batch.run])
    const origin = origins.made([kind, attempt, node, worker, priority])
    const said = moreOf(batch)
    let values: SQLQueryBindings[] = []
    let index = 0
    for (const [first, count] of batch.seqs) {
      for (let seq = first; seq < first + count; seq += 1) {
        const more = said?.[index]
        values.push(
          run,
          seq,
          batch.outcomes.charCodeAt(index) - 48,
          origin,
          batch.at + (batch.startedAt[index] ?? 0),
          batch.durationMs[index] ?? 0,
          batch.queueMs[index] ?? 0,
          moreText(more),
          textOf(more?.attempts),
          textOf(more?.task),
        )
        index += 1
        if (values.length === rowsTogether * columns) {
          insertMany.run(...values)
          values = []
        }
      }
    }
    for (let at = 0; at < values.length; at += columns) {
      insertOne.run(...values.slice(at, at + columns))
    }
  }

  const putAll = database.transaction((batches: readonly ResultBatch[]) => {
    for (const batch of batches) putBatch(batch)
  })

  const select = (run: string, { outcomes, after, limit }: ResultQuery): Row[] => {
    const number = runs.found([run])
    if (number === undefined) return []
    const codes = outcomes?.map(outcomeCode) ?? []
    const which = codes.length === 0 ? '' : `and outcome in (${codes.join(', ')})`
    return database
      .query<Row, [number, number, number]>(
        `select * from result join origin on origin.no = origin_no
         where run_no = ? and seq > ? ${which} order by seq limit ?`,
      )
      .all(number, after ?? -1, limit)
  }

  return {
    async put(batches) {
      try {
        putAll.immediate(batches)
        if (options.durability === 'everysec' && file !== ':memory:')
          syncTimer ??= setTimeout(sync, options.syncMs)
      } catch (error) {
        // A transaction that was rolled back may have numbered what is not there now.
        runs.forget()
        origins.forget()
        throw error
      }
    },

    query: async (run, query) => linesOfRows(run, select(run, query)),

    async tasks(run, query) {
      const rows = select(run, query)
      return linesOfRows(run, rows).map((found, index) => Object.assign(found, taskOf(rows[index])))
    },

    async get(run, seq) {
      const [row] = select(run, { after: seq - 1, limit: 1 })
      return row?.seq === seq ? storedOf(run, row) : undefined
    },

    close() {
      clearTimeout(syncTimer)
      database.close()
    },
  }
}

/** Rows with a number of their own, found by what they say. */
class Numbered {
  readonly #insert: Statement
  readonly #select: Statement
  /** Those last used. Bounded: forgetting one costs a look-up. */
  readonly #numbers = new Map<string, number>()

  constructor(insert: Statement, select: Statement) {
    this.#insert = insert
    this.#select = select
  }

  found(values: readonly (string | number)[]): number | undefined {
    const key = values.join('\n')
    const known = this.#numbers.get(key)
    if (known !== undefined) return known
    const { no } = (this.#select.get(...values) as { no: number } | null) ?? {}
    if (no === undefined) return undefined
    if (this.#numbers.size > 1000) this.#numbers.clear()
    this.#numbers.set(key, no)
    return no
  }

  made(values: readonly (string | number)[]): number {
    const known = this.found(values)
    if (known !== undefined) return known
    this.#insert.run(...values)
    return this.found(values) ?? 0
  }

  forget(): void {
    this.#numbers.clear()
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
    const { user_version: foundVersion } = found ?? { user_version: 0 }
    if (foundVersion !== 0 && foundVersion !== version) {
      database.close()
      throw new Error(`expected version ${version} of it, got version ${foundVersion}`)
    }
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
