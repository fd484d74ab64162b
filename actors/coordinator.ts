/**
 * What one node does for all: sweeps nodes that have died, takes up the runs they drove, and gives
 * back room that nobody needs. Each step may be cut off by the death of this node as well: whoever
 * coordinates next finds what is left to do.
 */
import { describeError, FencedError } from './errors.ts'
import type { Accounting, Clock, Log, Mailboxes } from './ports.ts'
import type { FencingToken, Leases, MemberRecord, Members } from './ports-fleet.ts'

export interface CoordinatorOptions {
  members: Members
  leases: Leases
  accounting: Accounting
  mailboxes: Pick<Mailboxes, 'reclaim'>
  /** This boot of this node. */
  boot: string
  /** The boot in the name of the driver of a run. */
  bootOf(driver: string): string
  /** Take up a run that nobody drives. */
  adopt(run: string, fence: FencingToken): Promise<void>
  /** Whether the process of a node is known to have ended, before its silence says so. */
  isGone(record: MemberRecord): boolean
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

/** Coordinates until the signal aborts. Rejects with FencedError once somebody else does. */
export async function coordinate(
  options: CoordinatorOptions,
  fence: FencingToken,
  signal: AbortSignal,
): Promise<void> {
  const { clock, heartbeatMs, log } = options
  while (!signal.aborted) {
    let waitMs = heartbeatMs
    try {
      waitMs = await look(options, fence, signal)
    } catch (error) {
      if (error instanceof FencedError) throw error
      log.warn(describeError(error), 'cannot look after the fleet now')
    }
    await clock.wait(waitMs, signal)
  }
}

/**
 * Sweeps the nodes whose processes are known to have ended. What anybody may do, and a node does
 * before it joins: whoever comes after a killed one need not wait for its time to run out.
 */
export async function sweepGone(
  options: Pick<CoordinatorOptions, 'members' | 'leases' | 'mailboxes' | 'isGone' | 'log'> & {
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
async function look(
  options: CoordinatorOptions,
  fence: FencingToken,
  signal: AbortSignal,
): Promise<number> {
  const silentMs = options.staleMs * sweepShare
  const records = await options.members.list(silentMs)
  const own = records.find(({ boot }) => boot === options.boot)
  // Where we have not been heard ourselves, Redis was away: the others will be heard again as well.
  const canTell = own?.state === 'alive' || own?.state === 'draining'
  for (const record of records) {
    if (signal.aborted) return 0
    if (record.boot === options.boot || record.swept === true) continue
    const isGone = options.isGone(record)
    if (!isGone && !(record.state === 'dead' && canTell)) continue
    await options.leases.check(fence.lease, fence.epoch)
    const mine = await options.members.forget(record.id, record.boot, isGone ? 0 : silentMs)
    if (mine) await sweep(options, record, records)
  }
  await takeUpRuns(options, fence, signal)
  return nextLookMs(options, records, silentMs)
}

/** Nobody else does this for the record: what it held goes to others. */
async function sweep(
  { leases, mailboxes, log }: Pick<CoordinatorOptions, 'leases' | 'mailboxes' | 'log'>,
  record: MemberRecord,
  records: readonly MemberRecord[],
): Promise<void> {
  const messages = await mailboxes.reclaim(record.holders)
  const isReplaced = records.some(
    ({ id, boot, state }) => id === record.id && boot !== record.boot && state !== 'dead',
  )
  if (!isReplaced) {
    for (const { name, holder } of await leases.list()) {
      if (holder !== record.id) continue
      await leases.revoke(name, `its holder ${record.id} (pid ${record.pid}) is dead`)
    }
  }
  const { id, boot, host, pid } = record
  log.warn({ node: id, boot, host, pid, messages }, 'a dead node was swept')
}

/** Whoever drove them has left, or has died. */
async function takeUpRuns(
  { accounting, members, adopt, bootOf, staleMs }: CoordinatorOptions,
  fence: FencingToken,
  signal: AbortSignal,
): Promise<void> {
  const runs = await accounting.unfinished()
  if (runs.length === 0) return
  const living = new Set(
    (await members.list(staleMs)).filter(({ state }) => state !== 'dead').map(({ boot }) => boot),
  )
  for (const run of runs) {
    if (signal.aborted) return
    const progress = await accounting.get(run)
    if (progress === undefined || progress.run.finishedAt !== undefined) continue
    if (!living.has(bootOf(progress.driver))) await adopt(run, fence)
    await accounting.recount(run, fence)
  }
}

function nextLookMs(
  { boot, heartbeatMs, clock }: CoordinatorOptions,
  records: readonly MemberRecord[],
  silentMs: number,
): number {
  const dueMs = records
    .filter((record) => record.state !== 'dead' && record.boot !== boot)
    .map(({ lastSeen }) => lastSeen + silentMs - clock.now())
  return Math.max(silentMs / looks, Math.min(heartbeatMs, ...dueMs))
}
