/** Log lines for tests, and a place for them that does what the test says. */
import type { LogLevel } from '../../actors/ports.ts'
import type { LogLine, LogSink } from '../../actors/ports-log.ts'

export const lineOf = (level: LogLevel, msg: string | number): LogLine => {
  const text = `${JSON.stringify({ level, msg })}\n`
  return { level, text, bytes: Buffer.byteLength(text) }
}

/** What the lines say. */
export const saidBy = (lines: readonly LogLine[]) =>
  lines.map(({ text }) => (JSON.parse(text) as { msg: string | number }).msg)

export class TestSink implements LogSink {
  readonly asked: string[] = []
  readonly batches: LogLine[][] = []
  /** Rejects: it cannot be written. Does not settle: the disk hangs. */
  disk: Promise<void> = Promise.resolve()

  get lines(): LogLine[] {
    return this.batches.flat()
  }

  async open(): Promise<void> {
    this.asked.push('open')
  }

  async append(lines: readonly LogLine[]): Promise<void> {
    await this.disk
    this.batches.push([...lines])
  }

  async close(): Promise<void> {
    this.asked.push('close')
  }
}
