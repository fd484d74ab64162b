/**
 * The log of a node. On stderr, at once: lines for people on a terminal, JSON for everything else.
 * Of a node that listens also in files, and what its worker processes log with it.
 */
import { appendFileSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Tell } from '../../actors/dead-letters.ts'
import { describeError } from '../../actors/errors.ts'
import { logWriter } from '../../actors/log.ts'
import { LogLines } from '../../actors/log-lines.ts'
import type { Log, LogLevel } from '../../actors/ports.ts'
import type { LogMeter, LogSink } from '../../actors/ports-log.ts'
import type { NamedChild } from '../../actors/supervisor.ts'
import type { Config } from '../../config/schema.ts'
import { systemClock } from '../clock.ts'
import { pinoLog } from './pino.ts'
import { logFileOf, logFiles } from './writer.ts'

/** A log, and what there is behind it, if anything. */
export interface NodeLog extends Log {
  readonly written?: WrittenLog
}

export interface NodeLogOptions {
  config: Config
  dataDir: string
  ephemeral?: boolean
  listen?: boolean
  /** This is a worker process: its name. */
  process?: string
  /** Takes the lines of a worker process to its node. */
  logSink?: LogSink
  meter: LogMeter
  /** Resolves when nothing more is to be logged. */
  stopped: Promise<unknown>
}

/** Bytes that may wait for the disk, in batches. */
const batchesMax = 16
/** Of a worker process: it may be killed at any moment, and takes with it what it has not told. */
const toldAfterMs = 20
/** For what waits when the node stops. */
const drainMs = 2000
const logStopMs = 3000

export function nodeLog(options: NodeLogOptions): NodeLog {
  const { config, ephemeral, listen, process: name, logSink } = options
  const isWritten = listen === true && ephemeral !== true
  const written = isWritten || logSink !== undefined ? new WrittenLog(options) : undefined
  const isTerminal = process.stderr.isTTY
  const log = pinoLog({
    level: listen === true || name !== undefined ? config.log.level : 'warn',
    thread: name ?? 'main',
    write(line, level) {
      process.stderr.write(isTerminal ? forPeople(line) : line)
      written?.add(level, line)
    },
  })
  return written === undefined ? log : { ...log, written }
}

export class WrittenLog {
  readonly #options: NodeLogOptions
  readonly #lines: LogLines
  readonly #batchBytes: number
  #file: string | undefined
  #isOver = false

  constructor(options: NodeLogOptions) {
    const { queueMax, flushBytes, fileBytesMax } = options.config.log
    this.#options = options
    this.#batchBytes = Math.min(flushBytes, fileBytesMax)
    this.#lines = new LogLines({
      queueMax,
      queueBytesMax: batchesMax * this.#batchBytes,
      batchBytes: this.#batchBytes,
      clock: systemClock,
      random: Math.random,
      meter: options.meter,
    })
  }

  /** Lines that are not written yet. */
  get depth(): number {
    return this.#lines.depth
  }

  /** A line, with its line break. */
  readonly add = (level: LogLevel, text: string): void => {
    if (!this.#isOver) this.#lines.push({ level, text, bytes: Buffer.byteLength(text) })
  }

  /** The writer, as a child of the node `id`. */
  child(id: string, tell: Tell, log: Log): NamedChild {
    const { config, dataDir, logSink, stopped } = this.#options
    const { flushMs, fileBytesMax, filesMax } = config.log
    const directory = join(dataDir, 'log')
    this.#file = logSink === undefined ? logFileOf(directory, id) : undefined
    const end = () => this.#end()
    process.on('exit', end)
    void stopped.then(() => {
      process.off('exit', end)
      end()
    })
    const files = { directory, name: id, fileBytesMax, filesMax, log }
    const sink = logSink ?? logFiles(files)
    const spec = () =>
      logWriter({
        lines: this.#lines,
        sink,
        flushMs: logSink === undefined ? flushMs : Math.min(flushMs, toldAfterMs),
        drainMs,
        clock: systemClock,
        tell,
        log,
      })
    return { id: 'log', spec, stopTimeoutMs: logStopMs }
  }

  /**
   * What came when the writer was gone already is written now, or never. What was being written may
   * be there twice. Where the disk hangs nobody waits for it: it is on stderr.
   */
  #end(): void {
    const lines = this.#lines
    this.#isOver = true
    if (this.#file === undefined || lines.isStuck) return
    const rest: string[] = []
    for (let batch = lines.next(); batch.length > 0; batch = lines.next()) {
      for (const { text } of batch) rest.push(text)
      lines.written()
    }
    if (rest.length === 0) return
    try {
      mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 })
      appendFileSync(this.#file, rest.join(''), { mode: 0o600 })
    } catch (error) {
      const { message } = describeError(error)
      process.stderr.write(`muster: ${rest.length} lines of the log are not written: ${message}\n`)
    }
  }
}

/** `12:03:41 warn   an actor failed path=root/c`. */
function forPeople(line: string): string {
  const record = JSON.parse(line) as Record<string, unknown>
  const { level, ts_ms, msg, pid: _pid, thread, logger, stream: _stream, exc, ...rest } = record
  const at = new Date(Number(ts_ms)).toISOString().slice(11, 19)
  const where = {
    ...(thread === 'main' ? {} : { thread }),
    ...(logger === 'muster' ? {} : { logger }),
  }
  const fields = Object.entries({ ...where, ...rest })
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('')
  const trace = typeof exc === 'string' ? `\n${exc}` : ''
  return `${at} ${String(level).padEnd(5)}  ${String(msg)}${fields}${trace}\n`
}
