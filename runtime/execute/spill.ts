/** Output that is much, in a file that has no name: whatever ends this process, it is gone then. */
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Spill, Spilling } from '../../actors/output-head.ts'

/** Bytes of one stream kept in memory while its command runs. */
const memoryMaxDefault = 1024 * 1024

export function fileSpilling(directory: string, memoryMax = memoryMaxDefault): Spilling {
  return {
    memoryMax,
    open() {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      const path = join(directory, `spill-${randomUUID()}`)
      const file = openSync(path, 'wx+', 0o600)
      try {
        unlinkSync(path)
      } catch (error) {
        closeSync(file)
        throw error
      }
      return new FileSpill(file)
    },
  }
}

class FileSpill implements Spill {
  readonly #file: number
  #size = 0

  constructor(file: number) {
    this.#file = file
  }

  append(bytes: Uint8Array): void {
    let written = 0
    try {
      while (written < bytes.length) {
        const left = bytes.length - written
        written += writeSync(this.#file, bytes, written, left, this.#size + written)
      }
    } catch (error) {
      // Half a chunk is none: what is counted as kept is what can be read.
      ftruncateSync(this.#file, this.#size)
      throw error
    }
    this.#size += bytes.length
  }

  read(): Uint8Array {
    const all = new Uint8Array(this.#size)
    let read = 0
    while (read < all.length) {
      const count = readSync(this.#file, all, read, all.length - read, read)
      if (count === 0) throw new Error('expected the spilled output, found its file cut short')
      read += count
    }
    return all
  }

  close(): void {
    closeSync(this.#file)
  }
}
