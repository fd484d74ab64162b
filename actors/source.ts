/** The source of a run: lines as they come in, each a task or a reason why not. */
import type { PackItem } from './envelope.ts'
import type { Accounting } from './ports.ts'
import type { AcceptedTask, Rejection } from './task.ts'

export type SourceLine = { line: number; bytes: number } & (
  | { accepted: AcceptedTask; rejection?: undefined }
  | { accepted?: undefined; rejection: Rejection }
)

/** What one look at the source brought. */
export interface SourcePiece {
  /** Lines seen so far, blank ones left out. */
  lines: number
  /** The lines that are not blank, in order. */
  read: readonly SourceLine[]
}

/** Starts reading after so many lines that are not blank. */
export type Source = (afterLine: number) => AsyncIterable<SourcePiece>

export interface Numbered {
  items: PackItem[]
  rejected: Rejection[]
  accepted: number
}

/**
 * Give every good task of a piece its seq. What only the run can know is checked here: that its id
 * is new, and that what it depends on was named before.
 */
export async function numberTasks(
  accounting: Accounting,
  run: string,
  firstSeq: number,
  read: readonly SourceLine[],
): Promise<Numbered> {
  const taken = await takenIds(accounting, run, firstSeq, read)
  const items: PackItem[] = []
  const rejected: Rejection[] = []
  let seq = firstSeq
  for (const { line, bytes, accepted, rejection } of read) {
    if (rejection !== undefined) {
      rejected.push(rejection)
      continue
    }
    const id = accepted.task.id
    if (id !== undefined && taken.has(line)) {
      const message = `expected an id that is new in this run, got ${JSON.stringify(id)} again`
      rejected.push({ line, path: 'id', message })
      continue
    }
    items.push({ ...accepted, seq, bytes })
    seq += 1
  }
  return { items, rejected, accepted: seq }
}

/** Lines whose id an earlier line holds. */
async function takenIds(
  accounting: Accounting,
  run: string,
  firstSeq: number,
  read: readonly SourceLine[],
): Promise<Set<number>> {
  const named = read.filter((line) => line.accepted?.task.id !== undefined)
  const taken = new Set<number>()
  if (named.length === 0) return taken
  const seen = new Set<string>()
  for (const { line, accepted } of named) {
    const id = accepted?.task.id ?? ''
    if (seen.has(id)) taken.add(line)
    seen.add(id)
  }
  const earlier = await accounting.seqsOf(
    run,
    named.map((line) => line.accepted?.task.id ?? ''),
  )
  named.forEach(({ line }, index) => {
    const holder = earlier[index]
    // Claimed by this very piece before a crash: those seqs were never committed.
    if (holder !== undefined && holder < firstSeq) taken.add(line)
  })
  const claims: (readonly [string, number])[] = []
  let seq = firstSeq
  for (const { line, accepted } of read) {
    if (accepted === undefined || taken.has(line)) continue
    if (accepted.task.id !== undefined) claims.push([accepted.task.id, seq])
    seq += 1
  }
  await accounting.claimIds(run, claims)
  return taken
}
