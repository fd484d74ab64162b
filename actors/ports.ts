/**
 * What the actors need of the world, as types. `runtime/` implements every port twice: once on a
 * technology (Redis, BullMQ, SQLite, files, processes) and once in memory; one conformance suite in
 * test/conformance/ runs on both.
 */
import type { AnyActorLogic } from 'xstate'
import type { Decision } from '../machines/balancer.ts'
import type { Outcome } from '../machines/outcome.ts'
import type { DeadLetter, Tell } from './dead-letters.ts'
import type { Envelope, ResultsEnvelope } from './envelope.ts'
import type { PoolMeter } from './pool-meter.ts'
import type { Fence } from './ports-fleet.ts'
import type { TopicMessage } from './ports-topics.ts'
import type { Publish } from './publisher.ts'
import type { ResultLine } from './result.ts'
import type { ResultBatch } from './results.ts'
import type { Task } from './task.ts'
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
  /**
   * For whoever looks every `ms`: resolves at the next of the moments that all share who look as
   * often, half of `ms` from now at the earliest, or at once when the signal aborts. A process at
   * rest wakes up once for all of them.
   */
  tick(ms: number, signal?: AbortSignal): Promise<void>
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
  body: Envelope | ResultsEnvelope | TopicMessage
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

/** Among the notes of a delivery: '1' where whoever had the message last is gone for good. */
export const diedNote = 'died'

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
  /** Names of every mailbox anybody ever sent to, but those that were retired since. */
  names(): Promise<string[]>
  /**
   * Take off the list of names those that nothing is in; whoever sends to one puts it back on it.
   * To be called again and again: it also puts back those retired lately that a message was on its
   * way to.
   * @returns the names that were taken off now
   */
  retire(mailboxes: readonly string[]): Promise<string[]>
  /** Called for every mailbox that is new since; returns an unsubscribe function. */
  onNew(listener: (mailbox: string) => void): Promise<() => Promise<void>>
  /** The names under which the receivers of this process hold messages. */
  holders(): string[]
  /**
   * Deliver again at once what these held, and note that they are gone. Who is only silent may go
   * on with it until its locks end by its own clock: where order counts, its messages stay with it
   * that long, and come back by themselves.
   * @returns how many messages that were
   */
  reclaim(holders: readonly string[], are: 'gone' | 'silent'): Promise<number>
  close(): Promise<void>
}

export type Priority = 'critical' | 'high' | 'normal' | 'low'

/* ---- admission: exact room in a mailbox, over all nodes ---- */

export interface Admission {
  /** Take room for `tasks` of a run. False, and nothing taken, when it would pass `depthMax`. */
  reserve(mailbox: string, run: string, tasks: number, depthMax: number): Promise<boolean>
  /** Tasks that hold room in a mailbox. */
  used(mailbox: string): Promise<number>
  /** The same of several, in one go and in their order. */
  usedIn(mailboxes: readonly string[]): Promise<number[]>
  /**
   * The room that tasks of a run hold in a mailbox, in another one from now on, however full that
   * is. Done once for each `id`, however often it is asked.
   */
  moveRoom(run: string, id: string, move: RoomMove): Promise<void>
  /** Milliseconds of work one task of a kind takes, as last measured anywhere. */
  paces(): Promise<Record<string, number>>
  recordPaces(paces: Record<string, number>): Promise<void>
}

export interface RoomMove {
  from: string
  to: string
  tasks: number
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
  get(run: string, seq: number): Promise<StoredResult | undefined>
}

export interface StoredResult {
  line: ResultLine
  /** Before the last one. */
  attempts: readonly Attempt[]
  /** Why it ran on that node, where somebody chose it among several. */
  routing?: Decision
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
  /** The lines of these results. */
  appendResults(batches: readonly ResultBatch[]): Promise<void>
}

/* ---- executors: how one task is run ---- */

export interface ExecuteContext {
  run: string
  seq: number
  kind: string
  attempt: number
  /** In whose name it runs, when a singleton submitted it. */
  fence?: Fence
  /** Where it is to run, if that is a host that runs no node. */
  host?: string
  /** To be called now and then while it waits for what others have: it is not hung. */
  progress?(): void
  publish?: Publish
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
  /** The W3C trace context that the work was given. */
  trace?: string
}

/** What came of a task that was taken ahead. */
export interface Followed {
  execution: Execution
  /** From its own begin. */
  durationMs: number
}

/** What an executor is given that has an actor of its own. */
export interface ExecutorHost {
  /** Has it started and, should it fail, started again. Resolves when it is ready. */
  supervise(id: string, spec: () => { logic: AnyActorLogic; input?: unknown }): Promise<void>
  clock: Clock
  tell: Tell
  /** Where somebody counts. */
  containers?: PoolMeter
}

export interface Executor extends Service {
  start(host?: ExecutorHost): Promise<void>
  /** Never throws. Returns at once, without a promise, when the work itself did. */
  run(task: Task, context: ExecuteContext): Execution | Promise<Execution>
  /**
   * Takes a task ahead, to begin it at once when the one of `before` ends: where nobody has to be
   * asked in between, nothing stands still meanwhile. Resolves to undefined when it has not begun,
   * because that one took too long or `recall` was aborted; undefined at once when nothing is taken
   * ahead now.
   */
  follow?(
    task: Task,
    context: ExecuteContext,
    before: ExecuteContext,
    recall: AbortSignal,
  ): Promise<Followed | undefined> | undefined
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
  /** Ask it for a heartbeat now. */
  check(): void
  kill(): void
}

export interface WorkerProcesses {
  /** @throws when the operating system refuses */
  start(name: string, listener: WorkerProcessListener): WorkerProcess
}
