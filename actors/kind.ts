/**
 * A kind of task: what its input must look like, what the work is like, and how it is run.
 * `defineTask` is how users add one; the built-in ones are in runtime/execute/.
 */
import type { z } from 'zod'
import { UsageError } from './errors.ts'
import type { Executor, Log } from './ports.ts'
import type { Fence } from './ports-fleet.ts'
import type { Publish } from './publisher.ts'
import type { Task } from './task.ts'

/** What a handler is told beside its input. */
export interface TaskContext {
  run: string
  seq: number
  /** 1 is the first try. */
  attempt: number
  /** Aborted when the time is up, the run is cancelled or the worker loses the task. */
  signal: AbortSignal
  /** Of the singleton that submitted the task: what is written through it is refused when stale. */
  fence?: Fence
  /** To topics. What is published before the handler ends is durable before the task is. */
  publish: Publish
  log: Log
}

/** How the work spends its time: waiting (`io`), computing (`cpu`), or both. */
export type Profile = 'io' | 'cpu' | 'mixed'

/** Where a handler runs: in the process of its worker, in a thread, or in a process of its own. */
export type HandlerExecutor = 'inline' | 'thread' | 'process'

export interface TaskDefinition<Input = unknown> {
  /** Name of the kind: letters, digits, '.', '_' and '-'. */
  kind: string
  /** Checked when a task is submitted, and again where it runs. */
  input: z.ZodType<Input>
  profile: Profile
  /** Time limit of one attempt, ms; the task's own `timeoutMs` goes before it. */
  timeoutMs?: number
  /** Tries in all; the task's own `attempts` goes before it. */
  attempts?: number
  /** Default: by the profile (io: inline, cpu: thread, mixed: process). */
  executor?: HandlerExecutor
  /** Throw a TerminalError to end the task as `failed` at once; any other throw is retried. */
  run(input: Input, context: TaskContext): unknown
  /** Once in each process or thread, before the first task; while it throws, tasks fail. */
  setup?(): unknown
  /** Once after the last task, where that is in order: not of one that is killed. */
  teardown?(): unknown
}

const executors: readonly unknown[] = ['inline', 'thread', 'process'] satisfies HandlerExecutor[]

const kindName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/**
 * Declare a kind of task.
 * @throws UsageError when the name or the numbers cannot be used
 */
export function defineTask<Schema extends z.ZodType>(definition: {
  kind: string
  input: Schema
  profile?: Profile
  timeoutMs?: number
  attempts?: number
  executor?: HandlerExecutor
  run(input: z.output<Schema>, context: TaskContext): unknown
  setup?(): unknown
  teardown?(): unknown
}): TaskDefinition {
  checkKindName(definition.kind)
  for (const field of ['timeoutMs', 'attempts'] as const) {
    const value = definition[field]
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new UsageError(
        `kind "${definition.kind}": ${field}: expected a whole number from 1 up, got ${value}`,
      )
    }
  }
  if (definition.executor !== undefined && !executors.includes(definition.executor)) {
    throw new UsageError(
      `kind "${definition.kind}": executor: expected one of ${executors.join(', ')}, got ` +
        JSON.stringify(definition.executor),
    )
  }
  return { ...definition, profile: definition.profile ?? 'io' }
}

export function checkKindName(kind: unknown): asserts kind is string {
  if (typeof kind !== 'string' || !kindName.test(kind)) {
    throw new UsageError(
      `kind: expected 1 to 64 letters, digits, '.', '_' or '-', got ${JSON.stringify(kind)}`,
    )
  }
}

export function isTaskDefinition(value: unknown): value is TaskDefinition {
  if (typeof value !== 'object' || value === null) return false
  return (
    'kind' in value &&
    typeof value.kind === 'string' &&
    'run' in value &&
    typeof value.run === 'function' &&
    'input' in value &&
    typeof value.input === 'object' &&
    value.input !== null &&
    'safeParse' in value.input
  )
}

/** A kind as a node knows it: the definition, and who runs it. */
export interface Kind {
  kind: string
  input: z.ZodType
  /** Says at a glance of most input that it is right; of what it does not, ask the schema. */
  isPlain?(input: unknown): boolean
  profile: Profile
  executor: Executor
  /**
   * `handler`: every failure is tried again. `command`: what ran and said no is final, unless the
   * task says otherwise; what never got to run is tried again.
   */
  retries: 'handler' | 'command'
  attempts: number
  /** Tasks of this kind run at the same time by one worker. */
  concurrency: number
  /** The same of tasks for hosts that run no node, where there can be such. */
  remoteConcurrency?: number
  /** Work in one task, ms, assumed until it has been measured. */
  paceMs: number
  /** Longest an attempt may take by the executor's own limits; only `timeoutMs` changes it. */
  limitMs(task: Pick<Task, 'timeoutMs'>): number
}

export type Kinds = ReadonlyMap<string, Kind>
