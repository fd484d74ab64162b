/** The result store in PostgreSQL, beyond what every store must do. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { Client } from 'pg'
import { UnavailableError, UsageError } from '../../actors/errors.ts'
import {
  type PostgresOptions,
  type PostgresResults,
  postgresResults,
} from '../../runtime/store/postgres.ts'
import { migrate } from '../../runtime/store/postgres-schema.ts'
import { rowOf } from '../conformance/results.ts'
import { eventually } from '../kit/eventually.ts'
import {
  type PostgresServer,
  postgresPassword,
  postgresProblem,
  startPostgres,
} from '../kit/postgres.ts'
import { startRedis } from '../kit/redis.ts'
import { startNode } from './started-node.ts'

const problem = postgresProblem()
/** Of a server, on a loaded machine. */
const hookMs = 60_000
if (problem !== undefined) console.log(`the store in PostgreSQL: skipped, ${problem}`)

let postgres: PostgresServer
const cleanups: (() => Promise<unknown>)[] = []

interface Opened extends PostgresResults {
  /** What its listener heard, and what it logged. */
  heard: string[]
  logged: unknown[]
}

async function open(options: Partial<PostgresOptions> = {}): Promise<Opened> {
  const heard: string[] = []
  const logged: unknown[] = []
  const log = {
    info: (...said: unknown[]) => void logged.push(said),
    warn: (...said: unknown[]) => void logged.push(said),
  }
  const { url } = postgres
  const store = postgresResults({ url, connectionsMax: 2, timeoutMs: 10_000, log, ...options })
  cleanups.push(() => store.close())
  await store.open({ lost: () => heard.push('lost'), back: () => heard.push('back') })
  return Object.assign(store, { heard, logged })
}

/** A connection of the test's own. */
async function connect(): Promise<Client> {
  const client = new Client({ connectionString: postgres.url })
  cleanups.push(() => client.end())
  await client.connect()
  return client
}

/** So many rows of a run, as one batch. */
function many(run: string, first: number, count: number, output?: string) {
  const zeros = new Float64Array(count)
  return {
    ...rowOf(run, first, 'ok'),
    seqs: [[first, count] as const],
    outcomes: '1'.repeat(count),
    startedAt: zeros,
    durationMs: zeros,
    queueMs: zeros,
    ...(output === undefined ? {} : { more: Array.from({ length: count }, () => ({ output })) }),
  }
}

const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

