/**
 * Accounting, the port that runs stand on: who was accepted, who ended how, counted once.
 */
import type { Counts, Outcome } from '../machines/outcome.ts'
import type { Envelope } from './envelope.ts'
import type { FencingToken } from './ports-fleet.ts'
import type { Rejection } from './task.ts'

export type RunState = 'accepting' | 'running' | 'paused' | 'completed' | 'cancelled' | 'halted'

/** The public shape of a run: contract section 6. */
export interface Run {
  id: string
  state: RunState
  total: number
  counts: Counts
  rejectedCount: number
  rejected: Rejection[]
  parent?: string
  reason?: string
  stopReason?: string
  createdAt: number
  finishedAt?: number
  durationMs?: number
  labels?: Record<string, string>
}

/**
 * What keeps the tasks of a run from being started: `paused` for a while; the others for good, of
 * which `cancelled` and `halted-now` abort what runs as well.
 */
export type Hold = 'paused' | 'cancelled' | 'halted-soon' | 'halted-now'

/** When a run is stopped for its failures (failed, timeout and dead): contract section 4. */
export interface HaltPolicy {
  mode: 'soon' | 'now'
  fail: Share
}

/** A number of tasks, or a percentage of those accepted. */
export type Share = { tasks: number } | { percent: number }

/** What an operator may do to a run that is not over. */
export type RunAction = 'pause' | 'resume' | 'cancel'

/** A run and how far its intake and dispatch have come. */
export interface RunProgress {
  run: Run
  hold?: Hold
  /** Most of its tasks in flight at a time. */
  window?: Share
  halt?: HaltPolicy
  /** Lines of the source, blank ones left out, that are durably accepted or rejected. */
  lines: number
  /** Tasks accepted so far; the next task gets this seq. */
  accepted: number
  /** Tasks in the spool, accepted and not yet in a mailbox. */
  spooled: number
  /** Tasks that were ever put back from their mailbox into the spool. */
  parked: number
  /** The source has ended; no more tasks will come. */
  closed: boolean
  /** Node id and boot of the dispatcher that drives the run. */
  driver: string
  /** Hash of the source's lines, where it was known when the run was opened. */
  content?: string
  /** Of a run that was opened under a key: hash of its first `lines` lines, when there are any. */
  linesHash?: string
  /** Which submission is feeding it now, of a run that was opened under a key. */
  feeder?: string
  /** In whose name its tasks run, when a singleton submitted it. */
  fence?: FencingToken
}

export interface OpenRun {
  id: string
  createdAt: number
  driver: string
  /** Hash of the source's lines where it is known beforehand: finds the unfinished twin. */
  content?: string
  /**
   * Finds the run that was opened under it first, finished or not, for `ttlMs` from then on; the
   * content finds nothing then. Whoever opens such a run is the first to feed it, under the run's
   * own id.
   */
  key?: { name: string; ttlMs: number }
  reason?: string
  parent?: string
  labels?: Record<string, string>
  /** In whose name its tasks run. */
  fence?: FencingToken
  window?: Share
  halt?: HaltPolicy
}

/** What one look at the source brought. Applied whole or not at all. */
export interface Chunk {
  /** `lines` of the run must still be this, else somebody else went on with the run. */
  afterLine: number
  lines: number
  /** Hash of the first `lines` lines, of a run that was opened under a key. */
  linesHash?: string
  /** Who must be feeding it still, of a run that was opened under a key. */
  feeder?: string
  accepted: number
  rejected: readonly Rejection[]
  /** Envelopes that find no room now; kept in order in the run's spool. */
  spool: readonly Envelope[]
  /**
   * Envelopes that wait for other tasks, `needs` of their own run, to be ok: into the spool when
   * they all are, or as soon as one is not, marked with how they end then.
   */
  held?: readonly HeldEnvelope[]
}

export interface HeldEnvelope {
  envelope: Envelope
  /** Seqs, each once, all lower than the envelope's own. */
  needs: readonly number[]
}

export interface Settlement {
  run: string
  /** Id of the results message: names this settlement in the set of those being stored. */
  id: string
  /** The work mailbox whose room these tasks held. */
  mailbox: string
  /** Ranges of seq `[first, count]`, ascending. */
  seqs: readonly SeqRange[]
  /** One outcome a task, in the order of `seqs`. */
  outcomes: readonly Outcome[]
}

export type SeqRange = readonly [first: number, count: number]

export interface Settled {
  /** How many of the tasks had no outcome before. */
  fresh: number
  /**
   * For each task in the order of `seqs`: the outcome the map holds now. Undefined when every
   * outcome was fresh, which is nearly always.
   */
  outcomes?: readonly (Outcome | undefined)[]
}

/** One task's wish to be the only one of its dedupe key for a while. */
export interface KeyClaim {
  key: string
  seq: number
  ttlMs: number
}

export interface KeyHolder {
  run: string
  seq: number
}

