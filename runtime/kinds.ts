/** The kinds a node can run: the built-in ones, and those of task files. */
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describeError, NotFoundError, UsageError } from '../actors/errors.ts'
import { execInput } from '../actors/exec-input.ts'
import { checkKindName, isTaskDefinition, type Kind, type TaskDefinition } from '../actors/kind.ts'
import type { Log } from '../actors/ports.ts'
import type { Config } from '../config/schema.ts'
import { builtInHandlers } from './execute/built-in.ts'
import { commandExecutor } from './execute/command.ts'
import { handlerExecutor } from './execute/handler.ts'

/** Work in one task, ms, while nobody has measured it. */
const assumedPaceMs = { handler: 1, noop: 0.001, sleep: 100, command: 50 }

/**
 * @throws UsageError when two definitions have one name
 */
export function kindsOf(
  definitions: readonly TaskDefinition[],
  worker: Config['worker'],
  log: Log,
): Map<string, Kind> {
  const cores = worker.commandConcurrency > 0 ? worker.commandConcurrency : availableParallelism()
  const kinds = new Map<string, Kind>()
  const command = commandExecutor({
    outputBytesMax: worker.outputBytesMax,
    softKillMs: worker.commandSoftKillMs,
    hardKillMs: worker.commandHardKillMs,
    log,
  })
  kinds.set('exec', {
    kind: 'exec',
    input: execInput,
    profile: 'mixed',
    executor: command,
    retries: 'command',
    attempts: worker.attempts,
    concurrency: cores,
    paceMs: assumedPaceMs.command,
  })
  for (const definition of [...builtInHandlers, ...definitions]) {
    const { kind } = definition
    checkKindName(kind)
    if (kinds.has(kind)) {
      throw new UsageError(`task kind "${kind}" is defined twice; give one of them another name`)
    }
    const limits = {
      timeoutMs: worker.handlerTimeoutMs,
      outputBytesMax: worker.outputBytesMax,
      log,
    }
    kinds.set(kind, {
      kind,
      input: definition.input,
      profile: definition.profile,
      executor: handlerExecutor(definition, limits),
      retries: 'handler',
      attempts: definition.attempts ?? worker.attempts,
      concurrency: definition.profile === 'cpu' ? cores : worker.concurrency,
      paceMs: kind === 'noop' || kind === 'sleep' ? assumedPaceMs[kind] : assumedPaceMs.handler,
    })
  }
  return kinds
}

/**
 * The definitions of a TypeScript module: a default export, an array of them, or named exports.
 * @throws NotFoundError when there is no such file, UsageError when it defines no task
 */
export async function readTasksFile(file: string): Promise<TaskDefinition[]> {
  const path = resolve(file)
  if (!(await Bun.file(path).exists())) {
    throw new NotFoundError(`there is no task file ${file}`)
  }
  await provideLibrary()
  let module: Record<string, unknown>
  try {
    module = (await import(pathToFileURL(path).href)) as Record<string, unknown>
  } catch (error) {
    throw new UsageError(`the task file ${file} cannot be loaded: ${loadProblem(error)}`)
  }
  const definitions = Object.values(module).flat().filter(isTaskDefinition)
  if (definitions.length === 0) {
    throw new UsageError(
      `the task file ${file} defines no task: export defineTask({ kind, input, run }) from it`,
    )
  }
  return [...new Set(definitions)]
}

/** Of several errors the first, with its place where Bun tells it. */
function loadProblem(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? (error.errors[0] ?? error) : error
  if (!(first instanceof BuildMessage) || first.position === null) {
    return describeError(first).message
  }
  const { file, line, column } = first.position
  return `${file}:${line}:${column}: ${first.message}`
}

let provided: Promise<void> | undefined

/** A task file outside any package may import 'muster' and 'zod' all the same. */
function provideLibrary(): Promise<void> {
  provided ??= (async () => {
    const [muster, zod] = await Promise.all([import('./index.ts'), import('zod')])
    Bun.plugin({
      name: 'muster',
      setup(build) {
        build.module('muster', () => ({ exports: { ...muster }, loader: 'object' }))
        build.module('zod', () => ({ exports: { ...zod, default: zod.z }, loader: 'object' }))
      },
    })
  })()
  return provided
}
