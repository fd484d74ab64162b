/** Results for tests of the audit log. */
import type { More, ResultBatch } from '../../actors/results.ts'

/** Of so many neighbours, which all say the same. */
export const resultsOf = (first: number, tasks: number, more?: More): ResultBatch => ({
  run: 'r-1',
  kind: 'job',
  attempt: 1,
  node: 'n-1',
  worker: 'w-1',
  seqs: [[first, tasks]],
  outcomes: '1'.repeat(tasks),
  at: 1000,
  startedAt: Array<number>(tasks).fill(0),
  durationMs: Array<number>(tasks).fill(1),
  queueMs: Array<number>(tasks).fill(2),
  ...(more === undefined ? {} : { more: Array.from({ length: tasks }, () => more) }),
})
