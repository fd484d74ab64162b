/** The outcome map of a run as bytes: four bits a task, seq 0 in the high half of byte 0. */
import { eachSeq } from '../../actors/envelope.ts'
import type { Settlement } from '../../actors/ports-runs.ts'
import { type Outcome, outcomeCode, outcomeOf } from '../../machines/outcome.ts'

/** A settlement as counts by code and as the bytes its ranges cover in the outcome map. */
export function mapBytes(settlement: Settlement): {
  counts: number[]
  ranges: (number | Buffer)[]
} {
  const counts = [0, 0, 0, 0, 0, 0, 0]
  const ranges: (number | Buffer)[] = []
  let next = 0
  for (const [first, count] of settlement.seqs) {
    const start = first >> 1
    const bytes = Buffer.alloc(((first + count - 1) >> 1) - start + 1)
    for (let index = 0; index < count; index += 1) {
      const code = outcomeCode(settlement.outcomes[next] ?? 'failed')
      next += 1
      counts[code - 1] = (counts[code - 1] ?? 0) + 1
      const seq = first + index
      const at = (seq >> 1) - start
      bytes[at] = (bytes[at] ?? 0) | (seq % 2 === 0 ? code << 4 : code)
    }
    ranges.push(start, bytes)
  }
  return { counts, ranges }
}

/** Four bits of the map: task number `index` of a range that begins at seq `first`. */
export function nibble(bytes: Uint8Array | undefined, first: number, index: number): number {
  const seq = first + index
  const byte = bytes?.[(seq >> 1) - (first >> 1)] ?? 0
  return seq % 2 === 0 ? byte >> 4 : byte & 15
}

/** What the map holds for each task now, given what it held before. */
export function afterwards(settlement: Settlement, before: Buffer[]): (Outcome | undefined)[] {
  const held = settlement.seqs.flatMap(([first, count], range) =>
    Array.from({ length: count }, (_, index) => nibble(before[range], first, index)),
  )
  return [...eachSeq(settlement.seqs)].map((_, index) =>
    held[index] === 0 ? settlement.outcomes[index] : outcomeOf(held[index] ?? 0),
  )
}
