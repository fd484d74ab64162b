/** `?fold=`: the results of a run, those that say the same taken together. */
import type { Results } from '../../actors/ports.ts'
import type { Run } from '../../actors/ports-runs.ts'
import { type Outcome, outcomes } from '../../machines/outcome.ts'
import { Fold, type FoldHow } from '../cli/report.ts'
import type { FoldedResults } from './console/wire.ts'

/** Results read for one answer: of a larger run those that are not ok, and as many of them. */
const resultsMax = 10_000
const pageSize = 1000
/** Groups in one answer; what differs beyond that is only counted. */
const groupsMax = 200

export async function foldedResults(
  results: Pick<Results, 'query'>,
  run: Run,
  wanted: readonly Outcome[] = outcomes,
  how: FoldHow = 'exact',
): Promise<FoldedResults> {
  const fold = new Fold(groupsMax, how)
  const read = run.total > resultsMax ? wanted.filter((outcome) => outcome !== 'ok') : wanted
  let after: number | undefined
  for (let left = read.length === 0 ? 0 : resultsMax; left > 0; ) {
    const rows = await results.query(run.id, {
      limit: Math.min(left, pageSize),
      outcomes: read,
      ...(after === undefined ? {} : { after }),
    })
    for (const { line } of rows) fold.add(JSON.parse(line))
    after = rows.at(-1)?.seq
    if (after === undefined) break
    left -= rows.length
  }
  const counts = { ...run.counts }
  for (const outcome of outcomes) if (!wanted.includes(outcome)) counts[outcome] = 0
  fold.complete(counts)
  return { items: fold.groups(), isWhole: fold.isWhole }
}
