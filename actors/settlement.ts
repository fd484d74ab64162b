/**
 * What is sent before an envelope is acknowledged: the results of what is final, and a new envelope
 * with what is tried again. Both ids are made of their tasks, so that settling twice adds nothing.
 */
import { type BackoffPolicy, backoffMs } from '../machines/backoff.ts'
import { type Outcome, outcomeCode } from '../machines/outcome.ts'
import { triesAgain } from '../machines/retry.ts'
import {
  appendSeq,
  bodyOf,
  countSeqs,
  type Envelope,
  envelopeId,
  envelopeVersion,
  type ResultsEnvelope,
  resultsMailbox,
  waitsSince,
  workMessage,
} from './envelope.ts'
import type { Kind } from './kind.ts'
import type { Attempt, Clock, Execution, Message } from './ports.ts'
import type { SeqRange } from './ports-runs.ts'
import { type More, moreOf } from './results.ts'
import type { Task } from './task.ts'

/** Who settles, and by which rules. */
export interface SettlementOptions {
  mailbox: string
  kind: Kind
  /** Tasks of the mailbox run one after the other, and are retried in place. */
  ordered: boolean
  node: string
  /** Who settles, as results name it. */
  worker: string
  retry: BackoffPolicy
  clock: Clock
  random(): number
}

/** What became of one task of an envelope. */
export interface Ending {
  seq: number
  task: Task
  outcome: Outcome
  startedAt: number
  durationMs: number
  execution: Execution
  history: readonly Attempt[]
  attempt: number
}

export function isRetried(options: SettlementOptions, ending: Ending): boolean {
  const { outcome, execution, task, attempt } = ending
  if (outcome !== 'failed' && outcome !== 'timeout') return false
  const exitCode = exitCodeOf(execution.output)
  return triesAgain({
    outcome,
    stage: execution.stage ?? 'run',
    ...(execution.error === undefined ? {} : { errorCode: execution.error.code }),
    ...(exitCode === undefined ? {} : { exitCode }),
    attempt,
    ...(task.attempts === undefined ? {} : { attempts: task.attempts }),
    ...(task.retryOn === undefined ? {} : { retryOn: task.retryOn }),
    ...(task.neverOn === undefined ? {} : { neverOn: task.neverOn }),
    kindAttempts: options.kind.attempts,
    command: options.kind.retries === 'command',
  })
}

function exitCodeOf(output: unknown): number | undefined {
  if (typeof output !== 'object' || output === null || !('exitCode' in output)) return undefined
  return typeof output.exitCode === 'number' ? output.exitCode : undefined
}

export function attemptOf(options: SettlementOptions, ending: Ending): Attempt {
  return {
    attempt: ending.attempt,
    startedAt: ending.startedAt,
    durationMs: ending.durationMs,
    node: options.node,
    error: ending.execution.error ?? { code: 'FAILED', message: 'failed without saying why' },
  }
}

/**
 * The messages that settle an envelope: results of what is final, and what is tried again.
 * @param isStopped its run is: what would be tried again ends as soon as it is delivered
 */
export function settlementOf(
  options: SettlementOptions,
  envelope: Envelope,
  endings: readonly Ending[],
  isStopped = false,
): Message[] {
  const final: Ending[] = []
  const again: Ending[] = []
  for (const ending of endings) {
    // In order, a task was retried in place, as long as it could be.
    if (!options.ordered && isRetried(options, ending)) again.push(ending)
    else final.push(isUnreached(ending) ? { ...ending, outcome: 'unreached' } : ending)
  }
  return [
    ...(again.length === 0 ? [] : [retryOf(options, envelope, again, isStopped)]),
    ...apart(final).map((part) => resultsOf(options, envelope, part)),
  ]
}

/** What results of one message may say, in characters: each is written, sent and read at one go. */
const saidMax = 8 * 1024 * 1024

/** As they are, or in several lots where they say very much. */
function apart(endings: readonly Ending[]): Ending[][] {
  const lots: Ending[][] = []
  let room = 0
  for (const ending of endings) {
    const { output } = ending.execution
    const said = output === undefined ? 0 : lengthOf(output)
    const lot = lots.at(-1)
    if (lot === undefined || said > room) {
      lots.push([ending])
      room = saidMax - said
    } else {
      lot.push(ending)
      room -= said
    }
  }
  return lots
}

