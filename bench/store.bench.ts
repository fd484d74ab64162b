/**
 * What does it cost to keep a task's row? Batches of 1000 put through the results port: one at a
 * time, many in one go, and ones that are there already, as after a crash. On SQLite in a file
 * (synced every half second, as by default), and on PostgreSQL (synced at each commit, as by its
 * default) on a unix socket of this machine, where it is installed.
 *
 *   bun bench/store.bench.ts [--quick] [--json]
 */
import { join } from 'node:path'
import type { Results } from '../actors/ports.ts'
import { postgresResults } from '../runtime/store/postgres.ts'
import { sqliteResults } from '../runtime/store/sqlite.ts'
import { temporaryDirectory } from '../test/kit/directory.ts'
import { postgresProblem, startPostgres } from '../test/kit/postgres.ts'
import { readOptions } from './kit/options.ts'
import { measureParts, type Part, quiet } from './kit/parts.ts'
import { batchOf, envelopeTasks } from './kit/sample.ts'

/** As many as the collector takes at a time by default; fewer where a row costs ten times more. */
const envelopes = { SQLite: 64, PostgreSQL: 8 }
const run = 'r-storebench'

/** A store, with what is to be there in the end. */
class Bench {
  readonly #name: keyof typeof envelopes
  readonly #results: Results
  #next = 0

  constructor(name: keyof typeof envelopes, results: Results) {
    this.#name = name
    this.#results = results
  }

  async parts(): Promise<Part[]> {
    const storedBefore = this.#batch()
    await this.#results.put([storedBefore])
    const put = (what: string, tasks: number, round: () => Promise<unknown>): Part => {
      return { what: `${this.#name}: ${what}`, tasks, calls: 1, round }
    }
    const count = envelopes[this.#name]
    const many = () => Array.from({ length: count }, () => this.#batch())
    return [
      put('put, one envelope', envelopeTasks, () => this.#results.put([this.#batch()])),
      put(`put, ${count} envelopes`, count * envelopeTasks, () => this.#results.put(many())),
      put('put, the same again', envelopeTasks, () => this.#results.put([storedBefore])),
    ]
  }

  /** Every row is there, page by page. */
  async faults(): Promise<string[]> {
    let rows = 0
    for (;;) {
      const page = await this.#results.query(run, { after: rows - 1, limit: 10_000 })
      const last = page.at(-1)
      if (last === undefined) break
      rows += page.length
      if (last.seq !== rows - 1) throw new Error(`expected seq ${rows - 1}, got ${last.seq}`)
    }
    return rows === this.#next ? [] : [`${this.#name}: expected ${this.#next} rows, got ${rows}`]
  }

  #batch() {
    const first = this.#next
    this.#next += envelopeTasks
    return batchOf(run, first, envelopeTasks)
  }
}

const cleanups: (() => unknown)[] = []

function openSqlite(): Bench {
  const file = join(temporaryDirectory(), 'results.sqlite')
  const results = sqliteResults(file, { durability: 'everysec', syncMs: 500, log: quiet })
  cleanups.push(() => results.close())
  return new Bench('SQLite', results)
}

async function openPostgres(): Promise<Bench> {
  const server = await startPostgres()
  cleanups.push(() => server.stop())
  const options = { url: server.url, connectionsMax: 4, timeoutMs: 60_000, log: quiet }
  const store = postgresResults(options)
  cleanups.push(() => store.close())
  await store.open({ lost() {}, back() {} })
  return new Bench('PostgreSQL', store.results)
}

const problem = postgresProblem()
try {
  const benches = [openSqlite(), ...(problem === undefined ? [await openPostgres()] : [])]
  await measureParts({
    bench: 'store',
    options: readOptions(),
    parts: (await Promise.all(benches.map((bench) => bench.parts()))).flat(),
    isRated: true,
    notes: [
      `envelopes of ${envelopeTasks} tasks, one transaction a call`,
      ...(problem === undefined ? [] : [`without PostgreSQL: ${problem}`]),
    ],
    faults: async () => (await Promise.all(benches.map((bench) => bench.faults()))).flat(),
  })
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup()
}
