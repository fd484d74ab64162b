/** HTTP/1.1 as it is on the wire: a request in bytes, and an answer out of pieces of bytes. */
import { MusterError } from '../../../actors/errors.ts'

const headBytesMax = 65_536
const lineBytesMax = 1024
const nothing = Buffer.alloc(0)
const lengthPattern = /^\d{1,15}$/
const headEnd = Buffer.from('\r\n\r\n')
const lineEnd = Buffer.from('\r\n')
const decoder = new TextDecoder()

export interface Request {
  method: string
  url: URL
  headers: Readonly<Record<string, string>>
  body?: string
}

export function requestBytes({ method, url, headers, body }: Request): Buffer {
  let head = `${method} ${url.pathname}${url.search} HTTP/1.1\r\n`
  let [hasHost, hasAgent, hasAccept] = [false, false, false]
  for (const name in headers) {
    const lower = name.toLowerCase()
    if (lower === 'host') hasHost = true
    else if (lower === 'user-agent') hasAgent = true
    else if (lower === 'accept') hasAccept = true
    head += `${name}: ${headers[name]}\r\n`
  }
  if (!hasHost) head += `host: ${url.host}\r\n`
  if (!hasAgent) head += 'user-agent: muster\r\n'
  if (!hasAccept) head += 'accept: */*\r\n'
  if (body === undefined) return Buffer.from(`${head}\r\n`, 'latin1')
  const bytes = Buffer.from(body)
  head += `content-length: ${bytes.length}\r\n`
  return Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), bytes])
}

function malformed(what: string): MusterError {
  return new MusterError('EPROTO', `the answer is not HTTP/1.1: ${what}`)
}

type Phase = 'head' | 'length' | 'untilClose' | 'size' | 'chunk' | 'chunkEnd' | 'trailer' | 'done'

/** One answer. Give it what arrives, until it is done. */
export class AnswerReader {
  status = 0
  headers: Readonly<Record<string, string>> = {}
  /** Of the body. */
  bytes = 0
  /** The connection can carry another request. */
  isReusable = false
  readonly #isHead: boolean
  readonly #keepMax: number
  readonly #kept: Buffer[] = []
  #keptBytes = 0
  #phase: Phase = 'head'
  #rest: Buffer = nothing
  /** So much of it has been read. */
  #at = 0
  /** Bytes to come of the body or of the chunk. */
  #left = 0

  constructor(method: string, keepMax: number) {
    this.#isHead = method === 'HEAD'
    this.#keepMax = keepMax
  }

  get isDone(): boolean {
    return this.#phase === 'done'
  }

  get hasHead(): boolean {
    return this.#phase !== 'head'
  }

  /** More of the body came than is kept. */
  get truncated(): boolean {
    return this.bytes > this.#keptBytes
  }

  text(): string {
    const [only] = this.#kept
    const all = this.#kept.length === 1 && only !== undefined ? only : Buffer.concat(this.#kept)
    // A character the cut went through is not invalid, only not kept.
    return this.truncated ? new TextDecoder().decode(all, { stream: true }) : decoder.decode(all)
  }

