/** Lines to tasks: checks each, and says of a bad one where and why. */
import { describeError } from '../actors/errors.ts'
import type { Kind, Kinds } from '../actors/kind.ts'
import { quickTask } from '../actors/quick-task.ts'
import { hideSecrets } from '../actors/secret.ts'
import type { Source, SourceLine, SourcePiece } from '../actors/source.ts'
import { type AcceptedTask, type Rejection, type Task, taskLine } from '../actors/task.ts'
import { nearest } from '../config/nearest.ts'
import { LineSplitter, linger, type RawLine } from './lines.ts'
import { LinesHash } from './lines-hash.ts'
import { placeProblem } from './place-problem.ts'
import { describeValue, fieldsOf, hiddenValue, problemOf } from './rejection.ts'

/** What is nested deeper can be read from JSON, but not be written as JSON again. */
const depthMax = 500

export interface IntakeOptions {
  kinds: Kinds
  /** How long a piece waits for more lines, ms. */
  lingerMs: number
}

/** A source that reads NDJSON from a stream of bytes. It can be started once. */
export function ndjsonSource(
  stream: AsyncIterable<Uint8Array>,
  { kinds, lingerMs }: IntakeOptions,
): Source {
  return async function* (afterLine, isHashed = false) {
    const hash = isHashed ? new LinesHash() : undefined
    const splitter = new LineSplitter(hash)
    for await (const lines of linger(splitter, stream, lingerMs)) {
      const read: SourceLine[] = []
      for (const line of lines) {
        if (line.place > afterLine) read.push(readLine(line, kinds))
      }
      // Also with nothing in it, so that whoever reads gets a chance to stop.
      const piece: SourcePiece = {
        lines: Math.max(splitter.filled, afterLine),
        read,
        ...(hash === undefined ? {} : { hashes: hash.next(lines) }),
      }
      yield piece
    }
  }
}

/**
 * A source of task objects, as in the JSON form of a submission. Hashed as if each had come as a
 * line, written without white space.
 */
export function listSource(tasks: readonly unknown[], kinds: Kinds): Source {
  return async function* (afterLine, isHashed = false) {
    const texts = tasks.map((task) => (isTooDeep(task) ? undefined : JSON.stringify(task)))
    const read = tasks.map((task, index): SourceLine => {
      const line = index + 1
      const text = texts[index]
      if (text === undefined) return withPlace(line, 0, tooDeep)
      return withPlace(line, text.length, readTask(task, kinds))
    })
    if (!isHashed && tasks.length <= afterLine) return
    const piece = { lines: Math.max(tasks.length, afterLine), read: read.slice(afterLine) }
    if (!isHashed) {
      yield piece
      return
    }
    const hash = new LinesHash()
    // What is too deep is refused whatever it is, and need not be told from its like.
    const lines = texts.map((text = '') => ({ text }))
    hash.texts(lines)
    yield { ...piece, hashes: hash.next(lines) }
  }
}

function readLine(line: RawLine, kinds: Kinds): SourceLine {
  const { number, bytes, text, problem } = line
  if (text === undefined) return withPlace(number, bytes, { path: '', message: problem ?? '' })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    const got = text.includes('\0')
      ? 'a NUL byte'
      : `broken JSON (${describeError(error).message.slice(0, 200)})`
    return withPlace(number, bytes, { path: '', message: `expected a JSON object, got ${got}` })
  }
  // Every level takes two brackets.
  if (bytes > 2 * depthMax && isTooDeep(value)) return withPlace(number, bytes, tooDeep)
  return withPlace(number, bytes, readTask(value, kinds))
}

const tooDeep = { path: '', message: `expected at most ${depthMax} levels of nesting, got more` }

function isTooDeep(value: unknown): boolean {
  let level = [value]
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > depthMax) return true
    level = level.flatMap((inner) =>
      typeof inner === 'object' && inner !== null ? Object.values(inner) : [],
    )
  }
  return false
}

type Read = AcceptedTask | Omit<Rejection, 'line'>

function withPlace(line: number, bytes: number, read: Read): SourceLine {
  return 'kind' in read
    ? { line, bytes, accepted: read }
    : { line, bytes, rejection: { line, ...read } }
}

/** Check one task. */
function readTask(value: unknown, kinds: Kinds): Read {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { path: '', message: `expected a JSON object, got ${describeValue(value)}` }
  }
  const quick = Object.getPrototypeOf(value) === Object.prototype ? quickTask(value) : undefined
  const task = quick ?? readWithSchema(value)
  if ('message' in task) return task
  const kind = kinds.get(task.kind)
  if (kind === undefined) {
    const known = [...kinds.keys()]
    const near = nearest(task.kind, known)
    const hint = near === undefined ? `one of ${known.join(', ')}` : `did you mean "${near}"?`
    const got = describeValue(task.kind)
    return { path: 'kind', message: `expected a known kind, got ${got}; ${hint}` }
  }
  return fitInput(kind, task.task) ?? task
}

/** What is not said in a hurry, and all that is wrong. */
function readWithSchema(value: object): Read {
  const line = taskLine.safeParse(value)
  if (!line.success) return problemOf(line.error, value, Object.keys(taskLine.shape))
  const { kind, priority = 'normal', ...task } = line.data
  const trouble = placeProblem(task) ?? contradictionIn(task) ?? droppedFrom(value)
  return trouble ?? { kind, priority, task }
}

/** Kinds that take no input, as far as was asked: most tasks of such a kind bring none. */
const emptyFits = new WeakMap<Kind, boolean>()

/** Why the input does not fit the kind, if it does not. */
function fitInput(kind: Kind, task: Task): Omit<Rejection, 'line'> | undefined {
  if (task.input !== undefined) return checkInput(kind, task.input)
  if (emptyFits.get(kind) === true) return undefined
  const wrong = checkInput(kind, {})
  emptyFits.set(kind, wrong === undefined)
  return wrong
}

function checkInput(kind: Kind, given: unknown): Omit<Rejection, 'line'> | undefined {
  if (kind.isPlain?.(given) === true) return undefined
  let input: ReturnType<typeof kind.input.safeParse>
  try {
    input = kind.input.safeParse(given)
  } catch (error) {
    const message = `the check of kind "${kind.kind}" failed: ${describeError(error).message}`
    return { path: 'input', message }
  }
  if (input.success) return undefined
  const shown = hideSecrets(kind.input, given, hiddenValue)
  return problemOf(input.error, shown, fieldsOf(kind.input), 'input')
}

/** Fields that mean nothing without another. */
function contradictionIn({ dedupeKey, dedupeTtlMs }: Task): Omit<Rejection, 'line'> | undefined {
  if (dedupeTtlMs === undefined || dedupeKey !== undefined) return undefined
  const message = `expected a "dedupeKey" beside it, got ${dedupeTtlMs} alone`
  return { path: 'dedupeTtlMs', message }
}

/** A name that zod leaves out without a word. */
function droppedFrom(line: object): Omit<Rejection, 'line'> | undefined {
  const { labels, select } = line as { labels?: unknown; select?: unknown }
  for (const [field, record] of Object.entries({ labels, select })) {
    if (typeof record !== 'object' || record === null) continue
    if (!Object.hasOwn(record, '__proto__')) continue
    return { path: `${field}.__proto__`, message: 'expected another name, got "__proto__"' }
  }
  return undefined
}
