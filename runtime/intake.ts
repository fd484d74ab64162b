/**
 * Bytes to tasks: splits a stream of NDJSON into lines, checks each, and says of a bad one where
 * and why. Holds one piece of the stream and at most one unfinished line in memory.
 */
import { describeError } from '../actors/errors.ts'
import type { Kind, Kinds } from '../actors/kind.ts'
import { quickTask } from '../actors/quick-task.ts'
import type { Source, SourceLine, SourcePiece } from '../actors/source.ts'
import { type AcceptedTask, type Rejection, type Task, taskLine } from '../actors/task.ts'
import { nearest } from '../config/nearest.ts'
import { type HashedLine, LinesHash } from './lines-hash.ts'
import { describeValue, fieldsOf, problemOf } from './rejection.ts'

/** A line is at most 1 MiB. */
export const lineBytesMax = 1_048_576

/** Once so much is at hand, a piece does not wait for company. */
const pieceLinesMax = 4000
const pieceBytesMax = 1_048_576
/** Some streams hand over megabytes at a time; they are taken in bites. */
const biteBytes = 65_536
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
        ...(hash === undefined
          ? {}
          : { hashes: hash.next(lines.flatMap(({ hashed }) => hashed ?? [])) }),
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
    const hashed = texts.map((text) => hash.line(new TextEncoder().encode(text ?? '')))
    yield { ...piece, hashes: hash.next(hashed) }
  }
}

interface RawLine {
  /** From 1, blank lines included: for people. */
  number: number
  /** From 1, blank lines left out, as in the hash of the content: for going on with a run. */
  place: number
  bytes: number
  text?: string
  /** Why there is no text. */
  problem?: string
  hashed?: HashedLine
}

/** Cuts bytes into lines that are not blank. */
class LineSplitter {
  /** Lines seen, blank ones included, and those that are not blank. */
  lines = 0
  filled = 0
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  readonly #wholeDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  /** An unfinished line, with room to grow. */
  #rest = new Uint8Array()
  #restBytes = 0
  readonly #hash: LinesHash | undefined

  constructor(hash?: LinesHash) {
    this.#hash = hash
  }

  push(bytes: Uint8Array): RawLine[] {
    const found: RawLine[] = []
    let start = this.#hash === undefined ? this.#pushText(bytes, found) : 0
    for (let end = bytes.indexOf(10, start); end !== -1; end = bytes.indexOf(10, start)) {
      this.#line(bytes.subarray(start, end), found)
      start = end + 1
    }
    if (start < bytes.length) this.#keep(bytes.subarray(start))
    return found
  }

  /**
   * Whole lines at once, where all is text and no line is begun already.
   * @returns how many bytes that were
   */
  #pushText(bytes: Uint8Array, found: RawLine[]): number {
    const length = bytes.lastIndexOf(10) + 1
    if (length === 0 || this.#restBytes > 0 || length > lineBytesMax) return 0
    let text: string
    try {
      text = this.#wholeDecoder.decode(bytes.subarray(0, length))
    } catch {
      // Which line it is, and that the others are taken, is found out line by line.
      return 0
    }
    const isAscii = text.length === length
    // Before each line a byte order mark is passed over.
    if (!isAscii && text.includes('\ufeff')) return 0
    let start = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      const line = text.slice(start, end)
      start = end + 1
      this.lines += 1
      if (isBlank(line)) continue
      const lineBytes = isAscii ? line.length : Buffer.byteLength(line)
      this.filled += 1
      found.push({ number: this.lines, place: this.filled, bytes: lineBytes, text: line })
    }
    return length
  }

  /** The last line needs no newline. */
  end(): RawLine[] {
    const found: RawLine[] = []
    if (this.#restBytes > 0) this.#line(new Uint8Array(), found)
    return found
  }

  #keep(part: Uint8Array): void {
    const bytes = this.#restBytes + part.length
    // A line that is too long is not kept, only counted.
    if (bytes > lineBytesMax) {
      this.#hash?.part(this.#rest.subarray(0, this.#restBytes))
      this.#hash?.part(part)
      this.#rest = new Uint8Array()
    } else {
      if (bytes > this.#rest.length) {
        const grown = new Uint8Array(Math.max(bytes, this.#rest.length * 2))
        grown.set(this.#rest.subarray(0, this.#restBytes))
        this.#rest = grown
      }
      this.#rest.set(part, this.#restBytes)
    }
    this.#restBytes = bytes
  }

  #line(tail: Uint8Array, found: RawLine[]): void {
    this.lines += 1
    const bytes = this.#restBytes + tail.length
    const rest = this.#rest.subarray(0, this.#restBytes)
    this.#rest = new Uint8Array()
    this.#restBytes = 0
    if (bytes > lineBytesMax) {
      const problem = `expected a line of at most ${lineBytesMax} bytes, got ${bytes}`
      this.#hash?.part(rest)
      this.#hash?.part(tail)
      this.#found(found, { bytes, problem }, this.#hash?.endParts())
      return
    }
    const whole = rest.length === 0 ? tail : Buffer.concat([rest, tail])
    try {
      const text = this.#decoder.decode(whole)
      if (!isBlank(text)) this.#found(found, { bytes, text }, this.#hash?.line(whole))
    } catch {
      // The decoder says no more than that it is not.
      const problem = 'expected UTF-8, got other bytes'
      this.#found(found, { bytes, problem }, this.#hash?.line(whole))
    }
  }

  #found(
    found: RawLine[],
    line: Omit<RawLine, 'number' | 'place'>,
    hashed: HashedLine | undefined,
  ): void {
    this.filled += 1
    const place = { number: this.lines, place: this.filled }
    found.push(hashed === undefined ? { ...place, ...line } : { ...place, ...line, hashed })
  }
}

