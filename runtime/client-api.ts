/** What a node can be asked for through the library, and what it answers. */
import type { EscalationLine } from '../actors/escalation-list.ts'
import type { NodeLine } from '../actors/membership.ts'
import type { Attempt } from '../actors/ports.ts'
import type { LeaseRecord } from '../actors/ports-fleet.ts'
import type { HaltPolicy, Run, RunAction, Share } from '../actors/ports-runs.ts'
import type { EndpointLine } from '../actors/prober.ts'
import type { ResultLine } from '../actors/result.ts'
import type { Rejection, TaskLine } from '../actors/task.ts'
import type { TreeNode } from '../actors/tree.ts'
import type { Decision } from '../machines/balancer.ts'
import type { Outcome } from '../machines/outcome.ts'
import type { DeadLetterCalls } from './client-letters.ts'
import type { TaskSource } from './client-stream.ts'
import type { SystemCalls } from './client-system.ts'
import type { GatheringHandle, GatherOptions } from './gathering.ts'
import type { DrainAnswer } from './http/nodes.ts'

export interface SubmitOptions {
  /** Why, for the run's record. */
  reason?: string
  /**
   * Once and never twice, for 24 hours: the same key and tasks give the first run, finished or not,
   * and other tasks a ConflictError. 1 to 255 printable ASCII characters.
   */
  idempotencyKey?: string
  /** SHA-256 of the non-blank lines, each ended by \n: an unfinished run of it is resumed. */
  content?: string
  /** Most of its tasks under way at a time. */
  window?: Share
  /** End it when so many tasks failed, ran out of time or died. */
  halt?: HaltPolicy
  signal?: AbortSignal
  /** The run's id, as soon as the node tells it: maybe before the last task is sent. */
  onOpen?: (run: string) => void
  /** Bytes handed over so far. */
  onSent?: (bytes: number) => void
}

/** What the node said of the lines. */
export interface Intake {
  accepted: number
  rejectedCount: number
  /** The first 1000. */
  rejected: Rejection[]
}

/** What the node answers to a submission. */
export type Submitted = Intake & { run: string; resumed?: boolean }

export interface ResultsQuery {
  outcomes?: readonly Outcome[]
  /** Only tasks after this seq. */
  after?: number
  limit?: number
}

export interface RunEvent {
  type: 'progress' | 'done'
  run: Run
}

export interface RunPage {
  items: Run[]
  /** Cursor of the next page, if there is one. */
  next?: string
}

export interface TaskReport {
  result: ResultLine
  /** Attempts before the last one. */
  attempts: Attempt[]
  /** Why it ran on that node, where one was chosen among several. */
  routing?: Decision
}

/** A submitted run. */
export interface RunHandle extends Intake {
  id: string
  /** It is the first run of the same key, or went on with an unfinished one of the same content. */
  resumed: boolean
  /** Progress, then `done` as the last. */
  events(): AsyncGenerator<RunEvent>
  /** The run when it has ended. */
  done(): Promise<Run>
  /** Every result line by seq, once the run has ended. */
  results(query?: ResultsQuery): AsyncGenerator<ResultLine>
}

export interface Muster {
  readonly url: string
  /** Resolves when every task is durably accepted or rejected. */
  submit(tasks: TaskSource, options?: SubmitOptions): Promise<RunHandle>
  /** Check every task and run none. */
  check(tasks: TaskSource, options?: Pick<SubmitOptions, 'signal' | 'onSent'>): Promise<Intake>
  /**
   * Scatters tasks, each to a `target` (or with an `id`) of its own or to all nodes that match, as
   * one run, and gathers their results as they arrive. A set ends complete, or with what is
   * missing when the time is up; the run goes on.
   * @throws UsageError when one cannot be taken, and then none is; ConflictError
   * CORRELATION_IN_USE; NotAcceptingError when too many sets are open
   */
  gather(tasks: Iterable<TaskLine>, options?: GatherOptions): Promise<GatheringHandle>
  get(run: string): Promise<Run>
  /** One page of runs, newest first. */
  list(page?: { after?: string; limit?: number }): Promise<RunPage>
  /** Every run, newest first, page by page. */
  runs(): AsyncGenerator<Run>
  results(run: string, query?: ResultsQuery): AsyncGenerator<ResultLine>
  /** The same as text, one JSON line each, some at a time. */
  resultLines(run: string, query?: ResultsQuery): AsyncGenerator<string[]>
  task(run: string, seq: number): Promise<TaskReport>
  /**
   * Pause, resume or cancel a run; what stands so already stays so.
   * @throws ConflictError ILLEGAL_TRANSITION when it is over, or will be
   */
  control(run: string, action: RunAction, reason: string): Promise<Run>
  /** A new run of the tasks of an old one that ended so; by default of all that never were ok. */
  retry(
    run: string,
    options?: { outcomes?: readonly Outcome[]; reason?: string },
  ): Promise<RunHandle>
  /** The node's actors. */
  tree(): Promise<TreeNode>
  /** Every node, by id; those that died in the last hour among them. */
  nodes(options?: { signal?: AbortSignal }): Promise<NodeLine[]>
  /** Hosts that are probed (`probe` in `[hosts]`), as they were last found. */
  endpoints(options?: { signal?: AbortSignal }): Promise<EndpointLine[]>
  /** Asks a node to drain; it goes on working meanwhile, and is gone when `nodes` lacks it. */
  drain(node: string, options?: { reason?: string; signal?: AbortSignal }): Promise<DrainAnswer>
  /** What could not be delivered, or killed its worker. */
  readonly deadLetters: DeadLetterCalls
  /** How the system is, and how to change that. */
  readonly system: SystemCalls
  /** The leases that are held, by name. */
  leases(): Promise<LeaseRecord[]>
  /**
   * Takes a lease from its holder, so that somebody else may lead.
   * @throws NotFoundError when nobody holds it
   */
  releaseLease(lease: string, reason: string): Promise<LeaseRecord>
  /**
   * Escalations that are open or acknowledged; with `all` the last one of every kind.
   * @throws UnavailableError when the windows cannot be had, which is not the same as none
   */
  escalations(options?: { all?: boolean }): Promise<EscalationLine[]>
  /**
   * Says that somebody has seen it.
   * @param metric as `escalations` lists it, or the kind that it is about
   * @throws NotFoundError when no such escalation is open
   */
  acknowledgeEscalation(metric: string, reason?: string): Promise<EscalationLine>
  /** Progress by push, then `done` as the last. Survives a restart of the node. */
  events(run: string, options?: { signal?: AbortSignal }): AsyncGenerator<RunEvent>
}
