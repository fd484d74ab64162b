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
import { DataDirectoryError, describeError, UnavailableError } from '../../actors/errors.ts'
import type { AuditLog, Log } from '../../actors/ports.ts'
import { linesOf, type ResultBatch } from '../../actors/results.ts'
import { SyncedFile } from './synced-file.ts'

export interface AuditFilesOptions {
  directory: string
  fileBytesMax: number
  filesMax: number
  /** `always`: lines are on the disk before they count. `everysec`: `flushMs` later. */
  durability: 'everysec' | 'always'
  flushMs: number
  log: Pick<Log, 'warn'>
}

const newline = 10
/** Of the buffer in which text becomes bytes; what is longer gets one of its own. */
const scratchBytes = 1_048_576
const rotatedPattern = /^audit\.(\d+)\.ndjson$/
/** To put a file aside takes milliseconds: whoever began it so long ago is gone. */
const rotatingMsMax = 10_000

/** @throws DataDirectoryError when the directory or the file cannot be made */
export function auditFiles(options: AuditFilesOptions): AuditLog & { close(): Promise<void> } {
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

  const opened = () =>
    new SyncedFile(open(), {
      afterMs: flushMs,
      // The lines are written; only their durability against a power loss is in doubt.
      onFailure: (error) => log.warn({ file, error: String(error) }, 'cannot sync the audit log'),
    })
  let current = opened()

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
    const isDone = alone(() => {
      // Before anybody takes it for whole.
      current.syncNow()
      putAside()
    })
    if (!isDone) return false
    const next = opened()
    // Not before there is another: the number of a closed one soon belongs to some other file.
    void current.close()
    current = next
    return true
  }

  /** Whether the last line is whole: who was killed, or found no room, leaves half of one. */
  const endsWhole = (): boolean => {
    const { size } = fstatSync(current.descriptor)
    const last = Buffer.alloc(1)
    return (
      size === 0 || readSync(current.descriptor, last, 0, 1, size - 1) === 0 || last[0] === newline
    )
  }

  /** A full disk must not leave half a line; the message comes back and is written whole. */
  const takeBack = (before: number, written: number) => {
    // Others may have written behind it meanwhile: then it stays.
    if (written > 0 && fstatSync(current.descriptor).size === before + written) {
      ftruncateSync(current.descriptor, before)
    }
  }

  const sizeBefore = (): number => {
    for (;;) {
      const { size } = fstatSync(current.descriptor)
      if (size < fileBytesMax || !rotate()) return size
    }
  }

  const scratch = Buffer.allocUnsafe(scratchBytes)

  /** All of it or nothing, unless others write meanwhile: then lines may stay that come again. */
  const write = (texts: Iterable<string>) => {
    if (current.isClosed) throw new UnavailableError('expected an audit log that is still open')
    const before = sizeBefore()
    let written = 0
    try {
      for (const bytes of piecesOf(texts, scratch)) {
        for (let at = endsWhole() ? 1 : 0; at < bytes.length; ) {
          const count = writeSync(current.descriptor, bytes, at)
          at += count
          written += count
        }
      }
    } catch (error) {
      takeBack(before, written)
      throw error
    }
    if (durability === 'always') fsyncSync(current.descriptor)
    else current.wrote()
  }

  return {
    appendResults: async (batches) => write(linesOfAll(batches)),
    append: async (lines) => write([lines]),
    close() {
      if (!current.isClosed) current.syncNow()
      return current.close()
    },
  }
}

/**
 * The bytes of the texts, as much as there is room for at a time, because between two writes others
 * may write. Each piece begins with a line break, to be left out behind a whole line.
 */
function* piecesOf(texts: Iterable<string>, scratch: Buffer): Generator<Buffer> {
  scratch[0] = newline
  let end = 1
  for (const text of texts) {
    // UTF-8 takes at most three bytes for what is one in a string.
    const bytesMax = text.length * 3
    if (end > 1 && end + bytesMax > scratch.length) {
      yield scratch.subarray(0, end)
      end = 1
    }
    if (end + bytesMax > scratch.length) yield Buffer.from(`\n${text}`)
    else end += scratch.write(text, end)
  }
  if (end > 1) yield scratch.subarray(0, end)
}

function* linesOfAll(batches: readonly ResultBatch[]): Generator<string> {
  for (const batch of batches) yield* linesOf(batch)
}
