/** What a settlement added to the accounts. */
import type { Outcome } from '../machines/outcome.ts'
import type { Settled, Settlement } from './ports-runs.ts'

/** How many tasks got which outcome by this settlement, and had none before. */
export function freshOutcomes(
  { outcomes }: Settlement,
  { fresh, outcomes: held }: Settled,
): Map<Outcome, number> {
  const counts = new Map<Outcome, number>()
  let left = fresh
  let last: Outcome = 'ok'
  let inRow = 0
  const book = () => counts.set(last, (counts.get(last) ?? 0) + inRow)
  for (let index = 0; index < outcomes.length && left > 0; index += 1) {
    const outcome: Outcome = outcomes[index] ?? last
    // Where some had the same outcome before, it does not matter which of them are counted, as long
    // as it is one outcome; of several, the sum is right.
    if (held !== undefined && held[index] !== outcome) continue
    if (outcome !== last) {
      book()
      last = outcome
      inRow = 0
    }
    inRow += 1
    left -= 1
  }
  book()
  return counts
}
