/**
 * Every fault we can make, and what became of the tasks: `npm run chaos`.
 *
 *   bun test/chaos/run.ts [NAME …] [--seeds N] [--seed S] [--list]
 *
 * A NAME is a row or the beginning of one; without one, all rows that are not on demand. `--seeds`
 * is how many seeds each row gets (default: its own number), `--seed` the first of them. The table
 * goes to stdout as Markdown, what happens meanwhile to stderr. Exit 1 when a row does not hold.
 */
import { parseArgs } from 'node:util'
import { removeTemporaryDirectories } from '../kit/directory.ts'
import { seededRandom } from '../kit/random.ts'
import type { Row } from './row.ts'
import { rows } from './rows.ts'
import { type Tried, tableOf, tryRow } from './table.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
})

function chosen(): Row[] {
  if (positionals.length === 0) return rows.filter(({ onDemand }) => onDemand !== true)
  const found = positionals.map((name) => rows.filter((row) => row.name.startsWith(name)))
  const unknown = positionals.find((_, index) => found[index]?.length === 0)
  if (unknown !== undefined) {
    console.error(`${unknown}: expected one of ${rows.map((row) => row.name).join(', ')}`)
    process.exit(64)
  }
  return found.flat()
}

if (values.list) {
  for (const { name, fault, seeds } of rows) console.log(`${name}\t${seeds}\t${fault}`)
  process.exit(0)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // By exit, so that what was started ends as well.
  process.on(signal, () => process.exit(1))
}

const first = Number(values.seed ?? seededRandom(Date.now()).integer(1, 1_000_000))
console.error(`first seed ${first}`)
const tried: Tried[] = []
for (const row of chosen()) {
  const seeds = Number(values.seeds ?? row.seeds)
  tried.push(await tryRow(row, first, seeds, (line) => console.error(line)))
  removeTemporaryDirectories()
}
console.log(tableOf(tried))
process.exit(tried.every(({ problems }) => problems.length === 0) ? 0 : 1)