/** Nearly no line is: to look at its first character is enough. */
function isBlank(text: string): boolean {
  return text.charCodeAt(0) !== 123 && text.trim() === ''
}

/** Lines of the stream in pieces; a piece waits a little for company. */
async function* linger(
  splitter: LineSplitter,
  stream: AsyncIterable<Uint8Array>,
  lingerMs: number,
): AsyncGenerator<RawLine[]> {
  const iterator = stream[Symbol.asyncIterator]()
  const pull = () => {
    const pulled = iterator.next()
    // It is awaited later, and may break off before that: not unheard, only not yet.
    pulled.catch(() => undefined)
    return pulled
  }
  let next = pull()
  try {
    for (;;) {
      let result = await next
      const until = performance.now() + lingerMs
      let piece = new Piece(splitter)
      while (result.done !== true) {
        next = pull()
        for (let at = 0; at < result.value.length; at += biteBytes) {
          piece.add(splitter.push(result.value.subarray(at, at + biteBytes)))
          if (!piece.isFull) continue
          yield piece.lines
          piece = new Piece(splitter)
        }
        const more = await within(next, until - performance.now())
        if (more === undefined) break
        result = more
      }
      if (result.done === true) {
        piece.add(splitter.end())
        if (splitter.lines > 0) yield piece.lines
        return
      }
      if (piece.hasLines) yield piece.lines
    }
  } finally {
    await iterator.return?.()
  }
}

/** Lines that are on their way together. */
class Piece {
  readonly lines: RawLine[] = []
  readonly #splitter: LineSplitter
  readonly #before: number
  #bytes = 0

  constructor(splitter: LineSplitter) {
    this.#splitter = splitter
    this.#before = splitter.lines
  }

  /** Blank lines count: a run that has seen them need not see them again. */
  get hasLines(): boolean {
    return this.#splitter.lines > this.#before
  }

  get isFull(): boolean {
    return this.#splitter.lines - this.#before >= pieceLinesMax || this.#bytes >= pieceBytesMax
  }

  add(lines: readonly RawLine[]): void {
    for (const line of lines) {
      this.lines.push(line)
      this.#bytes += line.text === undefined ? 0 : line.bytes
    }
  }
}

async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value | undefined> {
  if (ms <= 0) return undefined
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
  const trouble = unsupportedIn(task) ?? contradictionIn(task) ?? droppedFrom(value)
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
  let input: ReturnType<typeof kind.input.safeParse>
  try {
    input = kind.input.safeParse(given)
  } catch (error) {
    const message = `the check of kind "${kind.kind}" failed: ${describeError(error).message}`
    return { path: 'input', message }
  }
  if (input.success) return undefined
  return problemOf(input.error, given, fieldsOf(kind.input), 'input')
}

/** Fields that are words of the language, and that nothing here acts on yet. */
function unsupportedIn(task: Task): Omit<Rejection, 'line'> | undefined {
  if (task.placement !== undefined && task.placement !== 'any') {
    const message = `expected "any" (this version knows no other), got "${task.placement}"`
    return { path: 'placement', message }
  }
  // A task for another host must not run on this one, and say that it ran on that.
  for (const path of ['target', 'select'] as const) {
    if (task[path] !== undefined) {
      const got = describeValue(task[path])
      const message = `expected no "${path}" (this version does not act on it), got ${got}`
      return { path, message }
    }
  }
  return undefined
}

/** Fields that mean nothing without another. */
function contradictionIn({ dedupeKey, dedupeTtlMs }: Task): Omit<Rejection, 'line'> | undefined {
  if (dedupeTtlMs === undefined || dedupeKey !== undefined) return undefined
  const message = `expected a "dedupeKey" beside it, got ${dedupeTtlMs} alone`
  return { path: 'dedupeTtlMs', message }
}

/** A name that zod leaves out without a word. */
function droppedFrom(line: object): Omit<Rejection, 'line'> | undefined {
  const labels = 'labels' in line ? line.labels : undefined
  if (typeof labels !== 'object' || labels === null || !Object.hasOwn(labels, '__proto__')) {
    return undefined
  }
  return { path: 'labels.__proto__', message: 'expected another name, got "__proto__"' }
}
