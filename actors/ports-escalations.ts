/** What escalations need of the world: windows that all nodes count in, and what has opened. */
import type { Escalation } from '../machines/escalation.ts'

export interface MetricCount {
  metric: string
  /** A whole number, at least 1. */
  count: number
  /** How long ago that was. */
  ageMs: number
}

/** What somebody has counted since his batch before. */
export interface CountBatch {
  /** Names who counts: nobody else ever has the same. */
  source: string
  /** 1 for his first batch, then one more each. */
  number: number
  counts: readonly MetricCount[]
}

export interface WindowsReading {
  /** Epoch ms, by the one clock that all windows move by. */
  at: number
  /**
   * By metric: what each bucket of its window holds, the current one last. One that is missing
   * holds nothing.
   */
  windows: ReadonlyMap<string, readonly number[]>
  /** The last one of each metric that ever had one. */
  escalations: ReadonlyMap<string, Escalation>
}

/**
 * Sliding windows over all nodes. Nothing waits here: what cannot be had now is refused.
 * @throws UnavailableError where Redis does not answer in time; it may have done it all the same
 */
export interface Escalations {
  /**
   * Adds what was counted, in one step and once, however often the same batch is sent: each count
   * to the bucket that its age leads to.
   */
  count(batch: CountBatch): Promise<WindowsReading>
  look(): Promise<WindowsReading>
  /**
   * Puts an escalation in the place of the one that was read before, or where none was.
   * @returns false, and nothing is put, when somebody else has changed it since
   */
  put(escalation: Escalation, before: Escalation | undefined): Promise<boolean>
  close(): Promise<void>
}
