/**
 * The audit log port on files: `<directory>/audit.ndjson`, append-only, rotated to audit.1.ndjson …
 * A written line survives a killed process; a power loss may take what was not synced yet.
 */
import {
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DataDirectoryError, describeError } from '../../actors/errors.ts'
import type { AuditLog, Log } from '../../actors/ports.ts'
import { linesOf, type ResultBatch } from '../../actors/results.ts'
import { LateSync } from './late-sync.ts'

export interface AuditFilesOptions {
  directory: string
  fileBytesMax: number
  filesMax: number
  /** `always`: lines are on the disk before they count. `everysec`: within `flushMs`. */
  durability: 'everysec' | 'always'
  flushMs: number
  log: Pick<Log, 'warn'>
}

const newline = 10
/** Of the buffer in which text becomes bytes; what is longer gets one of its own. */
const scratchBytes = 131_072
const rotatedPattern = /^audit\.(\d+)\.ndjson$/
/** To put a file aside takes milliseconds: whoever began it so long ago is gone. */
const rotatingMsMax = 10_000

/** @throws DataDirectoryError when the directory or the file cannot be made */
export function auditFiles(options: AuditFilesOptions): AuditLog & { close(): void } {
  const { directory, durability, fileBytesMax, filesMax, flushMs, log } = options
  const file = join(directory, 'audit.ndjson')
  /** There while somebody puts files aside: two at a time would overwrite one. */
  const lock = join(directory, 'rotating')
  const rotated = (number: number) => join(directory, `audit.${number}.ndjson`)

  const open = (): number => {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      return openSync(file, 'a+', 0o600)
    } catch (error) {
      throw new DataDirectoryError(
        `cannot write the audit log ${file}: ${describeError(error).message}; ` +
          'choose another directory with --data, or make this one writable',
        { cause: error },
      )
    }
  }

  let descriptor = open()
  const onFailure = (error: unknown) => {
    // The lines are written; only their durability against a power loss is in doubt.
    log.warn({ file, error: String(error) }, 'cannot sync the audit log')
  }
  const late = new LateSync({ afterMs: flushMs, onFailure })

  /** At the end of a file, before anybody takes it for whole. */
  const syncNow = () => {
    late.forget()
    try {
      fsyncSync(descriptor)
    } catch (error) {
      onFailure(error)
    }
  }

  /** @returns false where another one is at it: a thread, or a process */
  const alone = (work: () => void): boolean => {
    try {
      mkdirSync(lock)
    } catch (error) {
      if (describeError(error).code !== 'EEXIST') throw error
      const { mtimeMs = Date.now() } = statSync(lock, { throwIfNoEntry: false }) ?? {}
      // Of somebody who was killed meanwhile; the next one tries again.
      if (Date.now() - mtimeMs > rotatingMsMax) rmSync(lock, { recursive: true, force: true })
      return false
    }
    try {
      work()
    } finally {
      rmSync(lock, { recursive: true, force: true })
    }
    return true
  }

  const putAside = () => {
    // Another process of this data directory may have done so already.
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) < fileBytesMax) return
    const numbers = readdirSync(directory).flatMap((name) => {
      const number = Number(rotatedPattern.exec(name)?.[1] ?? 0)
      return number > 0 ? [number] : []
    })
    for (const number of numbers.toSorted((one, other) => other - one)) {
      if (number >= filesMax) rmSync(rotated(number), { force: true })
      else renameSync(rotated(number), rotated(number + 1))
    }
    renameSync(file, rotated(1))
  }

  /** @returns false where another one is putting it aside: until that is done, it is written to */
  const rotate = (): boolean => {
    syncNow()
    if (!alone(putAside)) return false
    const next = open()
    // Not before there is another: the number of a closed one soon belongs to some other file.
    late.close(descriptor)
    descriptor = next
    return true
  }

  /** Whether the last line is whole; a writer that was killed leaves half of one. */
  const endsWhole = (size: number): boolean => {
    const last = Buffer.alloc(1)
    return size === 0 || readSync(descriptor, last, 0, 1, size - 1) === 0 || last[0] === newline
  }

  /** A full disk must not leave half a line; the message comes back and is written whole. */
  const takeBack = (before: number, written: number) => {
    // Others may have written behind it meanwhile: then half a line stays.
    if (written > 0 && fstatSync(descriptor).size === before + written) {
      ftruncateSync(descriptor, before)
    }
  }

  const scratch = Buffer.allocUnsafe(scratchBytes)
  const bytesOf = (text: string): Buffer => {
    // UTF-8 takes at most three bytes for what is one in a string.
    if (text.length * 3 > scratchBytes) return Buffer.from(text)
    return scratch.subarray(0, scratch.write(text))
  }

  const sizeBefore = (): number => {
    for (;;) {
      const { size } = fstatSync(descriptor)
      if (size < fileBytesMax || !rotate()) return size
    }
  }

  /** All of the texts, or nothing. */
  const write = (texts: Iterable<string>) => {
    const before = sizeBefore()
    let written = 0
    const add = (text: string) => {
      const bytes = bytesOf(text)
      for (let at = 0; at < bytes.length; ) {
        const count = writeSync(descriptor, bytes, at)
        at += count
        written += count
      }
    }
    try {
      if (!endsWhole(before)) add('\n')
      for (const text of texts) add(text)
    } catch (error) {
      takeBack(before, written)
      throw error
    }
    if (durability === 'always') fsyncSync(descriptor)
    else late.soon(descriptor)
  }

  return {
    appendResults: async (batches) => write(linesOfAll(batches)),
    append: async (lines) => write([lines]),
    close() {
      syncNow()
      late.close(descriptor)
    },
  }
}

function* linesOfAll(batches: readonly ResultBatch[]): Generator<string> {
  for (const batch of batches) yield* linesOf(batch)
}
