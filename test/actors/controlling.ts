/** Runs that are paused, resumed, cancelled and halted, on a clock that the test moves. */
import { expect } from 'bun:test'
import { collector } from '../../actors/collector.ts'
import type { Dispatcher, DispatcherOptions } from '../../actors/dispatcher.ts'
import type { Kind } from '../../actors/kind.ts'
import { workMailbox } from '../../actors/place.ts'
import type { Execution } from '../../actors/ports.ts'
import type { Accounting, Run, RunProgress } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { currentChild } from '../../actors/supervisor.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { beginDispatcher } from './feed.ts'
import { beginWorker } from './working.ts'
import { type Begun, kindOf, memoryWorld, ok, packLimits, type World } from './world.ts'

export interface Start {
  seq: number
  attempt: number
  key?: string
}

export interface Floor {
  world: World
  clock: TestClock
  dispatcher: Dispatcher & Begun
  /** Every attempt that was begun, in order. */
  starts: Start[]
  /** Seqs of those that run now, and most that ever ran at a time. */
  running: Set<number>
  runningMost: number
  /** The dispatcher hears nothing. */
  isDeaf: boolean
  /** It is told that it may have missed something. */
  hearsAgain: () => void
  /** Told of every attempt that begins. */
  onStart: (start: Start) => void
  mailboxes: readonly string[]
  progress(run: string): Promise<RunProgress>
  /** Lets time pass until the run is over; no more than a minute of it. */
  over(run: string): Promise<Run>
  lines(run: string): Promise<ResultLine[]>
  /** Tasks in flight, as the dispatcher counts them. */
  inFlight(): number
}

export interface FloorOptions {
  /** What an attempt comes to, and after how long, ms; for ever unless it is aborted. */
  work?: (start: Start) => { ms: number; execution?: Execution }
  kind?: Partial<Kind>
  /** Between two attempts, ms; hardly anything if not given. */
  backoffMs?: number
  dispatcher?: Partial<DispatcherOptions>
}

const partitions = 2
const mailboxes = [
  workMailbox('job', undefined, partitions),
  ...Array.from({ length: partitions }, (_, index) => `work.job~0${index}`),
]

/** A dispatcher, a collector and workers of the kind `job`, on one memory world. */
export async function openFloor(options: FloorOptions = {}): Promise<Floor> {
  const work: NonNullable<FloorOptions['work']> = options.work ?? (() => ({ ms: 0 }))
  const clock = testClock()
  const world = memoryWorld(clock)
  const floor = {
    starts: [] as Start[],
    running: new Set<number>(),
    runningMost: 0,
    isDeaf: false,
    hearsAgain: () => undefined as void,
  }
  const watch: Accounting['watch'] = (listener) => {
    floor.hearsAgain = () => listener(undefined)
    return world.accounting.watch((notice) => {
      if (!floor.isDeaf) listener(notice)
    })
  }
  // What a test changes about the accounts of the world, it changes about these.
  const accounting = Object.assign(Object.create(world.accounting) as Accounting, { watch })
  const kind = kindOf(
    'job',
    async (task, { seq, attempt, signal }) => {
      const start = { seq, attempt, ...(task.key === undefined ? {} : { key: task.key }) }
      floor.starts.push(start)
      floor.running.add(seq)
      floor.runningMost = Math.max(floor.runningMost, floor.running.size)
      made.onStart(start)
      const { ms, execution = ok } = work(start)
      await clock.wait(ms, signal)
      floor.running.delete(seq)
      if (!signal.aborted) return execution
      const error = { code: 'ABORTED', message: 'stopped before it ended' }
      return { outcome: 'failed', error, stage: 'run' }
    },
    options.kind,
  )
  const pack = { ...packLimits, keyPartitions: partitions, tasksOf: () => 5 }
  const dispatcher = beginDispatcher(
    world,
    { pack, accounting, ...options.dispatcher },
    clock.timers,
  )
  beginCollector(world, clock)
  for (const mailbox of mailboxes) {
    const isOrdered = mailbox.includes('~')
    const { backoffMs = 1 } = options
    const retry = { baseMs: backoffMs, capMs: backoffMs, jitter: 0 }
    beginWorker(world, kind, { mailbox, worker: mailbox, ordered: isOrdered, retry })
  }
  const made: Floor = Object.assign(floor, {
    world,
    clock,
    dispatcher,
    onStart: () => undefined,
    mailboxes,
    async progress(run: string) {
      const progress = await world.accounting.get(run)
      if (progress === undefined) throw new Error(`there is no run ${run}`)
      return progress
    },
    async over(run: string) {
      for (let ms = 0; ms < 60_000; ms += 20) {
        await clock.pass(20)
        const { run: now } = await made.progress(run)
        if (now.finishedAt !== undefined) {
          // Its rows are stored, and everybody hears of it.
          await clock.settle()
          return now
        }
      }
      throw new Error(`run ${run} is not over: ${JSON.stringify(await made.progress(run))}`)
    },
    async lines(run: string) {
      const rows = await world.results.query(run, { limit: 100_000 })
      return rows.map(({ line }) => JSON.parse(line) as ResultLine)
    },
    inFlight: () => currentChild(made.dispatcher.actor, 'turns').getSnapshot().context.inFlight,
  })
  await dispatcher.ready()
  await clock.settle()
  return made
}

function beginCollector(world: World, { timers }: TestClock): void {
  const rest = { node: 'n-1', batchMax: 50, graceMs: () => 1000, hangMs: 30_000 }
  world.begin(collector({ ...world, ...rest }), timers)
}

/** Nothing of any run holds anything any more. */
export async function nothingIsLeft(floor: Floor): Promise<void> {
  expect(floor.inFlight()).toBe(0)
  expect(floor.running.size).toBe(0)
  for (const mailbox of floor.mailboxes) {
    expect([mailbox, await floor.world.admission.used(mailbox)]).toEqual([mailbox, 0])
    const depth = await floor.world.mailboxes.depth(mailbox)
    expect([mailbox, depth]).toEqual([mailbox, { waiting: 0, active: 0, delayed: 0 }])
  }
}
