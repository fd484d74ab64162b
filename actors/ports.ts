/**
 * What the actors need of the world, as types. `runtime/` implements every port twice: once on a
 * technology (Redis, BullMQ, SQLite, files, processes) and once in memory; one conformance suite in
 * test/conformance/ runs on both.
 */
import type { Counts, Outcome } from '../machines/outcome.ts'
import type { DeadLetter } from './dead-letters.ts'
import type { Envelope, ResultsEnvelope } from './envelope.ts'
import type { Fence, FencingToken } from './ports-fleet.ts'
import type { ResultLine } from './result.ts'
import type { ResultBatch } from './results.ts'
import type { Rejection, Task } from './task.ts'
import type { TreeNode } from './tree.ts'

export interface Clock {
  /** Epoch milliseconds. */
  now(): number
  /** Milliseconds on a clock that never goes back; only differences mean something. */
  monotonic(): number
  /** Resolves after everything else that is due had its turn. */
  breathe(): Promise<void>
  /** Resolves after `ms`, or at once when the signal aborts. */
  wait(ms: number, signal?: AbortSignal): Promise<void>
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
/** Structured logging: fields first, then one sentence. */
export type Log = Record<LogLevel, (fields: Record<string, unknown>, message: string) => void>

/**
 * Anything with a life. `start` resolves when it is ready, `stop` when it is fully stopped; `stop`
 * may be called before `start`, twice, and while starting.
 */
export interface Service {
  start(): Promise<void>
  stop(): Promise<void>
}

/* ---- mailboxes: durable, at-least-once, between processes ---- */

/** One message for one mailbox. Sending the same `id` again while it is there adds nothing. */
export interface Message {
  mailbox: string
  /** Deterministic: made of what is in it, never of when it was sent. No ':' and not a number. */
  id: string
  priority: Priority
  delayMs: number
  body: Envelope | ResultsEnvelope
}

export interface Delivery {
  id: string
  body: unknown
  /** How often this message was handed out before and not acknowledged: 0 is the first time. */
  redeliveries: number
  /** Aborted when the mailbox takes the message away (lock lost, forced stop). */
  signal: AbortSignal
  /** What earlier deliveries of this message noted; notes outlive a killed worker. */
  notes(): Promise<Record<string, string>>
  note(fields: Record<string, string>): Promise<void>
}

export interface ReceiveOptions {
  /** Messages handled at the same time by this receiver. */
  concurrency: number
  /** Strict order: at most one message of this mailbox is handled in the whole system. */
  ordered: boolean
}

/** Resolving acknowledges the message; throwing gives it back to be delivered again. */
export type Handle = (delivery: Delivery) => Promise<void>

export interface Receiver {
  /** Take no new messages; those at hand go on. */
  pause(): Promise<void>
  resume(): Promise<void>
  /**
   * Wait at most `graceMs` for messages at hand, then hand the rest back unharmed. Again with 0: do
   * not wait any longer.
   */
  stop(graceMs: number): Promise<void>
}

export interface MailboxDepth {
  /** In messages (envelopes), not tasks. */
  waiting: number
  active: number
  delayed: number
}

export interface Mailboxes {
  /** Resolves when every message is durable. Idempotent by `id`. */
  send(messages: readonly Message[]): Promise<void>
  /** Deliver the delayed messages of a run now. */
  hasten(run: string): Promise<void>
  /**
   * Make messages of priority `low` that have waited for so long `normal` ones, the last of those:
   * priorities are strict, and `low` ones would wait for ever. In each mailbox the oldest, at most
   * `countMax`.
   * @returns how many messages that were
   */
  promoteLow(waitedMs: number, countMax: number): Promise<number>
  receive(mailbox: string, options: ReceiveOptions, handle: Handle): Promise<Receiver>
  depth(mailbox: string): Promise<MailboxDepth>
  /**
   * Epoch ms from which the oldest of those that are next in their priority could have been
   * delivered; undefined when none waits.
   */
  oldestAt(mailbox: string): Promise<number | undefined>
  /** Names of every mailbox anybody ever sent to. */
  names(): Promise<string[]>
  /** Called for every mailbox that is new since; returns an unsubscribe function. */
  onNew(listener: (mailbox: string) => void): Promise<() => Promise<void>>
  /** The names under which the receivers of this process hold messages. */
  holders(): string[]
  /**
   * Deliver again at once what these held, all of whom are gone for good.
   * @returns how many messages that were
   */
  reclaim(holders: readonly string[]): Promise<number>
  close(): Promise<void>
}

export type Priority = 'critical' | 'high' | 'normal' | 'low'

/* ---- accounting: who was accepted, who ended how, counted once ---- */

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
   * Of a run that is cancelled or halted: into the spool with what waits for other tasks.
   * @returns how many envelopes that were, at most `count`; 0 when none waits any more
   */
  freeHeld(run: string, count: number): Promise<number>
  /** Which of these tasks have no outcome yet. */
  pending(run: string, seqs: readonly SeqRange[]): Promise<boolean[]>
  get(run: string): Promise<RunProgress | undefined>
  /** Newest first. */
  list(options: { limit: number; after?: string }): Promise<Run[]>
  unfinished(): Promise<string[]>
  /** Push: called on every notice, and with undefined when notices may have been missed. */
  watch(listener: (notice: RunNotice | undefined) => void): Promise<() => Promise<void>>
}

