/** What the log needs of the world, and what it consists of. */
import type { LogLevel } from './ports.ts'

/** One record, as it is written. */
export interface LogLine {
  level: LogLevel
  /** JSON and a line break. */
  text: string
  bytes: number
}

/** Where log lines go in the end. */
export interface LogSink {
  open(): Promise<void>
  /**
   * Adds them in this order. Resolves when a killed process cannot lose them; rejects when they are
   * not there, and takes the same ones again later.
   */
  append(lines: readonly LogLine[]): Promise<void>
  close(): Promise<void>
}

/** Who counts what the log leaves out. */
export interface LogMeter {
  dropped(level: LogLevel): void
}
