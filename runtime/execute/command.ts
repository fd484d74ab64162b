/** The executor of kind `exec`: one program, its own process group and cgroup, no shell. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeError } from '../../actors/errors.ts'
import {
  type ExecInput,
  type ExecOutput,
  execInput,
  type LimitsMode,
} from '../../actors/exec-input.ts'
import type { Clock, ExecuteContext, Execution, Executor, Log } from '../../actors/ports.ts'
import { isPlainExecInput } from '../../actors/quick-exec-input.ts'
import { type Command, runSubprocess, type SubprocessResult } from '../../actors/subprocess.ts'
import type { Task } from '../../actors/task.ts'
import type { SubprocessTimes } from '../../machines/subprocess.ts'
import type { Cell } from './cgroups.ts'
import { limitTools, planLimits, rlimitFailure, rlimitPrefix } from './limits.ts'
import { bunProcesses, resolveProgram } from './processes.ts'
import { refusedInput } from './refused-input.ts'
import { fileSpilling } from './spill.ts'
import { openSurroundings, type Surroundings } from './surroundings.ts'
import { traceparentOf } from './trace.ts'

export interface CommandOptions {
  /** Bytes kept of each of stdout and stderr, unless the task says otherwise. */
  outputBytesMax?: number
  /** SIGTERM, ms from the start, unless the task has a `timeoutMs`. */
  softKillMs?: number
  /** SIGKILL, ms from the start, unless the task has a `timeoutMs`. */
  hardKillMs?: number
  /** `off`: no command gets a cgroup, limits are rlimits. */
  cgroups?: 'auto' | 'off'
  /** Where output goes while it is too much for the memory. */
  spillDir?: string
  log: Log
  /** Of an executor that shares its surroundings with others. */
  open?: () => Promise<Surroundings>
}

/** All that a command sees of our environment. Secrets live in what is not named here. */
const inheritedVariables = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TMPDIR', 'USER', 'SHELL']

const drainMs = 200
const reapMs = 10_000
const killGraceMsMax = 5000
const okExitCodesDefault: readonly number[] = [0]
const clock: Pick<Clock, 'monotonic'> = { monotonic: () => performance.now() }

/** `stop` kills whatever runs; until the next `start` nothing more is run. */
export function commandExecutor(options: CommandOptions): Executor {
  const { outputBytesMax = 1024 * 1024, softKillMs = 30_000, hardKillMs = 60_000, log } = options
  const directory = options.spillDir ?? join(tmpdir(), 'muster')
  const spilling = fileSpilling(directory)
  const tools = limitTools()
  const baseEnv = inheritedEnv()
  const running = new Set<Promise<unknown>>()
  let stopping = new AbortController()
  let opening: Promise<Surroundings> | undefined
  let around: Partial<Surroundings> = {}

  const timesOf = ({ timeoutMs }: Task, { stallMs }: ExecInput): SubprocessTimes => ({
    softKillMs: timeoutMs ?? softKillMs,
    hardKillMs:
      timeoutMs === undefined ? hardKillMs : timeoutMs + Math.min(timeoutMs, killGraceMsMax),
    ...(stallMs !== undefined && { stallMs }),
    drainMs,
    reapMs,
  })

  const execute = async (
    task: Task,
    input: ExecInput,
    context: ExecuteContext,
  ): Promise<Execution> => {
    const signals = [context.signal, stopping.signal]
    if (signals.some((signal) => signal.aborted)) {
      return failedToStart('ABORTED', 'cancelled before it was started')
    }
    const trace = traceparentOf(context)
    const command = commandOf(input, baseEnv, context, trace)
    const plan = planLimits(input.limits, around.cgroups)
    let { argv } = command
    let cell: Cell | undefined
    try {
      if (plan.mode.endsWith('rlimit')) {
        argv = [...rlimitPrefix(plan.byRlimit, tools), resolveProgram(command), ...argv.slice(1)]
      }
      cell = around.cgroups?.open(plan.byCgroup)
    } catch (error) {
      return failedToStart(...entriesOf(error))
    }
    const times = timesOf(task, input)
    const keep = input.limits?.outputBytes ?? outputBytesMax
    const { guardian, pipes } = around
    const processes = bunProcesses({ log, cell, guardian, pipes, spillDir: directory })
    const result = await runSubprocess(
      processes,
      { ...command, argv },
      { times, outputBytesMax: keep, spilling, signals, clock },
    )
    // One that never started was in no cell; and it may be for the cell that it did not.
    if (result.failure) {
      cell?.kill()
      cell?.close(false)
    }
    try {
      const isOutOfMemory = cell?.ranOutOfMemory === true
      return {
        ...executionOf({ input, times, limitsMode: plan.mode, isOutOfMemory }, result),
        trace,
      }
    } finally {
      result.stdout.close()
      result.stderr.close()
    }
  }

  const open = options.open ?? (() => openSurroundings(options.cgroups, directory, log))

  const close = async () => {
    const opened = await opening
    opening = undefined
    around = {}
    await opened?.close()
  }

  return {
    async start() {
      if (stopping.signal.aborted) stopping = new AbortController()
      opening ??= open()
      around = await opening
    },
    async stop() {
      stopping.abort()
      await Promise.all(running)
      await close()
    },
    run(task, context) {
      let input = task.input as ExecInput
      if (!isPlainExecInput(input)) {
        const parsed = execInput.safeParse(input)
        if (!parsed.success) return refusedInput(parsed.error.issues)
        input = parsed.data
      }
      const execution = execute(task, input, context).catch((error: unknown): Execution => {
        log.error({ run: context.run, seq: context.seq, ...describeError(error) }, 'exec broke')
        return failedToStart(...entriesOf(error))
      })
      running.add(execution)
      void execution.then(() => running.delete(execution))
      return execution
    },
  }
}

