/** The results port on PostgreSQL: one store for a fleet, written and read by any of its nodes. */
import type { Pool, PoolClient } from 'pg'
import { describeError, UnavailableError, UsageError } from '../../actors/errors.ts'
import type {
  Dependency,
  DependencyListener,
  Log,
  ResultQuery,
  Results,
} from '../../actors/ports.ts'
import type { ResultBatch } from '../../actors/results.ts'
import { hidePassword } from '../../config/secret.ts'
import { outcomeCode } from '../../machines/outcome.ts'
import { atMost } from '../mailbox/receiver.ts'
import { insertsOf, insertText } from './postgres-rows.ts'
import { migrate } from './postgres-schema.ts'
import { linesOfRows, type Row, storedOf, taskOf } from './rows.ts'

export interface PostgresOptions {
  /** `postgres://…`; may carry a password. */
  url: string
  connectionsMax: number
  /** How long one statement may take. */
  timeoutMs: number
  log: Pick<Log, 'info' | 'warn'>
}

/** A store that may be away for a while, and what it is asked meanwhile fails at once. */
export interface PostgresResults extends Dependency {
  readonly results: Results
  /** For people: without the password. */
  readonly address: string
  /** The same by whichever URL it is reached; undefined before it was open. */
  readonly id: string | undefined
  /** Why it cannot be used now, or undefined. */
  trouble(): string | undefined
}

/** Away at start is told within 5 s. */
const connectMs = 4000
/** The server ends a statement first; if it does not say so either, it is not there. */
const silenceMs = 2000
/** Between two looks whether it is still there, and how long it may take to answer. */
const pulseMs = 2000
const answerMs = 5000
const closeMs = 1500

/** Of what may be larger than 32 bits `pg` would make text. */
const selectText = `
  select seq, outcome, started_at::float8 as started_at, duration_ms, queue_ms, more, attempts,
    task, kind, attempt, node, worker, priority
  from muster.result join muster.origin on origin.id = result.origin
  where run = $1`

/** @throws UsageError when the URL cannot be understood */
export function postgresResults(options: PostgresOptions): PostgresResults {
  if (!URL.canParse(options.url.replace('@/', '@host/'))) {
    throw new UsageError(
      `store.url: expected postgres://[user[:password]@]host[:port]/database, ` +
        `got ${hidePassword(options.url)}; write characters such as / in a password as %2F`,
    )
  }
  return new PostgresStore(options)
}

class PostgresStore implements PostgresResults {
  readonly address: string
  id: string | undefined
  readonly results: Results = {
    put: (batches) => this.#asked(() => this.#put(batches)),
    query: async (run, query) => linesOfRows(run, await this.#select(run, query)),
    tasks: async (run, query) => {
      const rows = await this.#select(run, query)
      return linesOfRows(run, rows).map((found, index) => Object.assign(found, taskOf(rows[index])))
    },
    get: async (run, seq) => {
      const [row] = await this.#read(`${selectText} and seq = $2::bigint`, [run, seq])
      return row === undefined ? undefined : storedOf(run, row)
    },
  }
  readonly #options: PostgresOptions
  #pool: Pool | undefined
  #listener: DependencyListener | undefined
  #trouble: string | undefined = 'not open'
  #pulse: ReturnType<typeof setInterval> | undefined

  constructor(options: PostgresOptions) {
    this.#options = options
    this.address = hidePassword(options.url)
  }

  trouble(): string | undefined {
    if (this.#trouble === undefined) return undefined
    return `PostgreSQL at ${this.address} is away (${this.#trouble})`
  }

  async open(listener: DependencyListener): Promise<void> {
    const pool = await this.#makePool()
    try {
      const client = await pool.connect()
      try {
        await this.#prepare(client)
      } finally {
        client.release()
      }
    } catch (error) {
      await this.close()
      const { code, message } = describeError(error)
      throw new UnavailableError(
        `cannot use the result store at ${this.address}: ${message}; ` +
          'see to it that PostgreSQL is up there, or set store.url to where it is',
        { cause: error, ...(error instanceof UnavailableError ? { code } : {}) },
      )
    }
    this.#listener = listener
    this.#trouble = undefined
    this.#pulse = setInterval(() => {
      if (this.#trouble === undefined) void this.#isThere()
    }, pulseMs)
  }

  async revive(): Promise<void> {
    if (!(await this.#isThere()) || this.#pool === undefined) return
    if (this.#trouble !== undefined) {
      this.#options.log.info({ store: this.address }, 'PostgreSQL is back')
    }
    this.#trouble = undefined
    this.#listener?.back()
  }

  async close(): Promise<void> {
    const pool = this.#pool
    this.#pool = undefined
    this.#listener = undefined
    this.#trouble = 'not open'
    clearInterval(this.#pulse)
    // It waits for statements that may never end.
    if (pool !== undefined) await atMost(closeMs, pool.end())
  }

  async #makePool(): Promise<Pool> {
    // Loaded here: whoever keeps results in SQLite needs none of it.
    const { Pool } = await import('pg')
    const { url, connectionsMax, timeoutMs } = this.#options
    const pool = new Pool({
      connectionString: url,
      application_name: 'muster',
      max: connectionsMax,
      // One stays, and says when its server goes.
      min: 1,
      keepAlive: true,
      connectionTimeoutMillis: connectMs,
      statement_timeout: timeoutMs,
      query_timeout: timeoutMs + silenceMs,
      // One that stands still in the middle of a batch would hold up whoever has the same rows.
      idle_in_transaction_session_timeout: timeoutMs,
    })
    pool.on('error', (error) => this.#meet(error))
    this.#pool = pool
    return pool
  }

  async #prepare(client: PoolClient): Promise<void> {
    const encoding = await settingOf(client, 'server_encoding')
    if (encoding !== 'UTF8') {
      throw new UnavailableError(`expected a database with the encoding UTF8, got ${encoding}`)
    }
    const commit = await settingOf(client, 'synchronous_commit')
    if (commit === 'off') {
      const message = 'rows that were counted are lost when PostgreSQL crashes'
      this.#options.log.warn({ store: this.address, synchronous_commit: commit }, message)
    }
    await migrate(client)
    const { rows } = await client.query<{ id: string }>('select id from muster.store')
    this.id = rows[0]?.id
  }

  async #put(batches: readonly ResultBatch[]): Promise<void> {
    const [first, ...others] = insertsOf(batches)
    if (first === undefined) return
    if (others.length === 0) {
      await this.#poolOrThrow().query(insertText, first)
      return
    }
    const client = await this.#poolOrThrow().connect()
    try {
      await client.query('begin')
      for (const values of [first, ...others]) await client.query(insertText, values)
      await client.query('commit')
      client.release()
    } catch (error) {
      // With its connection the transaction ends.
      client.release(true)
      throw error
    }
  }

  #select(run: string, { outcomes = [], after = -1, limit }: ResultQuery): Promise<Row[]> {
    const which = outcomes.length === 0 ? '' : 'and outcome = any($4::smallint[])'
    return this.#read(
      `${selectText} and seq > $2::bigint ${which} order by seq limit $3::bigint`,
      outcomes.length === 0
        ? [run, after, limit]
        : [run, after, limit, outcomes.map((outcome) => outcomeCode(outcome))],
    )
  }

