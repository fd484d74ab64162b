/** Workers under test, and what they tell the collectors. */
import { expect } from 'bun:test'
import { eachSeq, type ResultsEnvelope } from '../../actors/envelope.ts'
import type { Kind } from '../../actors/kind.ts'
import { type More, moreOf } from '../../actors/results.ts'
import { type WorkerOptions, worker } from '../../actors/worker.ts'
import { eventually } from '../kit/eventually.ts'
import { type Begun, taskOf, type World } from './world.ts'

/** Begins a worker of `work.job`. */
export function beginWorker(world: World, kind: Kind, over: Partial<WorkerOptions> = {}): Begun {
  return world.begin(
    worker({
      ...world,
      mailbox: 'work.job',
      kind,
      ordered: false,
      node: 'n-1',
      worker: 'work.job',
      retry: { baseMs: 1, capMs: 4, jitter: 0 },
      random: () => 0.5,
      poisonKills: 2,
      hangGraceMs: 30_000,
      drain: new AbortController().signal,
      graceMs: () => 1000,
      ...over,
    }),
  )
}

export const jobs = (count: number, task = {}) =>
  Array.from({ length: count }, () => taskOf('job', task))

/** The results by seq, once there are so many: outcome code, attempt, and the result itself. */
export function resultsOf(bodies: readonly ResultsEnvelope[], count: number): Promise<Told[]> {
  return eventually(() => {
    const told = bodies.flatMap(toldBy)
    expect(told.length).toBeGreaterThanOrEqual(count)
    return told.toSorted((a, b) => a.seq - b.seq)
  })
}

/** What a results envelope tells of one task. */
interface Told {
  seq: number
  code: number
  attempt: number
  result: More & { startedAt: number; durationMs: number; queueMs: number }
}

function toldBy(batch: ResultsEnvelope): Told[] {
  const { seqs, outcomes, attempt, at, startedAt, durationMs, queueMs } = batch
  const more = moreOf(batch)
  return Array.from(eachSeq(seqs), (seq, index): Told => {
    const said = more?.[index] ?? {}
    const [started, durationOf, queued] = [startedAt[index], durationMs[index], queueMs[index]]
    if (started === undefined || durationOf === undefined || queued === undefined) {
      throw new Error(`expected a result of task ${seq}`)
    }
    const times = { startedAt: at + started, durationMs: durationOf, queueMs: queued }
    const result = { ...said, ...times }
    return { seq, code: Number(outcomes[index]), attempt: said.attempt ?? attempt, result }
  })
}

/** Everything a worker had is settled: nothing is in its mailbox any more. */
export function isEmpty(world: World, mailbox = 'work.job') {
  return eventually(async () => {
    expect(await world.mailboxes.depth(mailbox)).toEqual({ waiting: 0, active: 0, delayed: 0 })
  })
}
