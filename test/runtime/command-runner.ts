/** A command executor as tests use it, and the pids its commands write down. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { ExecuteContext, Execution, Log } from '../../actors/ports.ts'
import type { Task } from '../../actors/task.ts'
import { releaseCgroups, takeCgroups } from '../../runtime/execute/cgroup-search.ts'
import { commandExecutor } from '../../runtime/execute/command.ts'

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }

export type CommandExecution = Execution & { output: ExecOutput }

/** An executor to start before all tests of a file and to stop after them. */
export function commandRunner() {
  const executor = commandExecutor({ log: silent })
  return {
    start: () => executor.start(),
    stop: () => executor.stop(),
    exec: async (
      input: Record<string, unknown>,
      task: Partial<Task> = {},
      signal?: AbortSignal,
    ): Promise<CommandExecution> => {
      const execution = await executor.run({ ...task, input }, contextOf(signal))
      return { ...execution, output: execution.output as ExecOutput }
    },
  }
}

export function contextOf(signal = new AbortController().signal): ExecuteContext {
  return { run: 'r-test', seq: 7, kind: 'exec', attempt: 1, signal }
}

/** The argv of a script, which finds `args` as $1, $2 … */
export const sh = (script: string, ...args: string[]): string[] => [
  'sh',
  '-c',
  script,
  'sh',
  ...args,
]

/** Whether a script has written its pid there, to the end of the line. */
export function isWritten(path: string): boolean {
  return existsSync(path) && readFileSync(path, 'utf8').endsWith('\n')
}

/** @throws Error when no pid is written there: none is alive, but that would be no finding */
export function pidIn(path: string): number {
  const pid = Number(readFileSync(path, 'utf8'))
  if (pid > 0) return pid
  throw new Error(`expected a pid in ${path}, got none; wait until it is written`)
}

/** Where cgroups can be made; nowhere: then no threads run commands, which is said. */
export async function basesForThreads(): Promise<string[]> {
  const { bases } = await takeCgroups()
  await releaseCgroups()
  if (bases.length === 0) {
    console.log('skipped: threads for commands, as no cgroup can be made here')
  }
  return bases
}

/** How many there are, as the system names them. */
export function workerThreads(): number {
  const names = readdirSync('/proc/self/task').map((thread) =>
    readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim(),
  )
  return names.filter((name) => name === 'Worker').length
}
