/**
 * Bytes to tasks: splits a stream of NDJSON into lines, checks each, and says of a bad one where
 * and why. Holds one piece of the stream and at most one unfinished line in memory.
 */
import type { z } from 'zod'
import { describeError } from '../actors/errors.ts'
import type { Kinds } from '../actors/kind.ts'
import type { Source, SourceLine, SourcePiece } from '../actors/source.ts'
import { type AcceptedTask, type Rejection, type Task, taskLine } from '../actors/task.ts'
import { nearest } from '../config/nearest.ts'

/** A line is at most 1 MiB. */
export const lineBytesMax = 1_048_576

/** Once so many lines are at hand, a piece does not wait for company. */
const pieceLinesMax = 4000

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
  return async function* (afterLine) {
    const splitter = new LineSplitter()
    for await (const lines of linger(splitter, stream, lingerMs)) {
      if (splitter.lines <= afterLine) continue
      const read: SourceLine[] = []
      for (const line of lines) {
        if (line.number > afterLine) read.push(readLine(line, kinds))
      }
      const piece: SourcePiece = { lines: splitter.lines, read }
      yield piece
    }
  }
}

/** A source of task objects, as in the JSON form of a submission. */
export function listSource(tasks: readonly unknown[], kinds: Kinds): Source {
  return async function* (afterLine) {
    const read = tasks.map((task, index): SourceLine => {
      const line = index + 1
      return withPlace(line, JSON.stringify(task)?.length ?? 0, readTask(task, kinds))
    })
    if (tasks.length > afterLine) yield { lines: tasks.length, read: read.slice(afterLine) }
  }
}

interface RawLine {
  /** From 1. */
  number: number
  bytes: number
  text?: string
  /** Why there is no text. */
  problem?: string
}

/** Cuts bytes into lines that are not blank. */
class LineSplitter {
  /** Lines seen, blank ones included. */
  lines = 0
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  #rest: Uint8Array[] = []
  #restBytes = 0

  push(bytes: Uint8Array): RawLine[] {
    const found: RawLine[] = []
    let start = 0
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      this.#line(bytes.subarray(start, end), found)
      start = end + 1
    }
    if (start < bytes.length) this.#keep(bytes.subarray(start))
    return found
  }

  /** The last line needs no newline. */
  end(): RawLine[] {
    const found: RawLine[] = []
    if (this.#restBytes > 0) this.#line(new Uint8Array(), found)
    return found
  }

  #keep(part: Uint8Array): void {
    this.#restBytes += part.length
    // A line that is too long is not kept, only counted.
    if (this.#restBytes <= lineBytesMax) this.#rest.push(part.slice())
    else this.#rest = []
  }

  #line(tail: Uint8Array, found: RawLine[]): void {
    this.lines += 1
    const bytes = this.#restBytes + tail.length
    const parts = this.#rest
    this.#rest = []
    this.#restBytes = 0
    if (bytes > lineBytesMax) {
      const problem = `expected a line of at most ${lineBytesMax} bytes, got ${bytes}`
      found.push({ number: this.lines, bytes, problem })
      return
    }
    try {
      const whole = parts.length === 0 ? tail : Buffer.concat([...parts, tail])
      const text = this.#decoder.decode(whole)
      if (text.trim() !== '') found.push({ number: this.lines, bytes, text })
    } catch {
      // The decoder says no more than that it is not.
      found.push({ number: this.lines, bytes, problem: 'expected UTF-8, got other bytes' })
    }
  }
}

/** Lines of the stream in pieces; a piece waits a little for company. */
async function* linger(
  splitter: LineSplitter,
  stream: AsyncIterable<Uint8Array>,
  lingerMs: number,
): AsyncGenerator<RawLine[]> {
  const iterator = stream[Symbol.asyncIterator]()
  let next = iterator.next()
  try {
    for (;;) {
      let result = await next
      const lines: RawLine[] = []
      while (result.done !== true) {
        lines.push(...splitter.push(result.value))
        next = iterator.next()
        if (lines.length >= pieceLinesMax) break
        const more = await within(next, lingerMs)
        if (more === undefined) break
        result = more
      }
      if (result.done === true) {
        lines.push(...splitter.end())
        if (splitter.lines > 0) yield lines
        return
      }
      yield lines
    }
  } finally {
    next.catch(() => undefined)
    await iterator.return?.()
  }
}

