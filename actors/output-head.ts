/** The head of a stream in bounded memory, the true count of its bytes, and its last line. */

const tailBytesMax = 512
const lineCharsMax = 200
const firstRoomBytes = 4096
const nothing = new Uint8Array(0)
// The byte order mark stays: it is part of what the program wrote.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

export class OutputHead {
  /** Bytes that came, kept or not. */
  bytes = 0
  readonly #bytesMax: number
  #head: Uint8Array = nothing
  #kept = 0
  #tail: Uint8Array = nothing

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get truncated(): boolean {
    return this.bytes > this.#kept
  }

  /** Takes the chunk over: the caller does not write to it again. */
  add(chunk: Uint8Array): void {
    this.bytes += chunk.length
    const room = this.#bytesMax - this.#kept
    if (chunk.length <= room) {
      this.#keep(chunk)
      return
    }
    if (room > 0) this.#keep(chunk.subarray(0, room))
    this.#tail = lastBytes(this.#tail, chunk)
  }

  text(): string {
    if (this.bytes === 0) return ''
    const head = this.#head.subarray(0, this.#kept)
    if (!this.truncated) return decoder.decode(head)
    // Streaming, because a character the cut went through is not invalid, only not kept.
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(head, { stream: true })
  }

  /** The last line that is not blank, shortened; '' when there is none. */
  lastLine(): string {
    const end = this.truncated ? this.#tail : this.#head.subarray(0, this.#kept)
    const lines = decoder.decode(end.subarray(-tailBytesMax)).trimEnd().split('\n')
    const line = (lines.at(-1) ?? '').trim()
    return line.length > lineCharsMax ? `${line.slice(0, lineCharsMax)}…` : line
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
