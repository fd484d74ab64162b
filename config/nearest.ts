/** What somebody probably meant: the known word nearest to an unknown one. */

/**
 * The candidate with the fewest typing mistakes (a letter left out, added, wrong, or two swapped)
 * between it and the word, about one mistake to three letters at most; else the first one that
 * begins with the word. Case, '-' and '_' make no difference. Undefined when nothing is near.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const wanted = plain(word)
  if (wanted === '') return undefined
  let best: string | undefined
  let fewest = Math.max(1, Math.floor(wanted.length / 3)) + 1
  let beginning: string | undefined
  for (const candidate of candidates) {
    const known = plain(candidate)
    if (wanted.length >= 3 && known.startsWith(wanted)) beginning ??= candidate
    // The difference in length is a lower bound, and spares the matrix for most candidates.
    if (Math.abs(known.length - wanted.length) >= fewest) continue
    const mistakes = distance(wanted, known)
    // All letters of a short word replaced is another word, not a mistake.
    if (mistakes < fewest && mistakes < Math.max(wanted.length, known.length)) {
      best = candidate
      fewest = mistakes
    }
  }
  return best ?? beginning
}

function plain(word: string): string {
  return word.replace(/[-_]/g, '').toLowerCase()
}

/** Optimal string alignment: Levenshtein's distance, with a swap of neighbours as one mistake. */
function distance(left: string, right: string): number {
  let before: number[] = []
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1]
      let cost = Math.min(
        at(previous, column) + 1,
        at(current, column - 1) + 1,
        at(previous, column - 1) + (same ? 0 : 1),
      )
      const swapped = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]
      if (swapped && row > 1 && column > 1) cost = Math.min(cost, at(before, column - 2) + 1)
      current.push(cost)
    }
    before = previous
    previous = current
  }
  return at(previous, right.length)
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY
}
