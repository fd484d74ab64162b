/** The whole way of a run, on memory twins that fail now and then: nothing lost, nothing twice. */
import { afterEach, expect, test } from 'bun:test'
import { collector } from '../../actors/collector.ts'
import type { Kind } from '../../actors/kind.ts'
import type { Execution } from '../../actors/ports.ts'
import type { ResultLine } from '../../actors/result.ts'
import type { ResultBatch } from '../../actors/results.ts'
import type { AcceptedTask } from '../../actors/task.ts'
import { workersSupervisor } from '../../actors/workers.ts'
import type { Counts, Outcome } from '../../machines/outcome.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import { systemClock } from '../../runtime/clock.ts'
import { type Random, seededRandom } from '../kit/random.ts'
import { beginDispatcher, countTo, sourceOf } from './feed.ts'
import { failed, finished, kindOf, memoryWorld, ok, packLimits, type World } from './world.ts'

const total = 20_000
const keys = 40

let world: World | undefined
afterEach(() => world?.close())

interface Part {
  task(seq: number): Partial<AcceptedTask> & { kind: string }
  outcome: Outcome
  attempt: number
}

/** What tasks are like, by seq: ten parts, over and over. */
const parts: readonly Part[] = [
  { task: () => ({ kind: 'quick' }), outcome: 'ok', attempt: 1 },
  { task: () => ({ kind: 'quick' }), outcome: 'ok', attempt: 1 },
  { task: () => ({ kind: 'quick', priority: 'low' }), outcome: 'ok', attempt: 1 },
  { task: () => ({ kind: 'busy' }), outcome: 'ok', attempt: 1 },
  { task: () => ({ kind: 'flaky' }), outcome: 'ok', attempt: 2 },
  { task: () => ({ kind: 'hopeless' }), outcome: 'failed', attempt: 1 },
  { task: () => ({ kind: 'tardy', task: { attempts: 2 } }), outcome: 'timeout', attempt: 2 },
  {
    task: (seq) => ({ kind: 'busy', task: { key: `k-${seq % keys}` } }),
    outcome: 'ok',
    attempt: 1,
  },
  { task: () => ({ kind: 'busy', task: { delivery: 'at-most-once' } }), outcome: 'ok', attempt: 1 },
  {
    task: () => ({ kind: 'quick', task: { delayMs: 20, deadlineMs: 1 } }),
    outcome: 'expired',
    attempt: 1,
  },
]
const partOf = (seq: number): Part => {
  const part = parts[seq % parts.length]
  if (part === undefined) throw new Error(`expected a part for task ${seq}`)
  return part
}

const tasks = countTo(total).map((seq): AcceptedTask => {
  const { kind, priority = 'normal', task = {} } = partOf(seq).task(seq)
  return { kind, priority, task }
})

function kindsOf(ran: (seq: number, key: string | undefined) => void): Map<string, Kind> {
  const busy = async (seq: number, key: string | undefined): Promise<Execution> => {
    ran(seq, key)
    await systemClock.breathe()
    return ok
  }
  const kinds = [
    kindOf('quick', () => ok),
    kindOf('busy', (task, { seq }) => busy(seq, task.key), { concurrency: 64 }),
    kindOf('flaky', (_, { attempt }) => (attempt === 1 ? failed : ok)),
    kindOf('hopeless', () => ({ ...failed, stage: 'terminal' })),
    kindOf('tardy', () => ({ ...failed, outcome: 'timeout' })),
  ]
  return new Map(kinds.map((kind) => [kind.kind, kind]))
}

/** Does what it did, except that now and then it refuses before, or forgets that it did it. */
function fickle<Args extends unknown[], Value>(
  random: Random,
  act: (...args: Args) => Promise<Value>,
): (...args: Args) => Promise<Value> {
  return async (...args) => {
    if (random.chance(0.03)) throw new Error('Redis is away')
    const value = await act(...args)
    if (random.chance(0.03)) throw new Error('the reply was lost')
    return value
  }
}

function beginAll(steady: World, random: Random) {
  const firstRuns = new Map<string, number[]>()
  const kinds = kindsOf((seq, key) => {
    if (key === undefined) return
    const seqs = firstRuns.get(key) ?? []
    firstRuns.set(key, seqs)
    if (!seqs.includes(seq)) seqs.push(seq)
  })
  const mailboxes = { ...steady.mailboxes, send: fickle(random, steady.mailboxes.send) }
  const accounting = {
    ...steady.accounting,
    settle: fickle(random, steady.accounting.settle),
    stored: fickle(random, steady.accounting.stored),
  }
  const put = fickle(random, (rows: readonly ResultBatch[]) => steady.results.put(rows))
  const results = { ...steady.results, put }
  const backoff = { baseMs: 1, capMs: 5, jitter: 0.2 }
  const timeouts = { startTimeoutMs: 5000, stopTimeoutMs: 5000, stableMs: 1000 }
  const workers = steady.begin(
    workersSupervisor({
      ...steady,
      mailboxes,
      self: 'n-1',
      kinds,
      node: 'n-1',
      retry: backoff,
      random: () => random.next(),
      poisonKills: 2,
      hangGraceMs: 30_000,
      drain: new AbortController().signal,
      graceMs: () => 1000,
      policy: { ...defaultPolicy, intensity: 3, windowMs: 10_000, backoff, ...timeouts },
    }),
  )
  const collectors = steady.begin(
    collector({
      ...steady,
      accounting,
      results,
      node: 'n-1',
      batchMax: 20,
      graceMs: () => 1000,
      hangMs: 30_000,
    }),
  )
  const limits = { inFlightMax: 3000, depthMax: 1500, spoolMax: 6000, whenFull: 'wait' as const }
  const dispatcher = beginDispatcher(steady, {
    ...limits,
    pack: { ...packLimits, tasksMax: 200, tasksOf: () => 200 },
  })
  return { firstRuns, lives: [workers, collectors, dispatcher], dispatcher }
}

test('20,000 tasks of all sorts each end once, as they must, whatever fails', async () => {
  const steady = memoryWorld()
  world = steady
  const { firstRuns, lives, dispatcher } = beginAll(steady, seededRandom())
  await Promise.all(lives.map((life) => life.ready()))
  const { run } = await dispatcher.submit({ source: sourceOf(tasks, 2000) })
  const over = await finished(steady, run.id)

  const expected: Partial<Counts> = {}
  for (const seq of countTo(total)) {
    const { outcome } = partOf(seq)
    expected[outcome] = (expected[outcome] ?? 0) + 1
  }
  expect(over.counts).toEqual({ ...over.counts, ...expected, pending: 0 })
  const sum = Object.values(over.counts).reduce((all, count) => all + count, 0)
  expect([over.total, sum]).toEqual([total, total])

  const rows = await steady.results.query(run.id, { limit: total + 1 })
  expect(rows.map(({ seq }) => seq)).toEqual(countTo(total))
  const lines = rows.map(({ line }) => JSON.parse(line) as ResultLine)
  const wrong = lines.filter(({ seq, outcome, attempt }) => {
    const part = partOf(seq)
    return outcome !== part.outcome || attempt !== part.attempt
  })
  expect(wrong).toEqual([])

  const audited = new Set(steady.audit.lines.map((line) => (JSON.parse(line) as ResultLine).seq))
  expect(audited.size).toBe(total)

  expect(firstRuns.size).toBe(keys / 10)
  for (const seqs of firstRuns.values()) expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))

  for (const mailbox of await steady.mailboxes.names()) {
    expect(await steady.admission.used(mailbox)).toBe(0)
  }
  expect(lives.flatMap((life) => life.errors)).toEqual([])
})
