/** The accounting port in memory: the twin of runtime/redis/accounting.ts. */
import { eachSeq, envelopeId } from '../../actors/envelope.ts'
import { ConflictError, drivenElsewhere, NotFoundError } from '../../actors/errors.ts'
import { illegal, isStopped } from '../../actors/holds.ts'
import { fenced } from '../../actors/lease.ts'
import type { Admission } from '../../actors/ports.ts'
import type { FencingToken } from '../../actors/ports-fleet.ts'
import type { Accounting, RunNotice, Settlement } from '../../actors/ports-runs.ts'
import { outcomeCode, outcomeOf } from '../../machines/outcome.ts'
import {
  dropHead,
  finalState,
  halts,
  headOf,
  holdBack,
  isNext,
  type Ledger,
  letGo,
  newLedger,
  progressOf,
  putBack,
  takeBack,
} from './ledger.ts'

/** Rejected lines a run remembers; beyond that they are only counted. */
const rejectedKept = 1000

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
  const runsByKey = new Map<string, { run: string; until: number }>()
  const dedupe = new Map<string, { run: string; seq: number; until: number }>()
  const listeners = new Set<(notice: RunNotice | undefined) => void>()

  const add = (counts: Map<string, number>, name: string, more: number) => {
    counts.set(name, (counts.get(name) ?? 0) + more)
  }

  const notify = (ledger: Ledger, news: Partial<RunNotice> = {}) => {
    const notice: RunNotice = {
      run: ledger.opened.id,
      done: ledger.done,
      state: ledger.state,
      ...(ledger.hold === undefined ? {} : { hold: ledger.hold }),
      ...(ledger.parkedTasks === 0 ? {} : { parked: ledger.parkedTasks }),
      ...news,
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
    const isHalted = halts(ledger)
    if (ledger.closed && ledger.done >= ledger.accepted && ledger.storing.size === 0) {
      ledger.state = finalState(ledger)
      // What ran when it was paused was all there was.
      if (ledger.hold === 'paused') {
        delete ledger.hold
        delete ledger.stopReason
      }
      ledger.finishedAt = now()
      for (const [mailbox, held] of ledger.room) add(room, mailbox, -held)
      ledger.room.clear()
      ledger.spool = []
      ledger.first = []
      ledger.ids.clear()
    }
    if (ledger.state !== before || isHalted) notify(ledger, isHalted ? { spoolFilled: true } : {})
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
    let spoolFilled = false
    tasks.forEach((seq, index) => {
      if (ledger.map[seq] !== 0) return
      const code = outcomeCode(ends[index] ?? 'failed')
      ledger.map[seq] = code
      ledger.counts[code] = (ledger.counts[code] ?? 0) + 1
      fresh += 1
      if (letGo(ledger, seq, code)) spoolFilled = true
    })
    if (fresh > 0) {
      ledger.storing.add(id)
      ledger.done += fresh
      if (mailbox !== '') {
        add(room, mailbox, -fresh)
        add(ledger.room, mailbox, -fresh)
      }
      notify(ledger, {
        ...(mailbox === '' ? {} : { mailbox }),
        ...(spoolFilled ? { spoolFilled } : {}),
      })
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

  const runOfKey = (key: string): string | undefined => {
    const keyed = runsByKey.get(key)
    return keyed !== undefined && keyed.until > now() ? keyed.run : undefined
  }

  const accounting: Accounting = {
    async open(run) {
      const { key, content } = run
      const twin =
        key !== undefined
          ? ledgers.get(runOfKey(key.name) ?? '')
          : [...ledgers.values()].find(
              ({ opened, finishedAt }) =>
                content !== undefined &&
                opened.key === undefined &&
                opened.content === content &&
                finishedAt === undefined,
            )
      if (twin !== undefined) return { progress: progressOf(twin), resumed: true }
      const ledger = newLedger(run)
      ledgers.set(run.id, ledger)
      if (key !== undefined) runsByKey.set(key.name, { run: run.id, until: now() + key.ttlMs })
      return { progress: progressOf(ledger), resumed: false }
    },
    runOfKey: async (key) => runOfKey(key),
    async claimIds(run, ids) {
      const ledger = found(run)
      for (const [id, seq] of ids) ledger.ids.set(id, seq)
    },
    async seqsOf(run, ids) {
      const ledger = ledgers.get(run)
      return ids.map((id) => ledger?.ids.get(id))
    },
    async feed(run, feeder, driver, instead) {
      const ledger = ledgers.get(run)
      if (ledger === undefined || ledger.closed || ledger.finishedAt !== undefined) return false
      const other = ledger.feeder
      if (other !== undefined && other !== feeder && other !== instead) return false
      ledger.feeder = feeder
      ledger.opened = { ...ledger.opened, driver }
      return true
    },
    async unfeed(run, feeder) {
      const ledger = ledgers.get(run)
      if (ledger?.feeder === feeder) delete ledger.feeder
    },
    async claimKeys(run, claims) {
      return claims.map(({ key, seq, ttlMs }) => {
        const holder = dedupe.get(key)
        if (holder === undefined || holder.until <= now()) {
          dedupe.set(key, { run, seq, until: now() + ttlMs })
          return undefined
        }
        const isOwn = holder.run === run && holder.seq === seq
        return isOwn ? undefined : { run: holder.run, seq: holder.seq }
      })
    },
    async commit(run, chunk) {
      const ledger = found(run)
      const isFeeder = chunk.feeder === undefined || chunk.feeder === ledger.feeder
      if (ledger.closed || !isFeeder || ledger.lines !== chunk.afterLine) {
        throw new ConflictError(
          `run ${run} no longer stands at line ${chunk.afterLine}: another source is feeding it`,
          'RUN_FED_ELSEWHERE',
        )
      }
      ledger.lines = chunk.lines
      if (chunk.linesHash !== undefined) ledger.linesHash = chunk.linesHash
      ledger.accepted = chunk.accepted
      ledger.rejectedCount += chunk.rejected.length
      ledger.rejected.push(...chunk.rejected.slice(0, rejectedKept - ledger.rejected.length))
      ledger.spool.push(...chunk.spool)
      const held = chunk.held ?? []
      for (const one of held) holdBack(ledger, one)
      const waiting = [...chunk.spool, ...held.map(({ envelope }) => envelope)]
      ledger.spooled += waiting.reduce((sum, envelope) => sum + envelope.tasks.length, 0)
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
      delete ledger.feeder
      return progressOf(ledger)
    },
    async peekSpool(run, count) {
      const ledger = ledgers.get(run)
      return ledger === undefined ? { mark: '', envelopes: [] } : headOf(ledger, count)
    },
    async dropSpool(run, drop) {
      const ledger = found(run)
      const { driver } = drop
      if (driver !== undefined && driver !== ledger.opened.driver) throw drivenElsewhere(run)
      dropHead(ledger, drop)
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
    async control(run, action, reason) {
      const ledger = found(run)
      const { hold } = ledger
      if (ledger.finishedAt !== undefined) throw illegal(run, action, ledger.state)
      const next = action === 'cancel' ? 'cancelled' : action === 'pause' ? 'paused' : undefined
      if (next === hold) return progressOf(ledger)
      if (isStopped(hold) && next !== 'cancelled') throw illegal(run, action, `stopping (${hold})`)
      delete ledger.hold
      delete ledger.stopReason
      if (next !== undefined) Object.assign(ledger, { hold: next, stopReason: reason })
      if (next !== 'paused') takeBack(ledger)
      notify(ledger, { spoolFilled: true })
      return progressOf(ledger)
    },
    async holds() {
      return new Map(
        [...ledgers].flatMap(([run, { hold, finishedAt }]) =>
          hold === undefined || finishedAt !== undefined ? [] : [[run, hold] as const],
        ),
      )
    },
    async park(envelope) {
      const ledger = found(envelope.run)
      if (ledger.parkedIds.has(envelopeId(envelope))) return true
      const isPaused = ledger.hold === 'paused'
      const isToWait = ledger.hold === undefined && !isNext(ledger, envelope)
      if (!isPaused && !isToWait) return false
      const { mailbox, tasks } = envelope
      putBack(ledger, envelope)
      add(room, mailbox, -tasks.length)
      add(ledger.room, mailbox, -tasks.length)
      notify(ledger, { mailbox, ...(isPaused ? {} : { spoolFilled: true }) })
      return true
    },
    async isNext(envelope) {
      const ledger = found(envelope.run)
      if (!isNext(ledger, envelope)) return false
      ledger.behind.get(envelope.mailbox)?.delete(envelope.seqs[0]?.[0] ?? 0)
      return true
    },
    async begin(run, seq, attempt, who) {
      const ledger = ledgers.get(run)
      if (ledger === undefined) return who
      if (ledger.finishedAt !== undefined || (ledger.map[seq] ?? 0) !== 0) return undefined
      const first = ledger.begun.get(`${seq}.${attempt}`) ?? who
      ledger.begun.set(`${seq}.${attempt}`, first)
      return first
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
    async moveRoom(run, id, { from, to, tasks }) {
      const ledger = ledgers.get(run)
      if (ledger === undefined || ledger.finishedAt !== undefined || ledger.roomMoves.has(id))
        return
      ledger.roomMoves.add(id)
      for (const held of [room, ledger.room]) {
        add(held, from, -tasks)
        add(held, to, tasks)
      }
    },
    async usedIn(mailboxes) {
      return mailboxes.map((mailbox) => room.get(mailbox) ?? 0)
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
