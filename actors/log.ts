/** Binds the writer of the log to the lines that wait and to where they go: he is the only one. */
import { fromPromise } from 'xstate'
import { type Left, logMachine } from '../machines/log.ts'
import type { Owned } from '../machines/service.ts'
import type { Tell } from './dead-letters.ts'
import { describeError } from './errors.ts'
import type { LogLines } from './log-lines.ts'
import type { Clock, Log } from './ports.ts'
import type { LogSink } from './ports-log.ts'
import type { ChildSpec } from './supervisor.ts'

export interface LogWriterOptions {
  lines: LogLines
  sink: LogSink
  flushMs: number
  /** What waits at the end gets so long. */
  drainMs: number
  clock: Clock
  tell: Tell
  /** The log that ends here: what there is to say of the writing itself. */
  log: Log
}

/** A disk that is full may have room again; one that hangs takes the time it takes. */
const backoff = { baseMs: 200, capMs: 5000, jitter: 0 }
/** Between two tries, while there is little time left. */
const lastTriesMs = 100

export function logWriter(options: LogWriterOptions): ChildSpec {
  const { lines, sink, flushMs, clock, tell } = options
  const pen = new Pen(options)
  return {
    input: { flushMs, backoff },
    logic: logMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input: { owner } }) => {
          await sink.open()
          lines.listen({
            waiting: () => tell(owner, { type: 'log.waiting' }),
            enough: () => tell(owner, { type: 'log.enough' }),
          })
        }),
        write: fromPromise<Left, Owned>(async () => {
          await pen.write()
          return { dueMs: lines.dueMs(flushMs) }
        }),
        drain: fromPromise<void, Owned>(async () => {
          lines.listen(undefined)
          const late = new AbortController()
          const isOver = () => late.signal.aborted
          const over = clock.wait(options.drainMs, late.signal)
          await Promise.race([pen.drain(isOver), over])
          late.abort()
        }),
      },
    }),
  }
}

class Pen {
  readonly #options: LogWriterOptions
  #writing: Promise<void> = Promise.resolve()
  #hasFailed = false

  constructor(options: LogWriterOptions) {
    this.#options = options
  }

  /** Writes a batch, if there is anything. */
  write(): Promise<void> {
    this.#writing = this.#write()
    return this.#writing
  }

  /** Writes all there is, unless time is over. */
  async drain(isOver: () => boolean): Promise<void> {
    const { lines, sink, clock } = this.#options
    // What is being written would come twice.
    await this.#writing.catch(() => undefined)
    this.#tellDropped(true)
    while (lines.depth > 0 && !isOver()) {
      const isWritten = await this.write().then(
        () => true,
        () => false,
      )
      if (!isWritten && !isOver()) await clock.wait(lastTriesMs)
    }
    await sink.close()
  }

  async #write(): Promise<void> {
    const { lines, sink, log } = this.#options
    const batch = lines.next()
    if (batch.length === 0) return
    try {
      await sink.append(batch)
    } catch (error) {
      // Once, or the log would fill with what is the matter with it.
      if (!this.#hasFailed) log.warn(describeError(error), 'the log cannot be written; it waits')
      this.#hasFailed = true
      throw error
    }
    lines.written()
    if (this.#hasFailed) log.info({ waiting: lines.depth }, 'the log is written again')
    this.#hasFailed = false
    this.#tellDropped(false)
  }

  /** A warning: it is not dropped itself. */
  #tellDropped(isLast: boolean): void {
    const { lines, log } = this.#options
    const dropped = lines.takeDropped(isLast)
    if (dropped !== undefined) log.warn({ dropped }, 'log_dropped')
  }
}
