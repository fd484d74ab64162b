/**
 * What one node does for all: sweeps nodes that have died, takes up the runs they drove, and gives
 * back room that nobody needs. Each step may be cut off by the death of this node as well: whoever
 * coordinates next finds what is left to do.
 */
import { describeError, FencedError, UnavailableError } from './errors.ts'
import type { Clock, Log, Mailboxes } from './ports.ts'
import type { FencingToken, Leases, MemberRecord, Members } from './ports-fleet.ts'
import type { Accounting } from './ports-runs.ts'
import type { Topics } from './ports-topics.ts'
import { lookAfterStrays, type StraysOptions } from './strays.ts'

export interface CoordinatorOptions {
  members: Members
  leases: Leases
  accounting: Accounting
  mailboxes: Pick<Mailboxes, 'reclaim' | 'promoteLow'>
  topics: Pick<Topics, 'forget'>
  /** This boot of this node. */
  boot: string
  /** The boot in the name of the driver of a run. */
  bootOf(driver: string): string
  /** What it takes to look after mailboxes that nobody serves. */
  strays?: StraysOptions
  /** Take up a run that nobody drives. */
  adopt(run: string, fence: FencingToken): Promise<void>
  /** Whether the process of a node is known to have ended, before its silence says so. */
  isGone(record: MemberRecord): boolean
  /** Since when Redis has been within reach from here, monotonic ms. */
  reachableSince(): number
  heartbeatMs: number
  /** Silence after which a node is dead, ms. */
  staleMs: number
  clock: Clock
  log: Log
}

/** Swept a little early, so that it is done when the time of silence is over. */
const sweepShare = 0.96
/** Looks between the first and the last moment at which a node may be found silent. */
const looks = 50
/** `low` is what can wait, not what may be forgotten: longer than this others do not go first. */
const lowPatienceMs = 60_000
/** Messages of one mailbox, at each look: enough to go on, and little beside what is delivered. */
const promotedMax = 100
/** After an outage everybody gets so many heartbeats to be heard again. */
const graceHeartbeats = 2

/** What one coordinator remembers, from the grant of its lease to the loss. */
interface Term extends CoordinatorOptions {
  fence: FencingToken
  signal: AbortSignal
  /** Dead boots of which nothing is left to do. */
  done: Set<string>
  /** The last moment at which Redis did not hear, or answer, this node. Monotonic ms. */
  unheardAtMs: number
}

/** Coordinates until the signal aborts. Rejects with FencedError once somebody else does. */
export async function coordinate(
  options: CoordinatorOptions,
  fence: FencingToken,
  signal: AbortSignal,
): Promise<void> {
  const { strays } = options
  if (strays === undefined) return coordinateNodes(options, fence, signal)
  // Whichever of the two finds that somebody else coordinates, both are to end.
  const ended = new AbortController()
  const either = AbortSignal.any([signal, ended.signal])
  const works = [coordinateNodes(options, fence, either), lookAfterStrays(strays, fence, either)]
  try {
    await Promise.race(works)
  } finally {
    ended.abort()
    await Promise.allSettled(works)
  }
}

async function coordinateNodes(
  options: CoordinatorOptions,
  fence: FencingToken,
  signal: AbortSignal,
): Promise<void> {
  const { clock, heartbeatMs } = options
  const unheardAtMs = Number.NEGATIVE_INFINITY
  const term: Term = { ...options, fence, signal, done: new Set(), unheardAtMs }
  while (!signal.aborted) {
    let waitMs = heartbeatMs
    try {
      waitMs = await look(term)
    } catch (error) {
      if (error instanceof FencedError) throw error
      term.unheardAtMs = clock.monotonic()
      noteFailed(term, error, {})
    }
    await clock.wait(waitMs, signal)
  }
}

/**
 * Sweeps the nodes whose processes are known to have ended. What anybody may do, and a node does
 * before it joins: whoever comes after a killed one need not wait for its time to run out.
 */
export async function sweepGone(
  options: Pick<CoordinatorOptions, 'members' | 'leases' | 'topics' | 'isGone' | 'log'> & {
    mailboxes: Pick<Mailboxes, 'reclaim'>
    staleMs: number
  },
): Promise<void> {
  const records = await options.members.list(options.staleMs)
  for (const record of records) {
    if (record.swept === true || !options.isGone(record)) continue
    const mine = await options.members.forget(record.id, record.boot, 0)
    if (mine) await sweep(options, record, records)
  }
}