/** Something about a run changed. */
export interface RunNotice {
  run: string
  /** Tasks with a final outcome. */
  done: number
  state: RunState
  /** Work mailbox that got room, when that is what changed. */
  mailbox?: string
  /** What holds it back now. */
  hold?: Hold
  /** Tasks that were ever put back from their mailbox into the spool, when there are any. */
  parked?: number
  /** Something in its spool can be moved that could not be before. */
  spoolFilled?: boolean
}

/** So many envelopes of a head, with so many tasks in them, by who drives the run. */
export interface DropSpool {
  mark: string
  envelopes: number
  tasks: number
  driver?: string
}

/** The envelopes at the head of a spool. */
export interface SpoolHead {
  envelopes: Envelope[]
  /** Says which they are, whatever is put before them meanwhile; for `dropSpool` alone. */
  mark: string
}

export interface Accounting {
  /** The new run, or the one of the same key, or the unfinished one with the same content. */
  open(run: OpenRun): Promise<{ progress: RunProgress; resumed: boolean }>
  /** The run that stands under a key. */
  runOfKey(key: string): Promise<string | undefined>
  /** Note which seq each task id of a run belongs to; a later claim replaces an earlier one. */
  claimIds(run: string, ids: readonly (readonly [id: string, seq: number])[]): Promise<void>
  /** The seq of each id, or undefined. */
  seqsOf(run: string, ids: readonly string[]): Promise<(number | undefined)[]>
  /**
   * Become the one who feeds and drives a run that was opened under a key.
   * @param instead who feeds it now, when that one is known to be gone
   * @returns false when somebody else feeds it, or its source has ended
   */
  feed(run: string, feeder: string, driver: string, instead?: string): Promise<boolean>
  /** Its source broke off: somebody else may feed it. */
  unfeed(run: string, feeder: string): Promise<void>
  /**
   * Claim the dedupe keys of tasks, in this order; the same task may claim again.
   * @returns for each, who has it already
   */
  claimKeys(run: string, claims: readonly KeyClaim[]): Promise<(KeyHolder | undefined)[]>
  commit(run: string, chunk: Chunk): Promise<void>
  /** The source has ended. Completes the run if everything is accounted for already. */
  close(run: string): Promise<void>
  /** Make `driver` the one that drives the run. Whoever was feeding it under a key is no more. */
  adopt(run: string, driver: string, fence?: FencingToken): Promise<RunProgress | undefined>
  /** At most `count` envelopes from the head of the spool; none when it is empty. */
  peekSpool(run: string, count: number): Promise<SpoolHead>
  /**
   * Take the first envelopes of a head off the spool: they are in their mailboxes. Heads that were
   * looked at before count no longer.
   * @throws ConflictError RUN_DRIVEN_ELSEWHERE, and drops nothing, when `driver` no longer is it
   */
  dropSpool(run: string, drop: DropSpool): Promise<void>
  settle(settlements: readonly Settlement[], fence?: FencingToken): Promise<Settled[]>
  /** The rows of these settlements are stored; completes runs that waited for just that. */
  stored(settled: readonly { run: string; id: string }[], fence?: FencingToken): Promise<void>
  /**
   * Give back room that the run holds without need, as far as that is certain, and complete it if
   * everything is accounted for.
   * @returns how many tasks' room that was
   */
  recount(run: string, fence?: FencingToken): Promise<number>
  /**
   * Pause, resume or cancel a run. What stands so already is left as it is.
   * @throws NotFoundError; ConflictError ILLEGAL_TRANSITION when the run is over, or will be
   */
  control(run: string, action: RunAction, reason: string): Promise<RunProgress>
  /** The runs that are held back. */
  holds(): Promise<Map<string, Hold>>
  /**
   * Put an envelope, of which `parks` says how often that was done, from its mailbox back into the
   * spool of its run, and give back its room. Done once, however often it is asked.
   * @returns false when the run is not paused (any more), and nothing keeps it from being run
   */
  park(envelope: Envelope): Promise<boolean>
  /**
   * Whether an envelope of an ordered mailbox may be run. Not while others of its run that come
   * before it have been put back and not come again: then it is to be put back as well.
   */
  isNext(envelope: Envelope): Promise<boolean>
  /**
   * Note who begins an attempt at a task that must not run twice: the first to ask.
   * @returns who that is; undefined when nobody is to begin it any more, for it has an outcome
   */
  begin(run: string, seq: number, attempt: number, who: string): Promise<string | undefined>
  /** Which of these tasks have no outcome yet. */
  pending(run: string, seqs: readonly SeqRange[]): Promise<boolean[]>
  get(run: string): Promise<RunProgress | undefined>
  /** Newest first. */
  list(options: { limit: number; after?: string }): Promise<Run[]>
  unfinished(): Promise<string[]>
  /** Push: called on every notice, and with undefined when notices may have been missed. */
  watch(listener: (notice: RunNotice | undefined) => void): Promise<() => Promise<void>>
}
