/**
 * The lines of a log on their way to whoever writes them: the one queue that all of a process put
 * theirs into, without waiting. It is bounded for what may be dropped. A warning is never refused:
 * it takes the place of the oldest line that may be dropped, and if there is none it comes on top.
 */
import { isKeptAlways, isPressed, keptShare } from '../machines/log.ts'
import type { Clock, LogLevel } from './ports.ts'
import type { LogLine, LogMeter } from './ports-log.ts'

export interface LogLinesOptions {
  /** Lines that wait or are being written, at most. */
  queueMax: number
  /** The same in bytes: lines may be long. */
  queueBytesMax: number
  /** Bytes that are enough to be written at once. */
  batchBytes: number
  clock: Pick<Clock, 'monotonic'>
  random(): number
  meter: LogMeter
}

export interface LogLinesListener {
  /** The first line after none. */
  waiting(): void
  /** There are enough for a batch now. */
  enough(): void
}

/** Lines that were dropped, by level. */
export type Dropped = Partial<Record<LogLevel, number>>

/** While lines are dropped for so long, that is told as often. */
const toldEveryMs = 10_000
/** A disk that works has taken a batch by then. */
const stuckAfterMs = 1000

export class LogLines {
  readonly #options: LogLinesOptions
  #listener: LogLinesListener | undefined
  /** From `#first` on those that wait; undefined where one was dropped later. */
  #lines: (LogLine | undefined)[] = []
  #first = 0
  /** Up to there none is left that may be dropped. */
  #searched = 0
  #waiting = 0
  #bytes = 0
  /** When the oldest of those that wait came, or earlier; ms, monotonic. */
  #since = 0
  #atHand: readonly LogLine[] = []
  #atHandBytes = 0
  #atHandSince = 0
  #dropped: Dropped | undefined
  #droppedSince = 0

  constructor(options: LogLinesOptions) {
    this.#options = options
  }

  /** Lines that are not written yet. */
  get depth(): number {
    return this.#waiting + this.#atHand.length
  }

  /** 1 and more: full. */
  get fullness(): number {
    const { queueMax, queueBytesMax } = this.#options
    return Math.max(this.depth / queueMax, (this.#bytes + this.#atHandBytes) / queueBytesMax)
  }

  /** What is being written takes so long that nobody should wait for it. */
  get isStuck(): boolean {
    if (this.#atHand.length === 0) return false
    return this.#options.clock.monotonic() - this.#atHandSince > stuckAfterMs
  }

  listen(listener: LogLinesListener | undefined): void {
    this.#listener = listener
  }

  push(line: LogLine): void {
    const fullness = this.fullness
    if (isPressed(fullness) && !this.#makesWay(line, fullness)) return
    this.#lines.push(line)
    this.#waiting += 1
    const before = this.#bytes
    this.#bytes = before + line.bytes
    const { batchBytes, clock } = this.#options
    if (this.#waiting === 1) {
      this.#since = clock.monotonic()
      this.#listener?.waiting()
    }
    if (before < batchBytes && this.#bytes >= batchBytes) this.#listener?.enough()
  }

  /** What is to be written now: the same as before, while that is not written. */
  next(): readonly LogLine[] {
    if (this.#atHand.length > 0 || this.#waiting === 0) return this.#atHand
    const { batchBytes } = this.#options
    const batch: LogLine[] = []
    let bytes = 0
    let at = this.#first
    for (; at < this.#lines.length; at += 1) {
      const line = this.#lines[at]
      if (line === undefined) continue
      if (batch.length > 0 && bytes + line.bytes > batchBytes) break
      batch.push(line)
      bytes += line.bytes
    }
    this.#waiting -= batch.length
    this.#bytes -= bytes
    this.#advance(at)
    this.#atHand = batch
    this.#atHandBytes = bytes
    this.#atHandSince = this.#options.clock.monotonic()
    return batch
  }

  /** Those that `next` gave are where they belong. */
  written(): void {
    this.#atHand = []
    this.#atHandBytes = 0
  }

  /** In how many ms what waits is to be written, if no line may wait longer than `flushMs`. */
  dueMs(flushMs: number): number | undefined {
    const { batchBytes, clock } = this.#options
    if (this.#waiting === 0) return undefined
    if (this.#bytes >= batchBytes) return 0
    return Math.max(0, flushMs - (clock.monotonic() - this.#since))
  }

  /**
   * What was dropped since this last said so; undefined when there is nothing to say, or not yet:
   * it is said once it is over, and every 10 s while it is not.
   */
  takeDropped(isLast = false): Dropped | undefined {
    if (this.#dropped === undefined) return undefined
    const now = this.#options.clock.monotonic()
    const isOver = isLast || !isPressed(this.fullness)
    if (!isOver && now - this.#droppedSince < toldEveryMs) return undefined
    const dropped = this.#dropped
    this.#dropped = undefined
    return dropped
  }

  /** Whether a line is taken while there is little room, or none. */
  #makesWay({ level }: LogLine, fullness: number): boolean {
    const share = keptShare(level, fullness)
    if (share < 1) {
      if (this.#options.random() < share) return true
      this.#drop(level)
      return false
    }
    let isRoomier = true
    while (isRoomier && this.fullness >= 1) isRoomier = this.#dropOldest()
    return true
  }

  /** Of those that may be dropped; false when none waits. */
  #dropOldest(): boolean {
    this.#searched = Math.max(this.#searched, this.#first)
    for (; this.#searched < this.#lines.length; this.#searched += 1) {
      const line = this.#lines[this.#searched]
      if (line === undefined || isKeptAlways(line.level)) continue
      this.#lines[this.#searched] = undefined
      this.#waiting -= 1
      this.#bytes -= line.bytes
      this.#drop(line.level)
      return true
    }
    return false
  }

  #drop(level: LogLevel): void {
    if (this.#dropped === undefined) {
      this.#dropped = {}
      this.#droppedSince = this.#options.clock.monotonic()
    }
    this.#dropped[level] = (this.#dropped[level] ?? 0) + 1
    this.#options.meter.dropped(level)
  }

  /** Those before `at` are taken. Their places are given back, now and then, not one by one. */
  #advance(at: number): void {
    this.#first = at
    if (at < this.#lines.length && at * 2 < this.#lines.length) return
    this.#lines = this.#lines.slice(at)
    this.#searched = Math.max(0, this.#searched - at)
    this.#first = 0
  }
}
