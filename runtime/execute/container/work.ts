/** Runs tasks in sandboxes of a pool. Loaded with the first task of kind `container`. */
import type { ContainerInput } from '../../../actors/container-input.ts'
import { describeError } from '../../../actors/errors.ts'
import { type PoolOptions, SandboxPool } from '../../../actors/pool.ts'
import type { ExecuteContext, Execution, Log } from '../../../actors/ports.ts'
import type { SandboxWork } from '../../../actors/ports-sandbox.ts'
import { runSubprocess } from '../../../actors/subprocess.ts'
import type { Task } from '../../../actors/task.ts'
import type { SubprocessTimes } from '../../../machines/subprocess.ts'
import { fileSpilling } from '../spill.ts'
import { traceparentOf } from '../trace.ts'
import { NodeSandboxes } from './providers.ts'
import { failedToStart, toldOf } from './result.ts'
import type { ContainerSettings } from './settings.ts'

const drainMs = 200
const reapMs = 10_000
const killGraceMsMax = 5000
const clock = { monotonic: () => performance.now() }

export interface ContainerWork {
  /** To be started by a supervisor before anything is run. */
  readonly pool: SandboxPool
  run(
    task: Task,
    input: ContainerInput,
    context: ExecuteContext,
    stopping: AbortSignal,
  ): Promise<Execution>
  /** Takes everything away; nothing runs any more. */
  close(): Promise<void>
}

export function containerWork(
  settings: ContainerSettings,
  surroundings: Pick<PoolOptions, 'clock' | 'tell' | 'containers'> & { log: Log },
): ContainerWork {
  const { log } = surroundings
  const sandboxes = new NodeSandboxes(settings, log)
  const isReused = settings.mode !== 'ephemeral'
  const rate = { rate: settings.ephemeralRate, burst: Math.max(1, settings.ephemeralRate) }
  const pool = new SandboxPool({
    ...surroundings,
    sandboxes,
    slotsMax: settings.slots,
    isReused,
    ...(!isReused && { rate }),
    checkoutTimeoutMs: settings.checkoutMs,
  })
  const spilling = fileSpilling(settings.spillDir)

  const timesOf = ({ timeoutMs }: Task): SubprocessTimes => ({
    softKillMs: timeoutMs ?? settings.softKillMs,
    hardKillMs:
      timeoutMs === undefined
        ? settings.hardKillMs
        : timeoutMs + Math.min(timeoutMs, killGraceMsMax),
    drainMs,
    reapMs,
  })

  return {
    pool,
    async run(task, input, context, stopping) {
      if (settings.mode === 'host' && input.network === 'none') {
        const message =
          'input.network is "none", and worker.containerMode "host" has that of the machine; ' +
          'leave it out, or use containers'
        return failedToStart('SANDBOX_UNAVAILABLE', message)
      }
      const trace = traceparentOf(context)
      const work = workOf(input, context, trace)
      const signals = [context.signal, stopping]
      const times = timesOf(task)
      let isBroken = false
      try {
        const lease = await pool.checkout(work, AbortSignal.any(signals))
        try {
          const program = lease.sandbox.prepare(work)
          let isOutOfMemory: boolean | undefined
          const result = await runSubprocess(program.processes, program.command, {
            times,
            outputBytesMax: input.limits?.outputBytes ?? settings.outputBytesMax,
            spilling,
            signals,
            clock,
          }).finally(() => {
            isOutOfMemory = program.close().isOutOfMemory
          })
          const { limitsMode } = program
          const { startFailure } = lease.sandbox
          const told = toldOf({ input, times, limitsMode, isOutOfMemory, result, startFailure })
          isBroken = told.isBroken
          result.stdout.close()
          result.stderr.close()
          return { ...told.execution, trace }
        } finally {
          lease.giveBack(isBroken)
        }
      } catch (error) {
        if (signals.some(({ aborted }) => aborted)) {
          return failedToStart('ABORTED', 'cancelled before it was started')
        }
        const { code, message } = describeError(error)
        return failedToStart(code, message)
      }
    },
    close: () => sandboxes.close(),
  }
}

function workOf(input: ContainerInput, { run, seq }: ExecuteContext, trace: string): SandboxWork {
  const { image, root, argv, cwd, stdin, limits = {}, network = 'none' } = input
  const { memoryBytes, cpuSeconds, pids } = limits
  return {
    ...(image !== undefined && { image }),
    ...(root !== undefined && { root }),
    network,
    limits: {
      ...(memoryBytes !== undefined && { memoryBytes }),
      ...(cpuSeconds !== undefined && { cpuSeconds }),
      ...(pids !== undefined && { pids }),
    },
    argv,
    env: { TRACEPARENT: trace, ...input.env, MUSTER_RUN: run, MUSTER_SEQ: String(seq) },
    ...(cwd !== undefined && { cwd }),
    ...(stdin !== undefined && { stdin }),
  }
}
