/** What the accounting in memory keeps of a run. */
import { type Envelope, eachSeq, endedByParent, envelopeId } from '../../actors/envelope.ts'
import { isStopped } from '../../actors/holds.ts'
import { mailboxKind } from '../../actors/place.ts'
import type {
  DropSpool,
  HeldEnvelope,
  Hold,
  OpenRun,
  RunProgress,
  RunState,
  SpoolHead,
} from '../../actors/ports-runs.ts'
import type { Rejection } from '../../actors/task.ts'
import { noCounts, outcomeOf, outcomes } from '../../machines/outcome.ts'

export interface Ledger {
  opened: OpenRun
  state: RunState
  lines: number
  linesHash?: string
  feeder?: string
  accepted: number
  done: number
  closed: boolean
  finishedAt?: number
  rejectedCount: number
  rejected: Rejection[]
  counts: number[]
  /** One byte a task: the code of its outcome, 0 while it has none. */
  map: Uint8Array
  spool: Envelope[]
  spooled: number
  ids: Map<string, number>
  storing: Set<string>
  room: Map<string, number>
  /** What was moved of it, by the name of the move. */
  roomMoves: Set<string>
  hold?: Hold
  stopReason?: string
  /** Put back while it was paused; the ids of all that ever were, and the tasks in them. */
  parked: Envelope[]
  parkedIds: Set<string>
  parkedTasks: number
  /** What was put back and is to be moved again, before the spool; how often that was done. */
  first: Envelope[]
  unshifted: number
  /** By ordered mailbox: first seqs of those that were put back and have not come again. */
  behind: Map<string, Set<number>>
  /** By seq and attempt of tasks that must not run twice: who has begun it. */
  begun: Map<string, string>
  /** By first seq: what waits for tasks that have no outcome yet, and for how many. */
  held: Map<number, { envelope: Envelope; left: number }>
  /** By seq: the first seqs of those that wait for it. */
  children: Map<number, number[]>
}

export function newLedger(opened: OpenRun): Ledger {
  return {
    opened,
    state: 'accepting',
    lines: 0,
    ...(opened.key === undefined ? {} : { feeder: opened.id }),
    accepted: 0,
    done: 0,
    closed: false,
    rejectedCount: 0,
    rejected: [],
    counts: [],
    map: new Uint8Array(64),
    spool: [],
    spooled: 0,
    ids: new Map(),
    storing: new Set(),
    room: new Map(),
    roomMoves: new Set(),
    parked: [],
    parkedIds: new Set(),
    parkedTasks: 0,
    first: [],
    unshifted: 0,
    behind: new Map(),
    begun: new Map(),
    held: new Map(),
    children: new Map(),
  }
}

/** Into the spool, or to wait until everything it needs is ok. */
export function holdBack(ledger: Ledger, { envelope, needs }: HeldEnvelope): void {
  const first = envelope.seqs[0]?.[0] ?? 0
  const codes = needs.map((seq) => ledger.map[seq] ?? 0)
  const bad = codes.findIndex((code) => code > 1)
  const left = needs.filter((_, index) => codes[index] === 0)
  if (bad >= 0) {
    const outcome = outcomeOf(codes[bad] ?? 0) ?? 'failed'
    ledger.spool.push(endedByParent(envelope, needs[bad] ?? 0, outcome))
  } else if (left.length === 0) {
    ledger.spool.push(envelope)
  } else {
    ledger.held.set(first, { envelope, left: left.length })
    for (const seq of left) {
      const children = ledger.children.get(seq) ?? []
      ledger.children.set(seq, children)
      children.push(first)
    }
  }
}

/**
 * A task that is ok is one fewer to wait for; one that is not ends all that waited for it, and all
 * that waited for those.
 * @returns whether anything was let go
 */
export function letGo(ledger: Ledger, seq: number, code: number): boolean {
  const before = ledger.spool.length
  const ended = [{ parent: seq, how: code }]
  for (const { parent, how } of ended) {
    for (const first of ledger.children.get(parent) ?? []) {
      const held = ledger.held.get(first)
      if (held === undefined) continue
      held.left -= 1
      if (how === 1 && held.left > 0) continue
      ledger.held.delete(first)
      const outcome = outcomeOf(how) ?? 'failed'
      const { envelope } = held
      ledger.spool.push(how === 1 ? envelope : endedByParent(envelope, parent, outcome))
      if (how === 1) continue
      for (const child of eachSeq(envelope.seqs)) ended.push({ parent: child, how: 7 })
    }
    ledger.children.delete(parent)
  }
  return ledger.spool.length > before
}

export function headOf(ledger: Ledger, count: number): SpoolHead {
  const isBack = ledger.first.length > 0
  const mark = isBack ? String(ledger.unshifted) : ''
  return { mark, envelopes: (isBack ? ledger.first : ledger.spool).slice(0, count) }
}