async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(resolve, ms)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
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
  return withPlace(number, bytes, readTask(value, kinds))
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
    return { path: '', message: `expected a JSON object, got ${describe(value)}` }
  }
  const line = taskLine.safeParse(value)
  if (!line.success) return problemOf(line.error, value, Object.keys(taskLine.shape))
  const { kind: name, priority, ...rest } = line.data
  const kind = kinds.get(name)
  if (kind === undefined) {
    const known = [...kinds.keys()]
    const near = nearest(name, known)
    const hint = near === undefined ? `one of ${known.join(', ')}` : `did you mean "${near}"?`
    return { path: 'kind', message: `expected a known kind, got ${describe(name)}; ${hint}` }
  }
  const unsupported = unsupportedIn(rest)
  if (unsupported !== undefined) return unsupported
  let input: ReturnType<typeof kind.input.safeParse>
  try {
    input = kind.input.safeParse(rest.input ?? {})
  } catch (error) {
    const message = `the check of kind "${name}" failed: ${describeError(error).message}`
    return { path: 'input', message }
  }
  if (!input.success) return problemOf(input.error, rest.input ?? {}, fieldsOf(kind.input), 'input')
  return { kind: name, priority: priority ?? 'normal', task: rest }
}

/** Fields that are words of the language, and that nothing here acts on yet. */
function unsupportedIn(task: Task): Omit<Rejection, 'line'> | undefined {
  if (task.placement !== undefined && task.placement !== 'any') {
    const message = `expected "any", got "${task.placement}": this version places tasks on any node`
    return { path: 'placement', message }
  }
  for (const path of ['select', 'dedupeKey', 'dedupeTtlMs', 'dependsOn'] as const) {
    if (task[path] !== undefined) {
      return { path, message: `expected no "${path}": this version does not act on it` }
    }
  }
  return undefined
}

function problemOf(
  error: z.ZodError,
  value: unknown,
  fields: readonly string[],
  prefix?: string,
): Omit<Rejection, 'line'> {
  const issue = error.issues[0]
  if (issue === undefined) return { path: prefix ?? '', message: error.message }
  const place = [...(prefix === undefined ? [] : [prefix]), ...issue.path.map(String)]
  const got = issue.path.reduce<unknown>(
    (inner, step) =>
      typeof inner === 'object' && inner !== null
        ? (inner as Record<PropertyKey, unknown>)[step]
        : undefined,
    value,
  )
  if (issue.code === 'unrecognized_keys') {
    const field = issue.keys[0] ?? ''
    const near = nearest(field, fields)
    const hint = near === undefined ? '' : `; did you mean "${near}"?`
    const message = `expected only known fields, got "${field}"${hint}`
    return { path: [...place, field].join('.'), message }
  }
  // A kind's own schema may say it better.
  const message = issue.message.startsWith('expected ')
    ? issue.message
    : `expected ${expectation(issue)}, got ${describe(got)}`
  return { path: place.join('.'), message }
}

function fieldsOf(schema: z.ZodType): string[] {
  return 'shape' in schema && typeof schema.shape === 'object' && schema.shape !== null
    ? Object.keys(schema.shape)
    : []
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return a(issue.expected === 'int' ? 'whole number' : issue.expected)
    case 'invalid_value':
      return issue.values.map((value) => JSON.stringify(value)).join(' or ')
    case 'too_small':
      return `${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${unit(issue.origin)}`
    case 'too_big':
      return `${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${unit(issue.origin)}`
    default:
      return issue.message
        .replace(/^Invalid input: expected /, '')
        .replace(/, (got|received) .*$/, '')
  }
}

function unit(origin: string): string {
  if (origin === 'string') return ' characters'
  return origin === 'array' ? ' elements' : ''
}

function a(noun: string): string {
  return /^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`
}

/** What came, short enough to be shown. */
function describe(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  if (typeof value === 'object') return 'an object'
  const text = JSON.stringify(value) ?? typeof value
  return `the ${typeof value} ${text.length > 80 ? `${text.slice(0, 77)}…` : text}`
}