function inheritedEnv(): Record<string, string> {
  const env: Record<string, string> = {}
  for (const name of inheritedVariables) {
    const value = process.env[name]
    if (value !== undefined) env[name] = value
  }
  return env
}

function commandOf(
  { argv, cwd, env, stdin }: ExecInput,
  baseEnv: Record<string, string>,
  { run, seq }: ExecuteContext,
  trace: string,
): Command {
  return {
    argv,
    ...(cwd !== undefined && { cwd }),
    env: { ...baseEnv, TRACEPARENT: trace, ...env, MUSTER_RUN: run, MUSTER_SEQ: String(seq) },
    ...(stdin !== undefined && { stdin }),
  }
}

/** What its result has to say beside what it did. */
interface Told {
  input: ExecInput
  times: SubprocessTimes
  limitsMode: LimitsMode
  isOutOfMemory: boolean
}

function executionOf(told: Told, result: SubprocessResult): Execution {
  const { input, times, limitsMode } = told
  const { failure, cause, exit, stdout, stderr, durationMs } = result
  if (failure) return failedToStart(failure.code, failure.message)
  const { exitCode = null, signal = null } = exit ?? {}
  const output: ExecOutput = {
    exitCode,
    signal,
    stdout: stdout.text(),
    stderr: stderr.text(),
    truncated: stdout.truncated || stderr.truncated,
    stdoutBytes: stdout.bytes,
    stderrBytes: stderr.bytes,
    durationMs,
    limitsMode,
  }
  const ended = (outcome: 'failed' | 'timeout', code: string, message: string): Execution => ({
    outcome,
    output,
    error: { code, message },
    stage: 'run',
  })
  if (cause === 'aborted') return ended('failed', 'ABORTED', `cancelled; ${endingOf(result)}`)
  if (cause === 'timeLimit') {
    const message = `ran longer than ${spoken(times.softKillMs)}; ${endingOf(result)}`
    return ended('timeout', 'TIMEOUT', message)
  }
  if (cause === 'stalled') {
    const message = `no output for ${spoken(times.stallMs ?? 0)}; ${endingOf(result)}`
    return ended('timeout', 'STALLED', message)
  }
  const unkept = stdout.problem ?? stderr.problem
  if (unkept !== undefined) {
    const message =
      `its output could not be kept: ${unkept.message}; ${endingOf(result)}. ` +
      'Make room in the data directory, or lower limits.outputBytes'
    return ended('failed', unkept.code, message)
  }
  if (exitCode !== null && (input.okExitCodes ?? okExitCodesDefault).includes(exitCode)) {
    return { outcome: 'ok', output }
  }
  const lastLine = stderr.lastLine()
  const detail = lastLine === '' ? '' : `: ${lastLine}`
  if (exitCode === null) {
    return ended('failed', 'SIGNAL', `killed by ${signal}${causeOf(told, signal)}${detail}`)
  }
  const refusal = limitsMode.endsWith('rlimit') ? rlimitFailure(exitCode, output.stderr) : undefined
  if (refusal !== undefined) {
    const message = `cannot start ${JSON.stringify(input.argv[0])} within its limits: ${refusal}`
    return failedToStart(exitCode === 127 ? 'ENOENT' : 'LIMITS_UNAVAILABLE', message)
  }
  const why = causeOf(told, signal)
  return ended('failed', 'EXIT', `exited with ${exitCode}${why}${detail}`)
}

/** Which limit it ran into, as far as that shows. */
function causeOf({ input: { limits = {} }, isOutOfMemory }: Told, signal: string | null): string {
  if (isOutOfMemory) return ` (limits.memoryBytes is ${limits.memoryBytes})`
  const isOutOfTime = signal === 'SIGXCPU' && limits.cpuSeconds !== undefined
  return isOutOfTime ? ` (limits.cpuSeconds is ${limits.cpuSeconds})` : ''
}

/** How a command that was told to end did so. */
function endingOf({ exit, cause }: SubprocessResult): string {
  if (!exit) return `did not die of SIGKILL within ${spoken(reapMs)} and was given up`
  if (exit.signal !== null) return `ended by ${exit.signal}`
  const isTold = cause === 'timeLimit' || cause === 'stalled'
  return `exited with ${exit.exitCode}${isTold ? ' after SIGTERM' : ''}`
}

function failedToStart(code: string, message: string): Execution {
  return { outcome: 'failed', error: { code, message }, stage: 'start' }
}

function entriesOf(error: unknown): [code: string, message: string] {
  const { code, message } = describeError(error)
  return [code, message]
}

function spoken(ms: number): string {
  return ms >= 1000 && ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`
}
