import { afterAll, afterEach, beforeAll, describe } from 'bun:test'
import { join } from 'node:path'
import { memoryResults } from '../../runtime/memory/results.ts'
import { postgresResults } from '../../runtime/store/postgres.ts'
import { sqliteResults } from '../../runtime/store/sqlite.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { type PostgresServer, postgresProblem, startPostgres } from '../kit/postgres.ts'
import { resultsConformance } from './results.ts'

const opened: { close(): void | Promise<void> }[] = []
afterEach(async () => {
  for (const results of opened.splice(0)) await results.close()
})

const open = (file: string) => {
  const results = sqliteResults(file)
  opened.push(results)
  return results
}

describe('results in memory', () => resultsConformance(memoryResults))
describe('results in SQLite without a file', () => resultsConformance(() => open(':memory:')))
describe('results in an SQLite file', () => {
  resultsConformance(() => open(join(temporaryDirectory(), 'results.sqlite')))
})

const problem = postgresProblem()
/** Of a server, on a loaded machine. */
const hookMs = 60_000
if (problem !== undefined) console.log(`results in PostgreSQL: skipped, ${problem}`)

describe.skipIf(problem !== undefined)('results in PostgreSQL', () => {
  let postgres: PostgresServer
  beforeAll(async () => {
    postgres = await startPostgres()
  }, hookMs)
  afterAll(() => postgres.stop(), hookMs)

  resultsConformance(async () => {
    await postgres.clear()
    const log = { info() {}, warn() {} }
    const store = postgresResults({ url: postgres.url, connectionsMax: 2, timeoutMs: 10_000, log })
    opened.push(store)
    await store.open({ lost() {}, back() {} })
    return store.results
  })
})