export function dropHead(ledger: Ledger, { mark, envelopes, tasks }: DropSpool): void {
  if (mark === '') ledger.spool.splice(0, envelopes)
  // So many were put before them since they were looked at.
  else ledger.first.splice(ledger.unshifted - Number(mark), envelopes)
  ledger.spooled -= tasks
}

/** Whether nothing that comes before it in its ordered mailbox has been put back. */
export function isNext({ behind }: Ledger, { mailbox, seqs }: Envelope): boolean {
  const first = seqs[0]?.[0] ?? 0
  for (const seq of behind.get(mailbox) ?? []) if (seq < first) return false
  return true
}

export function putBack(ledger: Ledger, envelope: Envelope): void {
  const { mailbox, seqs, tasks } = envelope
  ledger.parkedIds.add(envelopeId(envelope))
  ;(ledger.hold === 'paused' ? ledger.parked : ledger.first).push(envelope)
  ledger.spooled += tasks.length
  ledger.parkedTasks += tasks.length
  if (mailboxKind(mailbox)?.ordered !== true) return
  const behind = ledger.behind.get(mailbox) ?? new Set()
  ledger.behind.set(mailbox, behind.add(seqs[0]?.[0] ?? 0))
}

/** What was put back comes before what never had its turn. */
export function takeBack(ledger: Ledger): void {
  ledger.unshifted += ledger.parked.length
  ledger.first = [...ledger.parked.splice(0), ...ledger.first]
}

/** Whether so many of its tasks are not ok that it is halted from now on. */
export function halts(ledger: Ledger): boolean {
  const { halt } = ledger.opened
  if (halt === undefined || isStopped(ledger.hold)) return false
  if (ledger.closed && ledger.done >= ledger.accepted) return false
  const bad = [2, 3, 6].reduce((sum, code) => sum + (ledger.counts[code] ?? 0), 0)
  const whole = ledger.closed ? ledger.accepted : Math.max(ledger.accepted, 100)
  const most =
    'tasks' in halt.fail
      ? halt.fail.tasks
      : Math.max(1, Math.ceil((whole * halt.fail.percent) / 100))
  if (bad < most) return false
  const limit = 'tasks' in halt.fail ? halt.fail.tasks : `${halt.fail.percent}%`
  ledger.hold = `halted-${halt.mode}`
  const tasks = `${bad} ${bad === 1 ? 'task' : 'tasks'}`
  ledger.stopReason = `${tasks} failed, timed out or died (halt: fail=${limit})`
  takeBack(ledger)
  return true
}

/** The state of a run that is over. */
export function finalState({ hold }: Ledger): RunState {
  if (hold === 'cancelled') return 'cancelled'
  return isStopped(hold) ? 'halted' : 'completed'
}

export function progressOf(ledger: Ledger): RunProgress {
  const { opened, finishedAt } = ledger
  const counts = noCounts()
  outcomes.forEach((outcome, index) => {
    counts[outcome] = ledger.counts[index + 1] ?? 0
  })
  counts.pending = ledger.accepted - ledger.done
  const isPaused = ledger.hold === 'paused' && finishedAt === undefined
  return {
    run: {
      id: opened.id,
      state: isPaused ? 'paused' : ledger.state,
      total: ledger.accepted,
      counts,
      rejectedCount: ledger.rejectedCount,
      rejected: [...ledger.rejected],
      ...(opened.parent === undefined ? {} : { parent: opened.parent }),
      ...(opened.reason === undefined ? {} : { reason: opened.reason }),
      ...(ledger.stopReason === undefined ? {} : { stopReason: ledger.stopReason }),
      createdAt: opened.createdAt,
      ...(finishedAt === undefined
        ? {}
        : { finishedAt, durationMs: Math.max(0, finishedAt - opened.createdAt) }),
      ...(opened.labels === undefined ? {} : { labels: opened.labels }),
    },
    ...(ledger.hold === undefined ? {} : { hold: ledger.hold }),
    ...(opened.halt === undefined ? {} : { halt: opened.halt }),
    ...(opened.window === undefined ? {} : { window: opened.window }),
    lines: ledger.lines,
    accepted: ledger.accepted,
    spooled: ledger.spooled,
    parked: ledger.parkedTasks,
    closed: ledger.closed,
    driver: opened.driver,
    ...(opened.content === undefined ? {} : { content: opened.content }),
    ...(ledger.linesHash === undefined ? {} : { linesHash: ledger.linesHash }),
    ...(ledger.feeder === undefined ? {} : { feeder: ledger.feeder }),
    ...(opened.fence === undefined ? {} : { fence: opened.fence }),
  }
}
