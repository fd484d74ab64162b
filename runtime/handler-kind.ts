/** A kind that is a handler: who runs it, and within which limits. */
import type { HandlerExecutor, Kind, Profile, TaskDefinition } from '../actors/kind.ts'
import { withFields } from '../actors/log-fields.ts'
import type { Executor, Log } from '../actors/ports.ts'
import { veiled } from '../actors/secret.ts'
import type { Config } from '../config/schema.ts'
import { handlerExecutor } from './execute/handler.ts'
import { endMs, isolatedExecutor, startMs } from './execute/isolate/isolated.ts'
import { processGuests } from './execute/isolate/processes.ts'
import { threadGuests } from './execute/isolate/threads.ts'
import { fileOfTask } from './tasks-file.ts'

/** Work in one task, ms, while nobody has measured it. */
const assumedPaceMs: Record<string, number | undefined> = { noop: 0.001, sleep: 100 }
const assumedPaceOfOthersMs = 1

const executorOfProfile = {
  io: 'inline',
  cpu: 'thread',
  mixed: 'process',
} as const satisfies Record<Profile, HandlerExecutor>

export function handlerKind(
  definition: TaskDefinition,
  worker: Config['worker'],
  cores: number,
  log: Log,
): Kind {
  const { kind, input, profile } = definition
  const where = placeOf(definition, log)
  const ownMs = where === 'inline' ? 0 : startMs + endMs
  return {
    kind,
    input,
    profile,
    executor: veiled(input, log, (own) => executorOf(where, definition, worker, own)),
    retries: 'handler',
    attempts: definition.attempts ?? worker.attempts,
    concurrency: where === 'inline' && profile !== 'cpu' ? worker.concurrency : cores,
    paceMs: assumedPaceMs[kind] ?? assumedPaceOfOthersMs,
    limitMs: ({ timeoutMs }) =>
      ownMs + (timeoutMs ?? definition.timeoutMs ?? worker.handlerTimeoutMs),
  }
}

/** A function cannot be handed over: only what can be loaded from a file runs elsewhere. */
function placeOf(definition: TaskDefinition, log: Log): HandlerExecutor {
  const { kind, profile, executor = executorOfProfile[profile] } = definition
  if (executor === 'inline' || fileOfTask(definition) !== undefined) return executor
  log.warn(
    { kind, executor },
    'this kind runs inline, in the process of the worker: only kinds from a tasks file can be ' +
      'loaded into a thread or process; put it into one, or define it with executor: "inline"',
  )
  return 'inline'
}

function executorOf(
  where: HandlerExecutor,
  definition: TaskDefinition,
  worker: Config['worker'],
  log: Log,
): Executor {
  const { kind } = definition
  const { outputBytesMax, handlerTimeoutMs, handlerMemoryMax: memoryBytesMax } = worker
  const ownLog = withFields(log, { logger: kind, stream: 'task' })
  const file = fileOfTask(definition)
  if (where === 'inline' || file === undefined) {
    return handlerExecutor(definition, { timeoutMs: handlerTimeoutMs, outputBytesMax, log: ownLog })
  }
  const guests = where === 'thread' ? threadGuests() : processGuests({ kind, memoryBytesMax, log })
  const timeoutMs = definition.timeoutMs ?? handlerTimeoutMs
  return isolatedExecutor(guests, { file, kind, timeoutMs, outputBytesMax, log: ownLog })
}