  async #read(text: string, values: unknown[]): Promise<Row[]> {
    const { rows } = await this.#asked(() => this.#poolOrThrow().query<Row>(text, values))
    return rows
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    const trouble = this.trouble()
    if (trouble !== undefined) throw new UnavailableError(trouble)
    try {
      return await ask()
    } catch (error) {
      if (isAwayBy(error)) this.#meet(error)
      if (!isAwayBy(error) && !isRefusal(error)) throw error
      const { message } = describeError(error)
      throw new UnavailableError(`PostgreSQL at ${this.address}: ${message}`, { cause: error })
    }
  }

  async #isThere(): Promise<boolean> {
    try {
      const query = { text: 'select 1', query_timeout: answerMs }
      await this.#poolOrThrow().query(query)
      return true
    } catch (error) {
      if (isAwayBy(error)) this.#meet(error)
      return !isAwayBy(error)
    }
  }

  /** It is not there any more, or not yet again. */
  #meet(error: unknown): void {
    if (this.#listener === undefined) return
    const { message } = describeError(error)
    const isNews = this.#trouble === undefined
    this.#trouble = message
    if (!isNews) return
    this.#options.log.warn({ store: this.address, error: message }, 'PostgreSQL is away')
    this.#listener.lost()
  }

  #poolOrThrow(): Pool {
    if (this.#pool !== undefined) return this.#pool
    throw new UnavailableError(`PostgreSQL at ${this.address} is not open`)
  }
}

async function settingOf(client: PoolClient, name: string): Promise<string | undefined> {
  const { rows } = await client.query<{ value: string }>('select current_setting($1) as value', [
    name,
  ])
  return rows[0]?.value
}

/** Said by the server: the class is in the first two of five characters. */
const serverCode = /^[0-9A-Z]{5}$/
/** It does not let us in, or goes down, or comes up, or there are too many. */
const awayCode = /^(08|28|3D|57P|53300)/
/** It is there and cannot do that now: no room, no writing, took too long, a deadlock. */
const refusalCode = /^(25|40|53|55|57|58)/
/** Of the pool: all of its connections are at work. */
const busy = 'timeout exceeded when trying to connect'

function isAwayBy(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError) {
    return false
  }
  if (error instanceof UnavailableError || error.message === busy) return false
  const { code } = describeError(error)
  return isOfServer(error) ? awayCode.test(code) : true
}

function isRefusal(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return (
    error.message === busy || (isOfServer(error) && refusalCode.test(describeError(error).code))
  )
}

function isOfServer(error: Error): boolean {
  return 'severity' in error && serverCode.test(describeError(error).code)
}
