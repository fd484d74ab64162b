/**
 * Results in batches: what tasks of one envelope came to, as columns, from the worker through the
 * collector into the store. What they have in common is said once.
 */
import type { Decision } from '../machines/balancer.ts'
import { outcomeOf } from '../machines/outcome.ts'
import type { Attempt, Priority } from './ports.ts'
import type { SeqRange } from './ports-runs.ts'
import type { Task } from './task.ts'

/** An array wherever it travels as JSON. */
export type Column = readonly number[] | Float64Array

export interface ResultBatch {
  run: string
  kind: string
  /** Of the tasks; normal when it is not said. */
  priority?: Priority
  attempt: number
  node: string
  worker: string
  /** Ascending; every list below is in their order. */
  seqs: SeqRange[]
  /** One digit a task: the outcome's code. */
  outcomes: string
  /** Epoch ms from which `startedAt` counts. */
  at: number
  /** The last attempt's times. */
  startedAt: Column
  durationMs: Column
  queueMs: Column
  /** What only some have to say. On its way it is one text, as only whoever stores it reads it. */
  more?: (More | null)[] | string
}

export interface More {
  /** When it is not that of the batch: retried in place. */
  attempt?: number
  id?: string
  target?: string
  output?: unknown
  error?: { code: string; message: string }
  trace?: string
  /** Earlier ones. */
  attempts?: readonly Attempt[]
  /** What its task says beside id and target. */
  task?: Task
  /** Why it ran on that node, where somebody chose it among several. */
  routing?: Decision
}

export function moreOf({ more }: ResultBatch): (More | null)[] | undefined {
  return typeof more === 'string' ? (JSON.parse(more) as (More | null)[]) : more
}

/** As it travels: put into words once, and not by everybody who hands it on. */
export function sealed<Batch extends ResultBatch>(batch: Batch): Batch {
  return typeof batch.more === 'object' ? { ...batch, more: JSON.stringify(batch.more) } : batch
}

/** The batch without some of its tasks; undefined without any. */
export function pick(
  batch: ResultBatch,
  isKept: (index: number, seq: number) => boolean,
): ResultBatch | undefined {
  const seqs: (readonly [number, number])[] = []
  const kept: number[] = []
  let index = 0
  for (const [first, count] of batch.seqs) {
    for (let seq = first; seq < first + count; seq += 1) {
      if (isKept(index, seq)) {
        kept.push(index)
        const last = seqs.at(-1)
        if (last !== undefined && last[0] + last[1] === seq) {
          seqs[seqs.length - 1] = [last[0], last[1] + 1]
        } else seqs.push([seq, 1])
      }
      index += 1
    }
  }
  if (kept.length === index) return batch
  if (kept.length === 0) return undefined
  const column = (numbers: Column) => kept.map((at) => numbers[at] ?? 0)
  const { more: _, ...rest } = batch
  const more = moreOf(batch)
  return {
    ...rest,
    seqs,
    outcomes: kept.map((at) => batch.outcomes[at]).join(''),
    startedAt: column(batch.startedAt),
    durationMs: column(batch.durationMs),
    queueMs: column(batch.queueMs),
    ...(more === undefined ? {} : { more: kept.map((at) => more[at] ?? null) }),
  }
}

/** What a result line says that is not its task's own. */
export type Origin = Pick<ResultBatch, 'run' | 'kind' | 'attempt' | 'node' | 'worker'>

export interface Measured {
  seq: number
  /** Code of the outcome. */
  code: number
  /** Epoch ms. */
  startedAt: number
  durationMs: number
  queueMs: number
}

/**
 * Result lines (contract section 7) of one origin, written by hand: of a million lines each has
 * the same dozen words.
 */
export function lineWriter({ run, kind, attempt, node, worker }: Origin) {
  const head = `{"run":${JSON.stringify(run)},"seq":`
  const kindText = `,"kind":${JSON.stringify(kind)}`
  const who = `,"node":${JSON.stringify(node)},"worker":${JSON.stringify(worker)},"startedAt":`
  const plain = Array.from({ length: 8 }, (_, code) => {
    return `${kindText},"outcome":"${outcomeOf(code) ?? ''}","attempt":${attempt}${who}`
  })
  return (
    { seq, code, startedAt, durationMs, queueMs }: Measured,
    more: Omit<More, 'attempts' | 'task'> | null | undefined,
  ): string => {
    const times = `${startedAt},"durationMs":${durationMs},"queueMs":${queueMs}`
    if (more === null || more === undefined) return `${head}${seq}${plain[code] ?? ''}${times}}`
    const { id, target, output, error, trace } = more
    const outcome = outcomeOf(code) ?? ''
    const tried = `,"outcome":"${outcome}","attempt":${more.attempt ?? attempt}${who}`
    const named = field('id', id)
    const said = `${field('output', output)}${field('error', error)}${field('trace', trace)}`
    return `${head}${seq}${named}${kindText}${field('target', target)}${tried}${times}${said}}`
  }
}

function field(name: string, value: unknown): string {
  if (value === undefined) return ''
  // What JSON has no word for is left out, as JSON.stringify does with the field of an object.
  const text = JSON.stringify(value) as string | undefined
  return text === undefined ? '' : `,"${name}":${text}`
}

/** So much text at a time is handed on: as one, that of a batch was megabytes of garbage. */
const textLength = 32_768

/** Every line of a batch, each ended by \n: in texts of whole lines. */
export function* linesOf(batch: ResultBatch): Generator<string> {
  const write = lineWriter(batch)
  const { at, startedAt, durationMs, queueMs, outcomes } = batch
  const more = moreOf(batch)
  let text = ''
  let index = 0
  for (const [first, count] of batch.seqs) {
    for (let seq = first; seq < first + count; seq += 1) {
      const measured = {
        seq,
        code: outcomes.charCodeAt(index) - 48,
        startedAt: at + (startedAt[index] ?? 0),
        durationMs: durationMs[index] ?? 0,
        queueMs: queueMs[index] ?? 0,
      }
      text += `${write(measured, more?.[index])}\n`
      index += 1
      if (text.length < textLength) continue
      yield text
      text = ''
    }
  }
  if (text !== '') yield text
}
