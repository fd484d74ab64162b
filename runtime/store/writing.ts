/**
 * What the thread that writes and whoever has it write say to each other. They are in one process,
 * and what is said is copied as it is.
 */
import type { ResultBatch } from '../../actors/results.ts'
import type { FileStoresOptions } from '../stores.ts'

/** A batch on its way: what only some have to say as one text, for objects are copied slowly. */
export interface SentBatch extends Omit<ResultBatch, 'more'> {
  /** JSON of `more`. */
  moreText?: string
}

/** What to write. */
export type Work =
  | { put: readonly SentBatch[] }
  | { append: string }
  | { appendResults: readonly SentBatch[] }
  | { close: true }

export type Order = Work & { id: number }

/** The first thing it is told: where. */
export interface Opening {
  open: Omit<FileStoresOptions, 'log'>
}

export type Word =
  | { done: number }
  | { failed: number; code: string; message: string }
  | { opened: true }
  | { warned: Record<string, unknown>; message: string }
