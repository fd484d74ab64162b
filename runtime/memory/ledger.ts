/** What the accounting in memory keeps of a run. */
import { type Envelope, endedByParent } from '../../actors/envelope.ts'
import { isStopped } from '../../actors/holds.ts'
import type { HeldEnvelope, Hold, OpenRun, RunProgress, RunState } from '../../actors/ports.ts'
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
  hold?: Hold
  stopReason?: string
  /** Put back while it was paused, and the ids of those. */
  parked: Envelope[]
  parkedIds: Set<string>
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
    parked: [],
    parkedIds: new Set(),
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
      ledger.children.set(seq, [...(ledger.children.get(seq) ?? []), first])
    }
  }
}

/**
 * A task that is ok is one fewer to wait for; one that is not ends all that waited for it.
 * @returns whether anything was let go
 */
export function letGo(ledger: Ledger, seq: number, code: number): boolean {
  const before = ledger.spool.length
  for (const first of ledger.children.get(seq) ?? []) {
    const held = ledger.held.get(first)
    if (held === undefined) continue
    held.left -= 1
    if (code === 1 && held.left > 0) continue
    ledger.held.delete(first)
    const outcome = outcomeOf(code) ?? 'failed'
    const { envelope } = held
    ledger.spool.push(code === 1 ? envelope : endedByParent(envelope, seq, outcome))
  }
  ledger.children.delete(seq)
  return ledger.spool.length > before
}

/** What was put back comes before what never had its turn. */
export function takeBack(ledger: Ledger): void {
  ledger.spool.unshift(...ledger.parked.splice(0))
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
  ledger.stopReason = `${bad} ${bad === 1 ? 'task' : 'tasks'} failed, timed out or died (halt: fail=${limit})`
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
    closed: ledger.closed,
    driver: opened.driver,
    ...(opened.content === undefined ? {} : { content: opened.content }),
    ...(ledger.linesHash === undefined ? {} : { linesHash: ledger.linesHash }),
    ...(ledger.feeder === undefined ? {} : { feeder: ledger.feeder }),
    ...(opened.fence === undefined ? {} : { fence: opened.fence }),
  }
}
