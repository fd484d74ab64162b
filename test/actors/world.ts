/** A world for actors under test: the memory twins, a log that can be read, and their lives. */
import { type AnyActorRef, createActor } from 'xstate'
import { z } from 'zod'
import { DeadLetters, type Tell } from '../../actors/dead-letters.ts'
import type { Envelope, PackItem, PackLimits, ResultsEnvelope } from '../../actors/envelope.ts'
import { pack, resultsMailbox, workMessage } from '../../actors/envelope.ts'
import { Holds } from '../../actors/holds.ts'
import type { Kind } from '../../actors/kind.ts'
import type { Limiter } from '../../actors/limits.ts'
import { Paces } from '../../actors/paces.ts'
import type {
  Admission,
  AuditLog,
  Clock,
  Execution,
  Executor,
  Log,
  LogLevel,
  Mailboxes,
  Receiver,
  Results,
} from '../../actors/ports.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import type { Letters } from '../../actors/ports-letters.ts'
import type { Headroom, Limits } from '../../actors/ports-limits.ts'
import type { Accounting } from '../../actors/ports-runs.ts'
import type { Topics } from '../../actors/ports-topics.ts'
import { Quarantine } from '../../actors/quarantine.ts'
import { linesOf } from '../../actors/results.ts'
import { type ChildSpec, isReady } from '../../actors/supervisor.ts'
import type { AcceptedTask, Task } from '../../actors/task.ts'
import { systemClock } from '../../runtime/clock.ts'
import { memoryAccounting } from '../../runtime/memory/accounting.ts'
import { memoryHeadroom } from '../../runtime/memory/headroom.ts'
import { emptyLeaseStore, memoryLeases } from '../../runtime/memory/leases.ts'
import { memoryLetters } from '../../runtime/memory/letters.ts'
import { memoryLimits } from '../../runtime/memory/limits.ts'
import { memoryMailboxes } from '../../runtime/memory/mailboxes.ts'
import { memoryResults } from '../../runtime/memory/results.ts'
import { memoryTopics } from '../../runtime/memory/topics.ts'
import { eventually } from '../kit/eventually.ts'

export interface LogLine {
  level: LogLevel
  fields: Record<string, unknown>
  message: string
}

/** An actor that runs on its own, as its supervisor would have it. */
export interface Begun {
  actor: AnyActorRef
  errors: unknown[]
  /** Resolves when it can be used. */
  ready(): Promise<void>
  /** Asks it to stop and resolves when it has. */
  stop(): Promise<void>
}

export interface World {
  limiter: Limiter
  holds: Holds
  leases: Leases
  mailboxes: Mailboxes
  letters: Letters
  topics: Topics
  accounting: Accounting
  admission: Admission
  headroom: Headroom
  limits: Limits
  results: Results
  audit: AuditLog & { lines: string[] }
  clock: Clock
  paces: Paces
  quarantine: Quarantine
  tell: Tell
  log: Log
  logged: LogLine[]
  begin(spec: ChildSpec, timers?: Timers): Begun
  /** What happens to messages at hand when the process that has them is killed. */
  kill(): Promise<void>
  /** The same, when the process lives: its locks ended, for it was slow. */
  loseLocks(): Promise<void>
  /** What is sent to the collectors, from now on. */
  settled(): Promise<ResultsEnvelope[]>
  close(): Promise<void>
}

type Timers = NonNullable<Parameters<typeof createActor>[1]>['clock']

