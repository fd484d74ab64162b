/** A few of the rows of `npm run chaos`, with few seeds: those that found something before. */
import { expect, test } from 'bun:test'
import { seededRandom } from '../kit/random.ts'
import { rows } from './rows.ts'
import { tableOf, tryRow } from './table.ts'

const selection: readonly (readonly [name: string, seeds: number])[] = [
  ['worker-points', 3],
  ['worker-moments', 1],
  ['dispatcher-moments', 2],
  ['collector-points', 1],
  ['command-moments', 1],
  ['node-moments', 1],
  ['redis-killed-everysec', 1],
  ['lost-reply', 3],
  ['partition-full', 2],
  ['zombie', 2],
  ['handler-garbage', 1],
  ['duplicates', 1],
  ['newer-version', 1],
]

const first = seededRandom().integer(1, 1_000_000)

test.each(selection)('nothing is lost or doubled: %s, %i seeds', async (name, seeds) => {
  const row = rows.find((one) => one.name === name)
  if (row === undefined) throw new Error(`there is no row ${name}`)
  // Of a row of points, others every time.
  const shifted = {
    ...row,
    run: (random: Parameters<typeof row.run>[0], index: number) => row.run(random, index + first),
  }
  const tried = await tryRow(shifted, first, seeds, () => undefined)
  console.log(tableOf([tried]).split('\n').at(-1))
  expect(tried.problems).toEqual([])
})
