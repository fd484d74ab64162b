/**
 * What the thread that writes and whoever has it write say to each other. They are in one process,
 * and what is said is copied as it is.
 */
import type { ResultBatch } from '../../actors/results.ts'
import type { FileStoresOptions } from '../stores.ts'

/** What to write. */
export type Work =
  | { put: readonly ResultBatch[] }
  | { append: string }
  | { appendResults: readonly ResultBatch[] }
  /** The batches of an earlier order: what is stored is logged next, and is copied once. */
  | { appendPut: number }
  | { close: true }

/**
 * The last so many orders to put are remembered until their batches are logged. Both sides forget
 * by the order of the orders, so that both know the same.
 */
export function remember<Key, Value>(kept: Map<Key, Value>, key: Key, value: Value): void {
  kept.set(key, value)
  for (const oldest of kept.keys()) {
    if (kept.size <= keptMax) return
    kept.delete(oldest)
  }
}

const keptMax = 4

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
