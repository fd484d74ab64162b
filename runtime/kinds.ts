/** The kinds a node can run: the built-in ones, and those of task files. */
import { availableParallelism } from 'node:os'
import { UsageError } from '../actors/errors.ts'
import { execInput } from '../actors/exec-input.ts'
import { checkKindName, type Kind, type TaskDefinition } from '../actors/kind.ts'
import { withFields } from '../actors/log-fields.ts'
import type { Log } from '../actors/ports.ts'
import type { Config } from '../config/schema.ts'
import { builtInHandlers } from './execute/built-in.ts'
import { commandExecutor } from './execute/command.ts'
import { handlerExecutor } from './execute/handler.ts'

/** Work in one task, ms, while nobody has measured it. */
const assumedPaceMs = { handler: 1, noop: 0.001, sleep: 100, command: 50 }

/** A command gets SIGKILL so long after SIGTERM at most, when its task has a limit of its own. */
const killGraceMsMax = 5000
/** What the executor allows a command beyond SIGKILL: to die, and the rest of its output. */
const commandEndMs = 10_000 + 200

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
    limitMs: ({ timeoutMs }) =>
      commandEndMs +
      (timeoutMs === undefined
        ? worker.commandHardKillMs
        : timeoutMs + Math.min(timeoutMs, killGraceMsMax)),
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
      log: withFields(log, { logger: kind, stream: 'task' }),
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
      limitMs: ({ timeoutMs }) => timeoutMs ?? definition.timeoutMs ?? worker.handlerTimeoutMs,
    })
  }
  return kinds
}