/* ---- admission: exact room in a mailbox, over all nodes ---- */

export interface Admission {
  /** Take room for `tasks` of a run. False, and nothing taken, when it would pass `depthMax`. */
  reserve(mailbox: string, run: string, tasks: number, depthMax: number): Promise<boolean>
  /** Tasks that hold room in a mailbox. */
  used(mailbox: string): Promise<number>
  /** Milliseconds of work one task of a kind takes, as last measured anywhere. */
  paces(): Promise<Record<string, number>>
  recordPaces(paces: Record<string, number>): Promise<void>
}

/* ---- results: rows and lines that stay ---- */

export interface ResultQuery {
  outcomes?: readonly Outcome[]
  /** Rows after this seq. */
  after?: number
  limit: number
}

export interface Results {
  /** First one wins: a row that is there already stays. All or nothing. */
  put(batches: readonly ResultBatch[]): Promise<void>
  /** By ascending seq. */
  query(run: string, query: ResultQuery): Promise<{ seq: number; line: string }[]>
  /** The same, with what is needed to run the tasks again. */
  tasks(run: string, query: ResultQuery): Promise<{ seq: number; line: string; task?: string }[]>
  get(run: string, seq: number): Promise<{ line: ResultLine; attempts: Attempt[] } | undefined>
}

/** An attempt that was not the last. */
export interface Attempt {
  attempt: number
  startedAt: number
  durationMs: number
  node: string
  error: { code: string; message: string }
}

/** Append-only lines, in the order given; resolves when a killed process cannot lose them. */
export interface AuditLog {
  append(lines: string): Promise<void>
}

/* ---- executors: how one task is run ---- */

export interface ExecuteContext {
  run: string
  seq: number
  kind: string
  attempt: number
  /** In whose name it runs, when a singleton submitted it. */
  fence?: Fence
  /** Aborted on cancel, halt, lost lock or forced stop. Time limits are the executor's own. */
  signal: AbortSignal
}

/** What one attempt came to. */
export interface Execution {
  outcome: 'ok' | 'failed' | 'timeout'
  output?: unknown
  error?: { code: string; message: string }
  /**
   * Where it failed: `run` = the task ran and said no, `start` = it never got to run (spawn, lost
   * host), `terminal` = it says itself that trying again is useless.
   */
  stage?: 'run' | 'start' | 'terminal'
}

export interface Executor extends Service {
  /** Never throws. Returns at once, without a promise, when the work itself did. */
  run(task: Task, context: ExecuteContext): Execution | Promise<Execution>
}

/* ---- what a node stands on and cannot do without ---- */

/** Something with a connection that may be lost and come back. */
export interface Dependency {
  /** Resolves when it can be used. From then on the listener hears of its connection. */
  open(listener: DependencyListener): Promise<void>
  /** Do what can be done from here to bring it back; rejects when that did not help. */
  revive(): Promise<void>
  close(): Promise<void>
}

export interface DependencyListener {
  lost(): void
  back(): void
}

/* ---- worker processes: workers with an event loop of their own ---- */

/** What a worker process tells about itself, from its own event loop. */
export interface Heartbeat {
  /** Its actors, as `/v1/tree` shows them. */
  tree: TreeNode
  /** The names under which its receivers hold messages. */
  holders: readonly string[]
  /** Tasks at hand. */
  load: number
}

export interface WorkerProcessListener {
  /** It takes work. */
  ready(): void
  beat(heartbeat: Heartbeat): void
  /** It is about to take messages under this name: told before it takes the first. */
  holds(holder: string): void
  /** Whether it runs tasks now that may have taken their worker down before. */
  suspected(isSuspected: boolean): void
  /** Messages between its actors that reached nobody, since it last told. */
  undelivered(letters: readonly DeadLetter[]): void
  /** What it says of itself before it gives up; its end follows. */
  failed(error: unknown): void
  /** It is gone, however that came. Told once. */
  exited(how: { exitCode: number | null; signal: string | null }): void
}

export interface WorkerProcess {
  readonly pid: number
  /** Ask it to end: it gives what is at hand so long, and hands the rest back. */
  stop(graceMs: number): void
  kill(): void
}

export interface WorkerProcesses {
  /** @throws when the operating system refuses */
  start(name: string, listener: WorkerProcessListener): WorkerProcess
}
