/**
 * Bytes to lines: a stream is cut at its newlines; lines that come together stay together. Holds
 * one piece of the stream and at most one unfinished line in memory.
 */
import type { HashedLine, LinesHash } from './lines-hash.ts'

/** A line is at most 1 MiB. */
export const lineBytesMax = 1_048_576
/** Once so much is at hand, a piece does not wait for company. */
const pieceLinesMax = 4000
const pieceBytesMax = 1_048_576
/** Some streams hand over megabytes at a time; they are taken in bites. */
const biteBytes = 65_536
const newline = 10
const brace = 123

export interface RawLine {
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
export class LineSplitter {
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

  /**
   * Adds to `found` until it holds `linesMax` lines.
   * @returns how many of the bytes were taken
   */
  push(bytes: Uint8Array, found: RawLine[], linesMax = Number.POSITIVE_INFINITY): number {
    let start = 0
    // What ends a line that was begun before is looked at alone.
    if (this.#restBytes > 0) start = this.#pushLine(bytes, start, found)
    if (start < bytes.length) start += this.#pushText(bytes.subarray(start), found, linesMax)
    while (start < bytes.length && found.length < linesMax) {
      start = this.#pushLine(bytes, start, found)
    }
    return start
  }

  /** @returns where the next line begins */
  #pushLine(bytes: Uint8Array, start: number, found: RawLine[]): number {
    const end = bytes.indexOf(newline, start)
    if (end === -1) {
      this.#keep(bytes.subarray(start))
      return bytes.length
    }
    this.#line(bytes.subarray(start, end), found)
    return end + 1
  }

  /**
   * Whole lines at once, where all is text.
   * @returns how many bytes that were
   */
  #pushText(bytes: Uint8Array, found: RawLine[], linesMax: number): number {
    const length = bytes.lastIndexOf(newline) + 1
    if (length === 0 || length > lineBytesMax) return 0
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
    const before = { found: found.length, lines: this.lines }
    let start = 0
    let taken = 0
    while (start < text.length && found.length < linesMax) {
      const end = text.indexOf('\n', start)
      const line = text.slice(start, end)
      start = end + 1
      const lineBytes = isAscii ? line.length : Buffer.byteLength(line)
      taken += lineBytes + 1
      this.lines += 1
      if (text.charCodeAt(start - line.length - 1) !== brace && isBlank(line)) continue
      this.filled += 1
      found.push({ number: this.lines, place: this.filled, bytes: lineBytes, text: line })
    }
    if (this.#hash !== undefined) {
      const hasBlank = this.lines - before.lines > found.length - before.found
      if (hasBlank) this.#hash.texts(found.slice(before.found))
      else this.#hash.whole(bytes.subarray(0, taken))
    }
    return taken
  }

  /** The last line needs no newline. */
  end(found: RawLine[]): void {
    if (this.#restBytes > 0) this.#line(new Uint8Array(), found)
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
  return text.charCodeAt(0) !== brace && text.trim() === ''
}

/** Lines of the stream in pieces; a piece waits a little for company. */
export async function* linger(
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
        for (let at = 0; at < result.value.length; ) {
          at += piece.take(result.value.subarray(at, at + biteBytes))
          if (!piece.isFull) continue
          yield piece.lines
          piece = new Piece(splitter)
        }
        const more = await within(next, until - performance.now())
        if (more === undefined) break
        result = more
      }
      if (result.done === true) {
        piece.end()
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

  /** @returns how many of the bytes it took: all, unless that was enough */
  take(bytes: Uint8Array): number {
    const known = this.lines.length
    const taken = this.#splitter.push(bytes, this.lines, pieceLinesMax)
    this.#weigh(known)
    return taken
  }

  end(): void {
    const known = this.lines.length
    this.#splitter.end(this.lines)
    this.#weigh(known)
  }

  #weigh(from: number): void {
    for (let index = from; index < this.lines.length; index += 1) {
      const line = this.lines[index]
      this.#bytes += line?.text === undefined ? 0 : line.bytes
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