export function memoryWorld(clock: Clock = systemClock): World {
  const store = emptyLeaseStore()
  const now = () => clock.now()
  const newestEpoch = (lease: string) => store.epochs.get(lease) ?? 0
  const { accounting, admission } = memoryAccounting(now, newestEpoch)
  const twin = memoryMailboxes({ giveBackAfterMs: 1 })
  /** By the name under which each holds messages. */
  const receivers = new Map<string, Receiver>()
  const mailboxes: Mailboxes = {
    ...twin,
    async receive(...args) {
      const before = twin.holders()
      const receiver = await twin.receive(...args)
      for (const name of twin.holders()) if (!before.includes(name)) receivers.set(name, receiver)
      return receiver
    },
  }
  const logged: LogLine[] = []
  const write = (level: LogLevel) => (fields: Record<string, unknown>, message: string) => {
    logged.push({ level, fields, message })
  }
  const log: Log = {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  }
  const begun: Begun[] = []
  const lines: string[] = []

  return {
    leases: memoryLeases({ now, log, store }),
    holds: new Holds({ accounting, log }),
    limiter: { take: () => undefined },
    mailboxes,
    letters: memoryLetters(),
    topics: memoryTopics({ log }),
    accounting,
    admission,
    headroom: memoryHeadroom(),
    limits: memoryLimits(() => clock.monotonic()),
    results: memoryResults(),
    audit: {
      lines,
      async append(text) {
        lines.push(...text.trimEnd().split('\n'))
      },
      appendResults(batches) {
        return this.append(batches.flatMap((batch) => [...linesOf(batch)]).join(''))
      },
    },
    clock,
    paces: new Paces(admission, clock),
    quarantine: new Quarantine(),
    tell: new DeadLetters({ clock, log }).tell,
    log,
    logged,
    begin(spec, timers) {
      const life = beginActor(spec, timers)
      begun.push(life)
      return life
    },
    async loseLocks() {
      const slow = [...receivers.values()]
      receivers.clear()
      await Promise.all(slow.map((receiver) => receiver.stop(0)))
    },
    async kill() {
      const killed = [...receivers]
      receivers.clear()
      const stopped = killed.map(([, receiver]) => receiver.stop(0))
      await twin.reclaim(
        killed.map(([name]) => name),
        'gone',
      )
      await Promise.all(stopped)
    },
    async settled() {
      const bodies: ResultsEnvelope[] = []
      await twin.receive(resultsMailbox, { concurrency: 100, ordered: false }, async (delivery) => {
        bodies.push(delivery.body as ResultsEnvelope)
      })
      return bodies
    },
    async close() {
      await twin.close()
      await Promise.all(begun.map((life) => life.stop()))
    },
  }
}

function beginActor(spec: ChildSpec, timers: Timers): Begun {
  const errors: unknown[] = []
  const ended = Promise.withResolvers<void>()
  const ready = Promise.withResolvers<void>()
  // Nobody may be waiting for it.
  ready.promise.catch(() => undefined)
  const actor = createActor(spec.logic, {
    input: spec.input,
    ...(timers === undefined ? {} : { clock: timers }),
  }) as AnyActorRef
  actor.subscribe({
    next: (snapshot) => {
      if (isReady(snapshot)) ready.resolve()
    },
    error: (error) => {
      errors.push(error)
      ready.reject(error)
      ended.resolve()
    },
    complete: () => ended.resolve(),
  })
  actor.start()
  if (isReady(actor.getSnapshot())) ready.resolve()
  return {
    actor,
    errors,
    ready: () => ready.promise,
    async stop() {
      if (actor.getSnapshot().status === 'active') actor.send({ type: 'stop' })
      await ended.promise
    },
  }
}

/** A kind whose tasks do what the test says. */
export function kindOf(kind: string, run: Executor['run'], over: Partial<Kind> = {}): Kind {
  return {
    kind,
    input: z.unknown(),
    profile: 'io',
    executor: { run, async start() {}, async stop() {} },
    retries: 'handler',
    attempts: 6,
    concurrency: 8,
    paceMs: 1,
    limitMs: ({ timeoutMs }) => timeoutMs ?? 60_000,
    ...over,
  }
}

export const ok: Execution = { outcome: 'ok' }
export const failed: Execution = {
  outcome: 'failed',
  error: { code: 'BOOM', message: 'boom' },
  stage: 'run',
}

export function taskOf(kind: string, task: Task = {}): AcceptedTask {
  return { kind, priority: 'normal', task }
}

export const packLimits: PackLimits = {
  tasksMax: 100,
  bytesMax: 262_144,
  keyPartitions: 4,
  shards: 4,
  tasksOf: () => 100,
}

/** Tasks as a run numbers them, from `firstSeq`. */
export function itemsOf(tasks: readonly AcceptedTask[], firstSeq = 0): PackItem[] {
  return tasks.map((task, index) => ({ ...task, seq: firstSeq + index, bytes: 100 }))
}

/** Opens a run of these tasks and puts them into their mailboxes; gives back their envelopes. */
export async function dispatch(
  world: World,
  run: string,
  tasks: readonly AcceptedTask[],
  limits: PackLimits = packLimits,
): Promise<Envelope[]> {
  const { accounting, mailboxes, clock } = world
  await accounting.open({ id: run, createdAt: clock.now(), driver: 'test' })
  const envelopes = pack(run, itemsOf(tasks), clock.now(), limits)
  const chunk = { afterLine: 0, lines: tasks.length, accepted: tasks.length }
  await accounting.commit(run, { ...chunk, rejected: [], spool: [] })
  await accounting.close(run)
  await mailboxes.send(envelopes.map((envelope) => workMessage(envelope)))
  return envelopes
}

/** Resolves when the run is over. */
export function finished(world: World, run: string) {
  return eventually(
    async () => {
      const progress = await world.accounting.get(run)
      if (progress?.run.state !== 'completed') {
        throw new Error(`run ${run} is not over: ${JSON.stringify(progress?.run)}`)
      }
      return progress.run
    },
    { timeoutMs: 20_000, intervalMs: 2 },
  )
}