/** About as much as it takes in words. */
function lengthOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  if (typeof value !== 'object' || value === null) return 0
  let length = 0
  for (const name in value) length += lengthOf((value as Record<string, unknown>)[name])
  return length
}

/** It never got to run, for nobody could be reached that would have run it. */
function isUnreached({ outcome, execution: { stage, error } }: Ending): boolean {
  return outcome === 'failed' && stage === 'start' && error?.code === 'UNREACHED'
}

/** How many attempts follow by these messages, or went before them in place. */
export function retriedIn(messages: readonly Message[]): number {
  let retried = 0
  for (const { body } of messages) {
    if ('tasks' in body) retried += countSeqs(body.seqs)
    else if ('more' in body)
      for (const said of moreOf(body) ?? [])
        retried += (said?.attempt ?? body.attempt) - body.attempt
  }
  return retried
}

function retryOf(
  options: SettlementOptions,
  envelope: Envelope,
  again: readonly Ending[],
  isStopped: boolean,
): Message {
  const backoff = backoffMs(options.retry, envelope.attempt, options.random())
  const delayMs = isStopped ? 0 : backoff
  const { notes: _, ...rest } = envelope
  return workMessage(
    {
      ...rest,
      attempt: envelope.attempt + 1,
      readyAt: options.clock.now() + delayMs,
      seqs: rangesOf(again),
      tasks: again.map((ending) => ending.task),
      history: again.map((ending) => [...ending.history, attemptOf(options, ending)]),
    },
    delayMs,
  )
}

function resultsOf(
  options: SettlementOptions,
  envelope: Envelope,
  final: readonly Ending[],
): Message {
  const seqs = rangesOf(final)
  const at = final[0]?.startedAt ?? 0
  const body: ResultsEnvelope = {
    v: envelopeVersion,
    run: envelope.run,
    mailbox: envelope.mailbox,
    kind: envelope.kind,
    ...(envelope.priority === 'normal' ? {} : { priority: envelope.priority }),
    attempt: envelope.attempt,
    node: options.node,
    worker: options.worker,
    seqs,
    outcomes: final.map((ending) => outcomeCode(ending.outcome)).join(''),
    at,
    startedAt: final.map((ending) => ending.startedAt - at),
    durationMs: final.map((ending) => ending.durationMs),
    queueMs: final.map((ending) => queuedMs(envelope, ending)),
    ...saidBy(envelope, final),
  }
  return {
    mailbox: resultsMailbox,
    id: envelopeId({ run: envelope.run, seqs, attempt: envelope.attempt }, '.r'),
    priority: envelope.priority,
    delayMs: 0,
    body,
  }
}

/** In place retries wait for their back-off, not for a worker. */
function queuedMs(envelope: Envelope, { attempt, history, startedAt }: Ending): number {
  const isInPlace = history.length > 0 && attempt > envelope.attempt
  return isInPlace ? 0 : Math.max(0, startedAt - waitsSince(envelope))
}

function saidBy(envelope: Envelope, final: readonly Ending[]): { more?: (More | null)[] } {
  const more = final.map((ending) => {
    const { task, execution, history, attempt } = ending
    const isPlain = attempt === envelope.attempt && envelope.routing === undefined
    if (isPlain && history.length === 0 && saysNothing(execution, task)) return null
    const said: More = {}
    if (attempt !== envelope.attempt) said.attempt = attempt
    if (execution.output !== undefined) said.output = execution.output
    if (execution.error !== undefined) said.error = execution.error
    if (execution.trace !== undefined) said.trace = execution.trace
    if (history.length > 0) said.attempts = history
    if (envelope.routing !== undefined) said.routing = envelope.routing
    return sayTask(said, task)
  })
  return more.some((each) => each !== null) ? { more } : {}
}

/** Nearly always, where there are very many. */
function saysNothing({ output, error, trace }: Execution, task: Task): boolean {
  for (const _ in task) return false
  return output === undefined && error === undefined && trace === undefined
}

/** Adds what the task says of itself; null when nothing at all is said. */
export function sayTask(said: More, task: Task): More | null {
  const { id, target } = task
  if (id !== undefined) said.id = id
  if (target !== undefined) said.target = target
  const body = bodyOf(task)
  if (body !== undefined) said.task = body
  for (const _ in said) return said
  return null
}

function rangesOf(endings: readonly Ending[]): SeqRange[] {
  const seqs: [number, number][] = []
  for (const ending of endings) appendSeq(seqs, ending.seq)
  return seqs
}
