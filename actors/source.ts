/** The source of a run: lines as they come in, each a task or a reason why not. */
import type { PackItem } from './envelope.ts'
import type { Accounting } from './ports-runs.ts'
import type { PlacedTask } from './router.ts'
import type { AcceptedTask, Rejection, Task } from './task.ts'

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
  /** Of a source that is hashed. */
  hashes?: PieceHashes
}

/**
 * Hashes of the lines from the first one on: of each its bytes and \n, blank lines left out. Those
 * up to `afterLine` count as well, and a source that is too short ends before it.
 */
export interface PieceHashes {
  /** Lines before this piece, and up to its end. */
  from: number
  to: number
  /** Hash of the first so many lines, `from` to `to`. */
  of(lines: number): string
}

/**
 * Starts reading after so many lines that are not blank; of those before it says nothing, but they
 * are hashed when that is asked for.
 */
export type Source = (afterLine: number, isHashed?: boolean) => AsyncIterable<SourcePiece>

/** 24 hours. */
const dedupeTtlDefaultMs = 86_400_000

export interface Numbered {
  items: PackItem[]
  rejected: Rejection[]
  accepted: number
}

/** Of a line that is several tasks, the first seq and how many; see `seqsOfClaim`. */
const claimUnit = 2 ** 32

/** What is claimed for the id of a line: its seq, or all of them in one number. */
function claimOf(firstSeq: number, tasks: number): number {
  return tasks === 1 ? firstSeq : firstSeq + tasks * claimUnit
}

function seqsOfClaim(claim: number): number[] {
  const first = claim % claimUnit
  const tasks = Math.max(1, Math.floor(claim / claimUnit))
  return Array.from({ length: tasks }, (_, index) => first + index)
}

/**
 * Give every good task of a piece its seq. What only the run can know is checked here: that its id
 * is new, and that what it depends on was named before.
 * @param places where the tasks of some lines go, and how many tasks those are
 */
export async function numberTasks(
  accounting: Accounting,
  run: string,
  firstSeq: number,
  read: readonly SourceLine[],
  places?: ReadonlyMap<SourceLine, readonly PlacedTask[]>,
): Promise<Numbered> {
  const earlier = await earlierIds(accounting, run, firstSeq, read)
  const known = new Map(earlier)
  const claims: (readonly [id: string, seq: number])[] = []
  const items: PackItem[] = []
  const rejected: Rejection[] = []
  let seq = firstSeq
  for (const source of read) {
    const { line, bytes, accepted, rejection } = source
    const wrong = rejection ?? wrongWith(known, line, accepted.task)
    if (wrong !== undefined) {
      rejected.push(wrong)
      continue
    }
    if (accepted === undefined) continue
    const { kind, priority, task } = accepted
    const { id, dependsOn } = task
    const item: PackItem = { kind, priority, task, seq, bytes }
    if (dependsOn !== undefined && dependsOn.length > 0) item.needs = needsOf(dependsOn, known)
    const placed = places?.get(source)
    const tasks = placed?.length ?? 1
    if (placed === undefined) items.push(item)
    else items.push(...spreadOver(placed, item))
    if (id !== undefined) {
      const claim = claimOf(seq, tasks)
      known.set(id, claim)
      claims.push([id, claim])
    }
    seq += tasks
  }
  await accounting.claimIds(run, claims)
  await endDuplicates(accounting, run, items)
  return { items, rejected, accepted: seq }
}

// Apart, as are all that few tasks need: what a loop's functions see is kept for each turn of it.
function needsOf(dependsOn: readonly string[], known: ReadonlyMap<string, number>): number[] {
  const claimed = dependsOn.flatMap((name) => known.get(name) ?? [])
  return [...new Set(claimed.flatMap(seqsOfClaim))]
}

function spreadOver(placed: readonly PlacedTask[], item: PackItem): PackItem[] {
  return placed.map((each, index) => ({ ...item, ...each, seq: item.seq + index }))
}

/** Those whose dedupe key another task has: they are accepted and counted, but not run. */
async function endDuplicates(
  accounting: Accounting,
  run: string,
  items: readonly PackItem[],
): Promise<void> {
  const claimants = items.filter(({ task }) => task.dedupeKey !== undefined)
  if (claimants.length === 0) return
  const holders = await accounting.claimKeys(
    run,
    claimants.map(({ seq, task: { dedupeKey = '', dedupeTtlMs = dedupeTtlDefaultMs } }) => ({
      key: dedupeKey,
      seq,
      ttlMs: dedupeTtlMs,
    })),
  )
  claimants.forEach((item, index) => {
    const holder = holders[index]
    if (holder === undefined) return
    const key = JSON.stringify(item.task.dedupeKey)
    const message = `its dedupeKey ${key} is held by task ${holder.run}/${holder.seq}`
    item.ends = { outcome: 'unreached', error: { code: 'DUPLICATE', message } }
  })
}

/**
 * What only the run can know of a line: that its id is new, and what it depends on is not.
 * @param known the ids of the lines before it that were taken
 */
export function wrongWith(
  known: Pick<ReadonlyMap<string, number>, 'has'>,
  line: number,
  { id, dependsOn }: Task,
): Rejection | undefined {
  if (id === undefined && dependsOn === undefined) return undefined
  if (id !== undefined && known.has(id)) {
    const message = `expected an id that is new in this run, got ${JSON.stringify(id)} again`
    return { line, path: 'id', message }
  }
  const index = (dependsOn ?? []).findIndex((name) => !known.has(name))
  if (index < 0) return undefined
  const got = JSON.stringify(dependsOn?.[index])
  const message = `expected the id of an earlier line that was taken, got ${got}`
  return { line, path: `dependsOn.${index}`, message }
}

/** The seqs of the ids that these lines name and that earlier pieces brought. */
async function earlierIds(
  accounting: Accounting,
  run: string,
  firstSeq: number,
  read: readonly SourceLine[],
): Promise<Map<string, number>> {
  const names = new Set<string>()
  for (const { accepted } of read) {
    if (accepted === undefined) continue
    const { id, dependsOn } = accepted.task
    if (id !== undefined) names.add(id)
    if (dependsOn !== undefined) for (const name of dependsOn) names.add(name)
  }
  const known = new Map<string, number>()
  if (names.size === 0) return known
  const ids = [...names]
  const seqs = await accounting.seqsOf(run, ids)
  ids.forEach((id, index) => {
    const seq = seqs[index]
    // Claimed by this very piece before a crash: those seqs were never committed.
    if (seq !== undefined && seq % claimUnit < firstSeq) known.set(id, seq)
  })
  return known
}