/** @returns when to look again, in ms */
async function look(term: Term): Promise<number> {
  const silentMs = term.staleMs * sweepShare
  const records = await term.members.list(silentMs)
  const canTell = canTellSilence(term, records)
  for (const record of records) {
    if (term.signal.aborted) return 0
    if (record.boot === term.boot) continue
    await tolerate(term, { node: record.id, boot: record.boot }, () =>
      lookAfter(term, record, records, canTell),
    )
  }
  await takeUpRuns(term)
  await tolerate(term, {}, async () => {
    await term.mailboxes.promoteLow(lowPatienceMs, promotedMax)
  })
  const isUrgent = records.some(
    ({ boot, state, swept }) =>
      boot !== term.boot && (state === 'suspect' || (state === 'dead' && swept !== true)),
  )
  // By Redis's own words alone: the clock of this node may be another.
  return isUrgent ? silentMs / looks : Math.min(term.heartbeatMs, silentMs / 2)
}

/**
 * Whether who is silent has died. Where this node was not heard itself, Redis was away: the others
 * will be heard again as well, and not all at the same moment.
 */
function canTellSilence(term: Term, records: readonly MemberRecord[]): boolean {
  const now = term.clock.monotonic()
  const state = records.find(({ boot }) => boot === term.boot)?.state
  if (state !== 'alive' && state !== 'draining') term.unheardAtMs = now
  const sinceMs = Math.max(term.unheardAtMs, term.reachableSince())
  return now - sinceMs >= graceHeartbeats * term.heartbeatMs
}

async function lookAfter(
  term: Term,
  record: MemberRecord,
  records: readonly MemberRecord[],
  canTell: boolean,
): Promise<void> {
  const { fence, members, done, staleMs } = term
  if (done.has(record.boot)) return
  // Taken off the list by somebody who may not have come to the end of it.
  if (record.swept !== true) {
    const isGone = term.isGone(record)
    if (!isGone && !(record.state === 'dead' && canTell)) return
    await term.leases.check(fence.lease, fence.epoch)
    const silentMs = isGone ? 0 : staleMs * sweepShare
    if (!(await members.forget(record.id, record.boot, silentMs))) return
  } else await term.leases.check(fence.lease, fence.epoch)
  await sweep(term, record, records)
  done.add(record.boot)
}

/**
 * What a dead node held goes to others. Again, where it was swept before: it finds nothing, unless
 * that was cut off half-way.
 */
async function sweep(
  {
    leases,
    topics,
    mailboxes,
    isGone,
    log,
  }: Pick<CoordinatorOptions, 'leases' | 'topics' | 'isGone' | 'log'> & {
    mailboxes: Pick<Mailboxes, 'reclaim'>
  },
  record: MemberRecord,
  records: readonly MemberRecord[],
): Promise<void> {
  const { id, boot, host, pid } = record
  const messages = await mailboxes.reclaim(record.holders, isGone(record) ? 'gone' : 'silent')
  const isReplaced = records.some(
    (other) => other.id === id && other.boot !== boot && other.state !== 'dead',
  )
  const held = isReplaced ? [] : (await leases.list()).filter(({ holder }) => holder === id)
  for (const { name } of held) {
    await leases.revoke(name, `its holder ${id} (pid ${pid}) is dead`)
  }
  // The mailboxes of durable subscriptions stay; what it had of them has just gone back.
  const listened = await topics.forget(boot)
  if (record.swept === true && messages === 0 && held.length === 0 && !listened) return
  log.warn({ node: id, boot, host, pid, messages }, 'a dead node was swept')
}

/** Whoever drove them has left, or has died and was swept. */
async function takeUpRuns(term: Term): Promise<void> {
  const { accounting, members, adopt, bootOf, fence, staleMs } = term
  const runs = await accounting.unfinished()
  if (runs.length === 0) return
  // Of those who are merely silent nobody knows yet.
  const driving = new Set(
    (await members.list(staleMs)).filter(({ swept }) => swept !== true).map(({ boot }) => boot),
  )
  for (const run of runs) {
    if (term.signal.aborted) return
    await tolerate(term, { run }, async () => {
      const progress = await accounting.get(run)
      if (progress === undefined || progress.run.finishedAt !== undefined) return
      if (!driving.has(bootOf(progress.driver))) await adopt(run, fence)
      await accounting.recount(run, fence)
    })
  }
}

/** What is wrong with one must not keep the others waiting. */
async function tolerate(
  term: Term,
  fields: Record<string, unknown>,
  step: () => Promise<void>,
): Promise<void> {
  try {
    await step()
  } catch (error) {
    // Nobody else would fare better.
    if (error instanceof FencedError || error instanceof UnavailableError) throw error
    noteFailed(term, error, fields)
  }
}

function noteFailed({ log }: Term, error: unknown, fields: Record<string, unknown>): void {
  log.warn({ ...fields, ...describeError(error) }, 'cannot look after the fleet now')
}