  /** @throws MusterError EPROTO */
  add(piece: Buffer): void {
    this.#rest = this.#unread === 0 ? piece : Buffer.concat([this.#rest.subarray(this.#at), piece])
    this.#at = 0
    while (this.#step());
    if (this.isDone && this.#unread > 0) this.isReusable = false
  }

  get #unread(): number {
    return this.#rest.length - this.#at
  }

  /**
   * The other side has closed the connection.
   * @throws MusterError when that came too early
   */
  end(): void {
    if (this.#phase === 'untilClose') this.#phase = 'done'
    if (this.isDone) return
    const what = this.hasHead ? 'in the middle of the answer' : 'without an answer'
    throw new MusterError('ECONNRESET', `the connection was closed ${what}`)
  }

  /** False when more has to come first. */
  #step(): boolean {
    switch (this.#phase) {
      case 'head':
        return this.#readHead()
      case 'length':
      case 'chunk':
        return this.#readBody()
      case 'untilClose':
        this.#keep(this.#unread)
        return false
      case 'size':
        return this.#readSize()
      case 'chunkEnd':
        return this.#readLine((line) => {
          if (line !== '') throw malformed('a chunk is longer than it says')
          this.#phase = 'size'
        })
      case 'trailer':
        return this.#readLine((line) => {
          if (line === '') this.#phase = 'done'
        })
      default:
        return false
    }
  }

  #readHead(): boolean {
    const found = this.#rest.indexOf(headEnd, this.#at)
    const length = found < 0 ? this.#unread : found - this.#at
    if (length > headBytesMax) {
      throw malformed(`its head is longer than ${headBytesMax} bytes`)
    }
    if (found < 0) {
      // Whatever this is, it will not become an answer.
      if (length >= 5 && this.#latin1(this.#at + 5) !== 'HTTP/') {
        throw malformed(`it begins with ${JSON.stringify(this.#latin1(this.#at + 20))}`)
      }
      return false
    }
    const head = headOf(this.#latin1(found))
    this.#at = found + headEnd.length
    this.status = head.status
    // An interim answer; the real one follows.
    if (this.status < 200 && this.status !== 101) return true
    this.headers = head.headers
    this.#frame(head.isPersistent)
    return !this.isDone
  }

  #latin1(end: number): string {
    return this.#rest.toString('latin1', this.#at, end)
  }

  #frame(isPersistent: boolean): void {
    const { connection = '', 'content-length': length, 'transfer-encoding': coding } = this.headers
    const wants = connection.toLowerCase()
    this.isReusable = isPersistent ? !wants.includes('close') : wants.includes('keep-alive')
    if (this.#isHead || this.status === 204 || this.status === 304) {
      this.#phase = 'done'
    } else if (coding !== undefined) {
      if (coding.toLowerCase() !== 'chunked') throw malformed(`transfer-encoding ${coding}`)
      // Two lengths are one too many: nobody can say where the next answer begins.
      if (length !== undefined) this.isReusable = false
      this.#phase = 'size'
    } else if (length !== undefined) {
      this.#left = lengthOf(length)
      this.#phase = this.#left === 0 ? 'done' : 'length'
    } else {
      this.isReusable = false
      this.#phase = 'untilClose'
    }
  }

  #readBody(): boolean {
    const count = Math.min(this.#left, this.#unread)
    this.#left -= count
    this.#keep(count)
    if (this.#left > 0) return false
    this.#phase = this.#phase === 'length' ? 'done' : 'chunkEnd'
    return !this.isDone
  }

  #readSize(): boolean {
    return this.#readLine((line) => {
      const [, size] = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line) ?? []
      if (size === undefined)
        throw malformed(`a chunk of ${JSON.stringify(line.slice(0, 20))} bytes`)
      this.#left = Number.parseInt(size, 16)
      this.#phase = this.#left === 0 ? 'trailer' : 'chunk'
    })
  }

  #readLine(use: (line: string) => void): boolean {
    const end = this.#rest.indexOf(lineEnd, this.#at)
    const length = end < 0 ? this.#unread : end - this.#at
    if (length > lineBytesMax) throw malformed('a line of its body is too long')
    if (end < 0) return false
    const line = this.#latin1(end)
    this.#at = end + lineEnd.length
    use(line)
    return !this.isDone
  }

  /** So much of what is unread is of the body. */
  #keep(count: number): void {
    const from = this.#at
    this.#at += count
    this.bytes += count
    const kept = Math.min(count, this.#keepMax - this.#keptBytes)
    if (kept <= 0) return
    // Not a view: what is received next may be written over it.
    this.#kept.push(Buffer.from(this.#rest.subarray(from, from + kept)))
    this.#keptBytes += kept
  }
}

interface Head {
  status: number
  /** Of HTTP/1.1. */
  isPersistent: boolean
  headers: Readonly<Record<string, string>>
}

/** Of late: answers of one server within a second mostly begin with the same words. */
const heads = new Map<string, Head>()
const headsMax = 64
const knownHeadMax = 2048

function headOf(text: string): Head {
  const known = heads.get(text)
  if (known !== undefined) return known
  const [first = '', ...lines] = text.split('\r\n')
  const [, version, code] = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(first) ?? []
  if (code === undefined) throw malformed(`it begins with ${JSON.stringify(first.slice(0, 80))}`)
  const status = Number(code)
  const isInterim = status < 200 && status !== 101
  const headers = isInterim ? {} : Object.freeze(headersOf(lines))
  const head = { status, isPersistent: version === '1', headers }
  if (text.length <= knownHeadMax) {
    if (heads.size >= headsMax) heads.clear()
    heads.set(text, head)
  }
  return head
}

/** Said twice, it must be the same. */
function lengthOf(text: string): number {
  if (lengthPattern.test(text)) return Number(text)
  const lengths = new Set(text.split(',').map((one) => one.trim()))
  const [only = ''] = lengths
  if (lengths.size > 1 || !lengthPattern.test(only)) throw malformed(`content-length ${text}`)
  return Number(only)
}

function headersOf(lines: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    if (colon < 1 || /[ \t]/.test(name)) throw malformed(`the header ${JSON.stringify(line)}`)
    const value = line.slice(colon + 1).trim()
    const known = Object.hasOwn(headers, name) ? headers[name] : undefined
    headers[name] = known === undefined ? value : `${known}, ${value}`
  }
  return headers
}
