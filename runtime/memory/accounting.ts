/** The accounting port in memory: the twin of runtime/redis/accounting.ts. */
import { type Envelope, eachSeq } from '../../actors/envelope.ts'
import { ConflictError, NotFoundError } from '../../actors/errors.ts'
import { fenced } from '../../actors/lease.ts'
import type {
  Accounting,
  Admission,
  OpenRun,
  RunNotice,
  RunProgress,
  RunState,
  Settlement,
} from '../../actors/ports.ts'
import type { FencingToken } from '../../actors/ports-fleet.ts'
import type { Rejection } from '../../actors/task.ts'
import { noCounts, outcomeCode, outcomeOf, outcomes } from '../../machines/outcome.ts'

/** Rejected lines a run remembers; beyond that they are only counted. */
const rejectedKept = 1000

interface Ledger {
  opened: OpenRun
  state: RunState
  lines: number
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
}

/** Accounting and admission share what they count, as they do in Redis. */
export function memoryAccounting(
  now: () => number,
  newestEpoch: (lease: string) => number = () => 0,
): {
  accounting: Accounting
  admission: Admission
} {
  const ledgers = new Map<string, Ledger>()
  const room = new Map<string, number>()
  const paces = new Map<string, number>()
  const listeners = new Set<(notice: RunNotice | undefined) => void>()

  const add = (counts: Map<string, number>, name: string, more: number) => {
    counts.set(name, (counts.get(name) ?? 0) + more)
  }

  const notify = (ledger: Ledger, mailbox?: string) => {
    const notice: RunNotice = {
      run: ledger.opened.id,
      done: ledger.done,
      state: ledger.state,
      ...(mailbox === undefined ? {} : { mailbox }),
    }
    // Listeners hear of it after the caller is done, as they would from Redis.
    queueMicrotask(() => {
      for (const listener of listeners) listener(notice)
    })
  }

  const finish = (ledger: Ledger) => {
    if (ledger.finishedAt !== undefined) return
    const before = ledger.state
    if (ledger.closed && ledger.state === 'accepting') ledger.state = 'running'
    if (ledger.closed && ledger.done >= ledger.accepted && ledger.storing.size === 0) {
      ledger.state = 'completed'
      ledger.finishedAt = now()
      for (const [mailbox, held] of ledger.room) add(room, mailbox, -held)
      ledger.room.clear()
      ledger.spool = []
      ledger.ids.clear()
    }
    if (ledger.state !== before) notify(ledger)
  }

  const settleOne = ({ run, id, mailbox, seqs, outcomes: ends }: Settlement) => {
    const ledger = ledgers.get(run)
    if (ledger === undefined) return { fresh: 0, outcomes: ends.map(() => undefined) }
    const tasks = [...eachSeq(seqs)]
    const length = (tasks.at(-1) ?? 0) + 1
    if (ledger.map.length < length) {
      const larger = new Uint8Array(Math.max(length, ledger.map.length * 2))
      larger.set(ledger.map)
      ledger.map = larger
    }
    let fresh = 0
    tasks.forEach((seq, index) => {
      if (ledger.map[seq] !== 0) return
      const code = outcomeCode(ends[index] ?? 'failed')
      ledger.map[seq] = code
      ledger.counts[code] = (ledger.counts[code] ?? 0) + 1
      fresh += 1
    })
    ledger.storing.add(id)
    if (fresh > 0) {
      ledger.done += fresh
      add(room, mailbox, -fresh)
      add(ledger.room, mailbox, -fresh)
      notify(ledger, mailbox)
    }
    return fresh === tasks.length
      ? { fresh }
      : { fresh, outcomes: tasks.map((seq) => outcomeOf(ledger.map[seq] ?? 0)) }
  }

  const notFenced = (fence: FencingToken | undefined): void => {
    const newest = fence === undefined ? 0 : newestEpoch(fence.lease)
    if (fence !== undefined && newest > fence.epoch) throw fenced(fence.lease, fence.epoch, newest)
  }

  const found = (run: string): Ledger => {
    const ledger = ledgers.get(run)
    if (ledger === undefined) throw new NotFoundError(`there is no run ${run}`)
    return ledger
  }

  const accounting: Accounting = {
    async open(run) {
      const twin = [...ledgers.values()].find(
        (ledger) =>
          run.content !== undefined &&
          ledger.opened.content === run.content &&
          ledger.finishedAt === undefined,
      )
      if (twin !== undefined) return { progress: progressOf(twin), resumed: true }
      const ledger: Ledger = {
        opened: run,
        state: 'accepting',
        lines: 0,
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
      }
      ledgers.set(run.id, ledger)
      return { progress: progressOf(ledger), resumed: false }
    },
    async claimIds(run, ids) {
      const ledger = found(run)
      for (const [id, seq] of ids) ledger.ids.set(id, seq)
    },
    async seqsOf(run, ids) {
      const ledger = ledgers.get(run)
      return ids.map((id) => ledger?.ids.get(id))
    },
    async commit(run, chunk) {
      const ledger = found(run)
      if (ledger.lines !== chunk.afterLine) {
        throw new ConflictError(
          `run ${run} no longer stands at line ${chunk.afterLine}: another source is feeding it`,
          'RUN_FED_ELSEWHERE',
        )
      }
      ledger.lines = chunk.lines
      ledger.accepted = chunk.accepted
      ledger.rejectedCount += chunk.rejected.length
      ledger.rejected.push(...chunk.rejected.slice(0, rejectedKept - ledger.rejected.length))
      ledger.spool.push(...chunk.spool)
      ledger.spooled += chunk.spool.reduce((sum, envelope) => sum + envelope.tasks.length, 0)
    },
    async close(run) {
      const ledger = found(run)
      ledger.closed = true
      finish(ledger)
    },
    async adopt(run, driver, fence) {
      notFenced(fence)
      const ledger = ledgers.get(run)
      if (ledger === undefined) return undefined
      ledger.opened = { ...ledger.opened, driver }
      return progressOf(ledger)
    },
    async peekSpool(run, count) {
      return ledgers.get(run)?.spool.slice(0, count) ?? []
    },
    async dropSpool(run, envelopes, tasks) {
      const ledger = found(run)
      ledger.spool.splice(0, envelopes)
      ledger.spooled -= tasks
    },
    async settle(settlements, fence) {
      notFenced(fence)
      return settlements.map(settleOne)
    },
    async recount(run, fence) {
      notFenced(fence)
      const ledger = ledgers.get(run)
      if (ledger === undefined || ledger.finishedAt !== undefined) return 0
      const held = [...ledger.room].filter(([, tasks]) => tasks !== 0)
      const holding = held.reduce((sum, [, tasks]) => sum + tasks, 0)
      const excess = holding - (ledger.accepted - ledger.done)
      const [mailbox] = held[0] ?? []
      const isCertain = ledger.closed && ledger.spooled === 0 && held.length === 1 && excess > 0
      if (isCertain && mailbox !== undefined) {
        add(room, mailbox, -excess)
        add(ledger.room, mailbox, -excess)
      }
      finish(ledger)
      return isCertain ? excess : 0
    },
    async stored(settled, fence) {
      notFenced(fence)
      for (const { run, id } of settled) {
        const ledger = ledgers.get(run)
        if (ledger === undefined) continue
        ledger.storing.delete(id)
        finish(ledger)
      }
    },
    async pending(run, seqs) {
      const ledger = ledgers.get(run)
      return [...eachSeq(seqs)].map((seq) => (ledger?.map[seq] ?? 0) === 0)
    },
    async get(run) {
      const ledger = ledgers.get(run)
      return ledger === undefined ? undefined : progressOf(ledger)
    },
    async list({ limit, after }) {
      return [...ledgers.keys()]
        .filter((id) => after === undefined || id < after)
        .sort((a, b) => (a < b ? 1 : -1))
        .slice(0, limit)
        .map((id) => progressOf(found(id)).run)
    },
    async unfinished() {
      return [...ledgers.values()]
        .filter((ledger) => ledger.finishedAt === undefined)
        .map((ledger) => ledger.opened.id)
    },
    async watch(listener) {
      listeners.add(listener)
      return async () => {
        listeners.delete(listener)
      }
    },
  }

  const admission: Admission = {
    async reserve(mailbox, run, tasks, depthMax) {
      if ((room.get(mailbox) ?? 0) + tasks > depthMax) return false
      add(room, mailbox, tasks)
      add(found(run).room, mailbox, tasks)
      return true
    },
    async used(mailbox) {
      return room.get(mailbox) ?? 0
    },
    async paces() {
      return Object.fromEntries(paces)
    },
    async recordPaces(measured) {
      for (const [kind, ms] of Object.entries(measured)) paces.set(kind, ms)
    },
  }

  return { accounting, admission }
}

function progressOf(ledger: Ledger): RunProgress {
  const { opened, finishedAt } = ledger
  const counts = noCounts()
  outcomes.forEach((outcome, index) => {
    counts[outcome] = ledger.counts[index + 1] ?? 0
  })
  counts.pending = ledger.accepted - ledger.done
  return {
    run: {
      id: opened.id,
      state: ledger.state,
      total: ledger.accepted,
      counts,
      rejectedCount: ledger.rejectedCount,
      rejected: [...ledger.rejected],
      ...(opened.parent === undefined ? {} : { parent: opened.parent }),
      ...(opened.reason === undefined ? {} : { reason: opened.reason }),
      createdAt: opened.createdAt,
      ...(finishedAt === undefined
        ? {}
        : { finishedAt, durationMs: Math.max(0, finishedAt - opened.createdAt) }),
      ...(opened.labels === undefined ? {} : { labels: opened.labels }),
    },
    lines: ledger.lines,
    accepted: ledger.accepted,
    spooled: ledger.spooled,
    closed: ledger.closed,
    driver: opened.driver,
    ...(opened.content === undefined ? {} : { content: opened.content }),
    ...(opened.fence === undefined ? {} : { fence: opened.fence }),
  }
}
