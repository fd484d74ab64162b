/**
 * The head of a stream in bounded memory, the true count of its bytes, and its last line. What is
 * kept beyond the memory goes to a spill.
 */
import { describeError } from './errors.ts'
import { sayable } from './sayable.ts'

const tailBytesMax = 512
const lineCharsMax = 200
const firstRoomBytes = 4096
const nothing = new Uint8Array(0)
// The byte order mark stays: it is part of what the program wrote.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** Room outside of the memory. All of it is gone once it is closed. */
export interface Spill {
  /** @throws an error with the operating system's code when there is no room */
  append(bytes: Uint8Array): void
  /** All that was appended. */
  read(): Uint8Array
  close(): void
}

export interface Spilling {
  /** Bytes of one stream kept in memory. */
  memoryMax: number
  /** @throws like `Spill.append` */
  open(): Spill
}

export class OutputHead {
  /** Bytes that came, kept or not. */
  bytes = 0
  /** Why what should have been kept was not. */
  problem: { code: string; message: string } | undefined
  readonly #bytesMax: number
  readonly #spilling: Spilling | undefined
  #head: Uint8Array = nothing
  /** Bytes in memory. */
  #kept = 0
  #spill: Spill | undefined
  #spilled = 0
  #isCut = false
  #tail: Uint8Array = nothing

  constructor(bytesMax: number, spilling?: Spilling) {
    this.#bytesMax = bytesMax
    this.#spilling = spilling
  }

  /** Known once `text` was asked for. */
  get truncated(): boolean {
    return this.#isCut || this.#isOver
  }

  get #isOver(): boolean {
    return this.bytes > this.#kept + this.#spilled
  }

  /** Takes the chunk over: the caller does not write to it again. */
  add(chunk: Uint8Array): void {
    this.bytes += chunk.length
    const memoryMax = Math.min(this.#bytesMax, this.#spilling?.memoryMax ?? this.#bytesMax)
    const room = this.#spilled > 0 ? 0 : memoryMax - this.#kept
    if (chunk.length <= room) {
      this.#keep(chunk)
      return
    }
    if (room > 0) this.#keep(chunk.subarray(0, room))
    this.#spillOver(chunk.subarray(room))
    this.#tail = lastBytes(this.#tail, chunk)
  }

  text(): string {
    if (this.bytes === 0) return ''
    const all = this.#decoded()
    const text = sayable(all)
    this.#isCut = text.length < all.length
    return text
  }

  #decoded(): string {
    const head = this.#all()
    if (!this.#isOver) return decoder.decode(head)
    // Streaming, because a character the cut went through is not invalid, only not kept.
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(head, { stream: true })
  }

  /** The last line that is not blank, shortened; '' when there is none. */
  lastLine(): string {
    const end = this.bytes > this.#kept ? this.#tail : this.#head.subarray(0, this.#kept)
    const lines = decoder.decode(end.subarray(-tailBytesMax)).trimEnd().split('\n')
    const line = (lines.at(-1) ?? '').trim()
    return line.length > lineCharsMax ? `${line.slice(0, lineCharsMax)}…` : line
  }

  /** Gives back what it took outside of the memory. */
  close(): void {
    this.#spill?.close()
    this.#spill = undefined
  }

  #all(): Uint8Array {
    const head = this.#head.subarray(0, this.#kept)
    if (this.#spill === undefined || this.#spilled === 0) return head
    const spilled = this.#spill.read()
    const all = new Uint8Array(head.length + spilled.length)
    all.set(head)
    all.set(spilled, head.length)
    return all
  }

  #spillOver(rest: Uint8Array): void {
    const part = rest.subarray(0, this.#bytesMax - this.#kept - this.#spilled)
    if (part.length === 0 || this.#spilling === undefined || this.problem !== undefined) return
    try {
      this.#spill ??= this.#spilling.open()
      this.#spill.append(part)
      this.#spilled += part.length
    } catch (error) {
      const { code, message } = describeError(error)
      this.problem = { code, message }
    }
  }

  // One growing buffer and not a list of chunks: a program that writes byte by byte would otherwise
  // cost a hundred times what it wrote.
  #keep(chunk: Uint8Array): void {
    const size = this.#kept + chunk.length
    if (this.#kept === 0 && chunk.byteLength === chunk.buffer.byteLength) {
      this.#head = chunk
    } else {
      if (size > this.#head.length) this.#grow(size)
      this.#head.set(chunk, this.#kept)
    }
    this.#kept = size
  }

  #grow(size: number): void {
    const doubled = Math.max(size, this.#head.length * 2, firstRoomBytes)
    const grown = new Uint8Array(Math.max(size, Math.min(doubled, this.#bytesMax)))
    grown.set(this.#head.subarray(0, this.#kept))
    this.#head = grown
  }
}

function lastBytes(before: Uint8Array, chunk: Uint8Array): Uint8Array {
  if (chunk.length >= tailBytesMax) return chunk.slice(-tailBytesMax)
  const joined = new Uint8Array(before.length + chunk.length)
  joined.set(before)
  joined.set(chunk, before.length)
  return joined.slice(-tailBytesMax)
}
