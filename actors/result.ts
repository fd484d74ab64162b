import type { Outcome } from '../machines/outcome.ts'

/** One line of the result store, the audit log and `results --json`: contract section 7. */
export interface ResultLine {
  run: string
  seq: number
  id?: string
  kind: string
  target?: string
  outcome: Outcome
  attempt: number
  node: string
  worker: string
  /** Epoch milliseconds at which the last attempt started. */
  startedAt: number
  durationMs: number
  /** How long it waited while it could have run; back-off is not counted. */
  queueMs: number
  output?: unknown
  error?: { code: string; message: string }
  trace?: string
}
