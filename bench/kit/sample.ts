/** Tasks on their way as they mostly are: an envelope of neighbours, all ok, nothing to say. */
import { type Envelope, type PackItem, pack } from '../../actors/envelope.ts'
import type { ResultBatch } from '../../actors/results.ts'

export const envelopeTasks = 1000

const limits = {
  tasksMax: envelopeTasks,
  bytesMax: 262_144,
  keyPartitions: 16,
  shards: 16,
  tasksOf: () => envelopeTasks,
}

/** As intake hands them on. */
export function itemsOf(first: number, count: number, kind: 'noop' | 'exec'): PackItem[] {
  return Array.from({ length: count }, (_, index) => ({
    kind,
    priority: 'normal' as const,
    task: kind === 'noop' ? {} : { input: { argv: ['uname', '-r'] } },
    seq: first + index,
    bytes: kind === 'noop' ? 15 : 50,
  }))
}

export function packItems(run: string, items: readonly PackItem[]): Envelope[] {
  return pack(run, items, Date.now(), limits)
}

/** What a worker says of an envelope of `noop` tasks. */
export function batchOf(run: string, first: number, count: number): ResultBatch {
  const column = (number: number) => Array.from({ length: count }, () => number)
  return {
    run,
    kind: 'noop',
    attempt: 1,
    node: 'bench',
    worker: 'bench/1/work.noop',
    seqs: [[first, count]],
    outcomes: '1'.repeat(count),
    at: Date.now(),
    startedAt: column(1),
    durationMs: column(0),
    queueMs: column(12),
  }
}
