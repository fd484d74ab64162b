/**
 * What does it cost to keep a task's row? Batches of 1000 put through the results port, on SQLite
 * in a file (synced every half second, as by default): one at a time, many in one go, and ones
 * that are there already, as after a crash.
 *
 *   bun bench/store.bench.ts [--quick] [--json]
 */
import { join } from 'node:path'
import { sqliteResults } from '../runtime/store/sqlite.ts'
import { temporaryDirectory } from '../test/kit/directory.ts'
import { readOptions } from './kit/options.ts'
import { measureParts, quiet } from './kit/parts.ts'
import { batchOf, envelopeTasks } from './kit/sample.ts'

/** As many as the collector takes at a time by default. */
const envelopes = 64
const run = 'r-storebench'
const results = sqliteResults(join(temporaryDirectory(), 'results.sqlite'), {
  durability: 'everysec',
  syncMs: 500,
  log: quiet,
})

let next = 0
function batch() {
  const first = next
  next += envelopeTasks
  return batchOf(run, first, envelopeTasks)
}
const storedBefore = batch()
await results.put([storedBefore])

/** Every row that is there, page by page. */
async function rowsStored(): Promise<number> {
  let rows = 0
  let after = -1
  for (;;) {
    const page = await results.query(run, { after, limit: 10_000 })
    rows += page.length
    const last = page.at(-1)
    if (last === undefined) return rows
    if (last.seq !== rows - 1) throw new Error(`expected seq ${rows - 1}, got ${last.seq}`)
    after = last.seq
  }
}

try {
  await measureParts({
    bench: 'store',
    options: readOptions(),
    parts: [
      {
        what: 'put, one envelope',
        tasks: envelopeTasks,
        calls: 1,
        round: () => results.put([batch()]),
      },
      {
        what: `put, ${envelopes} envelopes`,
        tasks: envelopes * envelopeTasks,
        calls: 1,
        round: () => results.put(Array.from({ length: envelopes }, batch)),
      },
      {
        what: 'put, the same again',
        tasks: envelopeTasks,
        calls: 1,
        round: () => results.put([storedBefore]),
      },
    ],
    notes: [`envelopes of ${envelopeTasks} tasks, one transaction a call`],
    async faults() {
      const rows = await rowsStored()
      return rows === next ? [] : [`expected ${next} rows, got ${rows}`]
    },
  })
} finally {
  results.close()
}
