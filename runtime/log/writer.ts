/**
 * Log lines in files: `<directory>/<name>.ndjson`, append-only, put aside as <name>.ndjson.1 … when
 * it is full. Everything that may wait for a disk is waited for beside the event loop.
 */
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DataDirectoryError, describeError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import type { LogLine, LogSink } from '../../actors/ports-log.ts'

export interface LogFilesOptions {
  directory: string
  /** Of nobody else who writes: a node has a name of its own. */
  name: string
  fileBytesMax: number
  /** Files put aside and kept. */
  filesMax: number
  log: Pick<Log, 'warn'>
  /** The disk, unless a test has one of its own. */
  disk?: Disk
}

/** An open file that is appended to. */
export type LogFile = Pick<FileHandle, 'write' | 'sync' | 'stat' | 'read' | 'truncate' | 'close'>

export interface Disk {
  open(file: string): Promise<LogFile>
  rename(from: string, to: string): Promise<void>
}

const { O_APPEND, O_CREAT, O_RDWR } = constants
const newline = 10
/** What is no file, or is on what cannot be written durably, is as well written as it can be. */
const unsyncable = new Set(['EINVAL', 'EBADF', 'EROFS'])

const realDisk: Disk = {
  open: (file) => open(file, O_APPEND | O_CREAT | O_RDWR, 0o600),
  rename,
}

export function logFileOf(directory: string, name: string): string {
  return join(directory, `${name}.ndjson`)
}

/** `open` rejects with a DataDirectoryError when the directory or the file cannot be made. */
export function logFiles(options: LogFilesOptions): LogSink {
  return new LogFiles(options)
}

class LogFiles implements LogSink {
  readonly #options: LogFilesOptions
  readonly #disk: Disk
  readonly #path: string
  #file: LogFile | undefined
  /** Nothing more is to be written. */
  #isOver = false
  /** Memory for a batch: to ask for that anew each time takes longer than to fill it. */
  #spare: ArrayBufferLike | undefined
  /** What stays wrong from batch to batch is told once. */
  readonly #told = new Set<string>()

  constructor(options: LogFilesOptions) {
    this.#options = options
    this.#disk = options.disk ?? realDisk
    this.#path = logFileOf(options.directory, options.name)
  }

  async open(): Promise<void> {
    this.#isOver = false
    try {
      await this.#open()
      await this.#closeWhenOver()
    } catch (error) {
      throw new DataDirectoryError(
        `cannot write the log ${this.#path}: ${describeError(error).message}; ` +
          'choose another directory with --data, or make this one writable',
        { cause: error },
      )
    }
  }

  async append(lines: readonly LogLine[]): Promise<void> {
    const text = this.#textOf(lines)
    try {
      const { file, size } = await this.#fileFor(text.length)
      await this.#write(file, size, text)
      await this.#sync(file)
      this.#spare = text.buffer
      await this.#closeWhenOver()
    } catch (error) {
      // Whatever is the matter with this one, the next try shall not meet it.
      await this.#close()
      throw error
    }
  }

  close(): Promise<void> {
    this.#isOver = true
    return this.#close()
  }

  /** What was being opened when it was to close is left open by nobody. */
  async #closeWhenOver(): Promise<void> {
    if (this.#isOver) await this.#close()
  }

  /** Whoever has the memory has it alone, until it is written. */
  #textOf(lines: readonly LogLine[]): Buffer {
    let bytes = 0
    for (const line of lines) bytes += line.bytes
    const spare = this.#spare
    this.#spare = undefined
    const text =
      spare !== undefined && spare.byteLength >= bytes
        ? Buffer.from(spare)
        : Buffer.allocUnsafeSlow(bytes)
    let end = 0
    for (const line of lines) end += text.write(line.text, end)
    return text.subarray(0, end)
  }

  /** The file that has room for so many bytes, and its size. */
  async #fileFor(bytes: number): Promise<{ file: LogFile; size: number }> {
    let file = this.#file ?? (await this.#open())
    let { size, ino } = await file.stat()
    // Somebody may have taken it away, or moved it: those who look there shall find the new lines.
    const there = await stat(this.#path).catch(() => undefined)
    if (there?.ino !== ino) file = await this.#open()
    else if (size > 0 && size + bytes > this.#options.fileBytesMax) file = await this.#rotate(file)
    else return { file, size }
    ;({ size, ino } = await file.stat())
    return { file, size }
  }

  async #open(): Promise<LogFile> {
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 })
    const file = await this.#disk.open(this.#path)
    const before = this.#file
    this.#file = file
    // Not before there is another: the number of a closed one soon belongs to some other file.
    await before?.close().catch(() => undefined)
    return file
  }

  async #write(file: LogFile, size: number, text: Buffer): Promise<void> {
    let written = 0
    try {
      // A writer that was killed leaves half a line.
      if (!(await endsWhole(file, size))) await file.write(Buffer.of(newline))
      while (written < text.length) {
        written += (await file.write(text, written, text.length - written)).bytesWritten
      }
    } catch (error) {
      // A full disk must not leave half a line; all of it comes again.
      if (written > 0) await file.truncate(size).catch(() => undefined)
      throw error
    }
  }

  /** The lines are written; only whether they outlive a power loss is in doubt without it. */
  async #sync(file: LogFile): Promise<void> {
    try {
      await file.sync()
      this.#told.delete('sync')
    } catch (error) {
      const { code, message } = describeError(error)
      if (!unsyncable.has(code)) this.#tell('sync', 'the log cannot be synced', message)
    }
  }

  /** Puts the file aside. When that cannot be done, it grows. */
  async #rotate(full: LogFile): Promise<LogFile> {
    const { filesMax } = this.#options
    const aside = (number: number) => `${this.#path}.${number}`
    try {
      // One that is missing among them is filled up, before the oldest has to go.
      let free = 1
      while (free < filesMax && (await isThere(aside(free)))) free += 1
      await rm(aside(free), { force: true })
      for (let number = free - 1; number >= 1; number -= 1) {
        await this.#disk.rename(aside(number), aside(number + 1))
      }
      await this.#disk.rename(this.#path, aside(1))
      this.#told.delete('rotate')
    } catch (error) {
      const { message } = describeError(error)
      this.#tell('rotate', 'the log cannot be put aside; it grows', message)
      return full
    }
    return this.#open()
  }

  #tell(what: string, sentence: string, error: string): void {
    if (this.#told.has(what)) return
    this.#told.add(what)
    this.#options.log.warn({ file: this.#path, error }, sentence)
  }

  async #close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close().catch(() => undefined)
  }
}

async function endsWhole(file: LogFile, size: number): Promise<boolean> {
  if (size === 0) return true
  const { bytesRead, buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1)
  return bytesRead === 0 || buffer[0] === newline
}

async function isThere(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined
}
