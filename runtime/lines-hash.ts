/** The hash that decides whether two submissions under one key bring the same lines. */
import type { PieceHashes } from '../actors/source.ts'

type State = InstanceType<typeof Bun.CryptoHasher>

/** What it takes to hash a line once more, where its text does not do. */
export type HashedLine = { bytes: Uint8Array } | { after: State }

interface Again {
  text?: string
  hashed?: HashedLine
}

/** SHA-256 over lines one after the other, each its bytes and \n. */
export class LinesHash {
  /** After the last whole line, and after the last piece. */
  #state: State = new Bun.CryptoHasher('sha256')
  #before: State = this.#state.copy()
  /** With the beginning of a line that is too long to be kept. */
  #long: State | undefined
  #lines = 0

  /** The beginning of a line that is not kept. */
  part(bytes: Uint8Array): void {
    this.#long ??= this.#state.copy()
    this.#long.update(bytes)
  }

  /** A whole line. */
  line(bytes: Uint8Array): HashedLine {
    this.#state.update(bytes)
    this.#state.update('\n')
    return { bytes }
  }

  /** Lines of which the text says every byte. */
  texts(lines: readonly Again[]): void {
    for (const { text = '' } of lines) {
      this.#state.update(text)
      this.#state.update('\n')
    }
  }

  /** Lines none of which is blank, each with its \n. */
  whole(bytes: Uint8Array): void {
    this.#state.update(bytes)
  }

  /** The end of a line that came in parts. */
  endParts(): HashedLine {
    const after = this.#long ?? this.#state.copy()
    this.#long = undefined
    after.update('\n')
    this.#state = after
    return { after: after.copy() }
  }

  /** The lines hashed since the last piece are one. */
  next(lines: readonly Again[]): PieceHashes {
    const before = this.#before
    const from = this.#lines
    const to = from + lines.length
    this.#before = this.#state.copy()
    this.#lines = to
    const end = this.#state.copy().digest('hex')
    return { from, to, of: (upTo) => (upTo === to ? end : again(before, lines, upTo - from)) }
  }
}

function again(before: State, lines: readonly Again[], count: number): string {
  let state = before.copy()
  for (const { text = '', hashed } of lines.slice(0, count)) {
    if (hashed !== undefined && 'after' in hashed) {
      state = hashed.after.copy()
    } else {
      state.update(hashed?.bytes ?? text)
      state.update('\n')
    }
  }
  return state.digest('hex')
}
