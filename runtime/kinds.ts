/** The kinds a node can run: the built-in ones, and those of task files. */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { UsageError } from '../actors/errors.ts'
import { execInput } from '../actors/exec-input.ts'
import { checkKindName, type Kind, type TaskDefinition } from '../actors/kind.ts'
import type { Log } from '../actors/ports.ts'
import { isPlainExecInput } from '../actors/quick-exec-input.ts'
import type { Config } from '../config/schema.ts'
import { containerKind } from './container-kind.ts'
import { builtInHandlers } from './execute/built-in.ts'
import { commandCrew } from './execute/crew/crew.ts'
import { execOnHosts, sshExecutor } from './execute/ssh.ts'
import { handlerKind } from './handler-kind.ts'
import { httpKind } from './http-kind.ts'

/** Work in one command, ms, while nobody has measured it. */
const assumedPaceMs = 20

/** A command gets SIGKILL so long after SIGTERM at most, when its task has a limit of its own. */
const killGraceMsMax = 5000
/** What the executor allows a command beyond SIGKILL: to die, and the rest of its output. */
const commandEndMs = 10_000 + 200

/**
 * @param dataDir where what is too much for the memory goes; the system's own place without one
 * @throws UsageError when two definitions have one name
 */
export function kindsOf(
  definitions: readonly TaskDefinition[],
  worker: Config['worker'],
  log: Log,
  hosts: Config['hosts'] = {},
  dataDir?: string,
): Map<string, Kind> {
  const cores = worker.commandConcurrency > 0 ? worker.commandConcurrency : availableParallelism()
  const kinds = new Map<string, Kind>()
  const command = commandCrew({
    threads: Math.min(worker.commandThreads, availableParallelism()),
    outputBytesMax: worker.outputBytesMax,
    softKillMs: worker.commandSoftKillMs,
    hardKillMs: worker.commandHardKillMs,
    cgroups: worker.commandCgroups,
    ...(dataDir === undefined ? {} : { spillDir: join(dataDir, 'spill') }),
    log,
  })
  const ssh = sshExecutor({
    command,
    addresses: addressesOf(hosts),
    perHost: worker.sshPerHost,
    connectMs: worker.sshConnectMs,
    ...(worker.sshConfig === undefined ? {} : { configFile: worker.sshConfig }),
    log,
  })
  kinds.set('exec', {
    kind: 'exec',
    input: execInput,
    isPlain: isPlainExecInput,
    profile: 'mixed',
    executor: execOnHosts(command, ssh),
    retries: 'command',
    attempts: worker.attempts,
    concurrency: cores,
    remoteConcurrency: worker.sshConcurrency,
    paceMs: assumedPaceMs,
    limitMs: ({ timeoutMs }) =>
      commandEndMs +
      (timeoutMs === undefined
        ? worker.commandHardKillMs
        : timeoutMs + Math.min(timeoutMs, killGraceMsMax)),
  })
  kinds.set('http', httpKind(worker))
  kinds.set('container', containerKind(worker, log, dataDir))
  for (const definition of [...builtInHandlers, ...definitions]) {
    const { kind } = definition
    checkKindName(kind)
    if (kinds.has(kind)) {
      throw new UsageError(`task kind "${kind}" is defined twice; give one of them another name`)
    }
    kinds.set(kind, handlerKind(definition, worker, cores, log))
  }
  return kinds
}

/** Of the hosts that are not reached by their names. */
function addressesOf(hosts: Config['hosts']): Map<string, string> {
  return new Map(
    Object.entries(hosts).flatMap(([name, { address }]) =>
      address === undefined ? [] : [[name, address] as const],
    ),
  )
}