describe.skipIf(problem !== undefined)('the store in PostgreSQL', () => {
  beforeAll(async () => {
    postgres = await startPostgres()
  }, hookMs)
  afterAll(() => postgres.stop(), hookMs)
  beforeEach(() => postgres.clear())
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  test('is made once by nodes that start at the same time, which all find the same', async () => {
    const stores = await Promise.all(Array.from({ length: 6 }, () => open()))
    expect(new Set(stores.map(({ id }) => id)).size).toBe(1)
    expect(stores[0]?.id).toMatch(/^[0-9a-f-]{36}$/)
    await stores[0]?.results.put([rowOf('r-1', 0, 'ok')])
    expect(await stores[5]?.results.query('r-1', { limit: 9 })).toHaveLength(1)
  })

  test('is brought up to a later version with its rows, or not at all', async () => {
    const store = await open()
    await store.results.put([rowOf('r-1', 0, 'ok')])
    const client = await connect()
    const [first = ''] = (await steps(client)).map(() => 'select 1')
    const broken = [first, 'alter table muster.result add column extra text; select nothing']
    expect(await failureOf(migrate(client, broken))).toBeInstanceOf(Error)
    expect(await steps(client)).toEqual([1])
    await migrate(client, [first, 'alter table muster.result add column extra text'])
    await migrate(client, [first, 'alter table muster.result add column extra text'])
    expect(await steps(client)).toEqual([1, 2])
    expect(await store.results.query('r-1', { limit: 9 })).toHaveLength(1)
  })

  test('of a later version is left alone', async () => {
    await open()
    await postgres.ask('insert into muster.migration (version) values (99)')
    const error = await failureOf(open())
    expect(error).toBeInstanceOf(UnavailableError)
    expect(error).toMatchObject({ code: 'STORE_VERSION' })
    expect(String(error)).toContain('got version 99')
  })

  test('takes what is too much for one statement whole or not at all', async () => {
    const { results } = await open()
    const half = 60_000
    const bad = { ...rowOf('r-1', 3 * half, 'ok'), seqs: [[0.5 + 3 * half, 1] as const] }
    const batches = [many('r-1', half, half), many('r-1', 0, half)]
    expect(await failureOf(results.put([...batches, bad]))).toBeInstanceOf(Error)
    expect(await results.query('r-1', { limit: 1 })).toEqual([])
    await results.put([...batches, rowOf('r-1', 2 * half, 'dead')])
    expect(await results.query('r-1', { limit: 9, after: 2 * half - 2 })).toHaveLength(2)
    expect(await postgres.rowsOf('r-1')).toHaveLength(2 * half + 1)
  })

  test('takes the same rows from several at once, in whatever order, as one each', async () => {
    const stores = await Promise.all([open(), open(), open()])
    const parts = Array.from({ length: 20 }, (_, part) => part * 500)
    const puts = stores.map(({ results }, index) => {
      const own = index === 1 ? parts.toReversed() : parts
      return results.put(own.map((first) => many('r-1', first, 500, `of ${index}`)))
    })
    await Promise.all(puts)
    const rows = (await stores[0]?.results.query('r-1', { limit: 20_000 })) ?? []
    expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: 10_000 }, (_, seq) => seq))
    // All or nothing: the first one to come had every row.
    const outputs = rows.map(({ line }) => (JSON.parse(line) as { output: string }).output)
    expect(new Set(outputs).size).toBe(1)
  })

  test('is asked by no more connections than it may have', async () => {
    const { results } = await open({ connectionsMax: 3 })
    await results.put([many('r-1', 0, 5000)])
    const pages = Array.from({ length: 40 }, () => results.query('r-1', { limit: 5000 }))
    const counted = await postgres.ask(
      "select count(*)::int as open from pg_stat_activity where application_name = 'muster'",
    )
    expect(counted[0]?.['open']).toBeWithin(1, 4)
    expect((await Promise.all(pages)).map((page) => page.length)).toEqual(Array(40).fill(5000))
  })

  test('gives up a statement that takes too long, and is not away for it', async () => {
    const store = await open({ timeoutMs: 300 })
    const client = await connect()
    await client.query('begin; lock table muster.result')
    const error = await failureOf(store.results.put([rowOf('r-1', 0, 'ok')]))
    expect(error).toBeInstanceOf(UnavailableError)
    expect(String(error)).toContain('statement timeout')
    await client.query('rollback')
    await store.results.put([rowOf('r-1', 0, 'ok')])
    expect([store.trouble(), store.heard]).toEqual([undefined, []])
  })

  test('that is gone is noticed by who asks nothing, and says so until it is back', async () => {
    const store = await open()
    await postgres.crash()
    try {
      await eventually(() => expect(store.heard).toEqual(['lost']))
      expect(store.trouble()).toStartWith('PostgreSQL at postgres://muster:***@/postgres?host=')
      const asked = performance.now()
      const failed = await failureOf(store.results.put([rowOf('r-1', 0, 'ok')]))
      expect(failed).toBeInstanceOf(UnavailableError)
      expect(performance.now() - asked).toBeLessThan(5000)
      await store.revive()
      expect(store.heard).toEqual(['lost'])
    } finally {
      await postgres.start()
    }
    await eventually(async () => {
      await store.revive()
      expect(store.heard).toEqual(['lost', 'back'])
    })
    await store.results.put([rowOf('r-1', 0, 'ok')])
    expect(store.trouble()).toBeUndefined()
    expect(JSON.stringify(store.logged)).not.toContain(postgresPassword)
  })

  test('with an encoding that cannot hold every text is refused', async () => {
    await postgres.ask("create database latin encoding 'LATIN1' locale 'C' template template0")
    const url = postgres.url.replace('/postgres?', '/latin?')
    const error = await failureOf(open({ url }))
    expect(String(error)).toContain('expected a database with the encoding UTF8, got LATIN1')
    expect(String(error)).not.toContain(postgresPassword)
  })

  test('that confirms what it may lose is warned about', async () => {
    const { logged } = await open({ url: `${postgres.url}&options=-csynchronous_commit%3Doff` })
    expect(JSON.stringify(logged)).toContain('synchronous_commit')
    expect((await open()).logged).toEqual([])
  })

  test('is refused to a node while others keep their results elsewhere', async () => {
    const redis = await startRedis()
    cleanups.push(() => redis.stop())
    const start = async (id: string, store: { url?: string }) => {
      const started = await startNode({ node: { id }, redis: { url: redis.url }, store })
      cleanups.push(() => started.node.stop())
      return started
    }
    const filed = await start('filed', {})
    const refused = await failureOf(start('shared', { url: postgres.url }))
    expect(refused).toBeInstanceOf(UsageError)
    expect(String(refused)).toContain('of which filed keeps results in files')
    await filed.node.stop()
    await start('shared', { url: postgres.url })
    const late = await failureOf(start('late', {}))
    expect(String(late)).toContain('of which shared keeps results in another PostgreSQL')
    await start('other', { url: `${postgres.url}&application_name=other` })
  })
})

test('a URL of a store that cannot be understood is told without its password', () => {
  const log = { info() {}, warn() {} }
  const url = `postgres://me:${postgresPassword}@[host/db`
  const make = () => postgresResults({ url, connectionsMax: 1, timeoutMs: 1000, log })
  expect(make).toThrow(UsageError)
  expect(make).toThrow('got postgres://me:***@[host/db')
})

async function steps(client: Client): Promise<number[]> {
  const { rows } = await client.query<{ version: number }>(
    'select version from muster.migration order by version',
  )
  return rows.map(({ version }) => version)
}
