/** The executor of kind `exec`: one program, its own process group, no shell. */
import { describeError } from '../../actors/errors.ts'
import {
  type ExecInput,
  type ExecOutput,
  execInput,
  type LimitsMode,
} from '../../actors/exec-input.ts'
import type { Clock, ExecuteContext, Execution, Executor, Log } from '../../actors/ports.ts'
import { type Command, runSubprocess, type SubprocessResult } from '../../actors/subprocess.ts'
import type { Task } from '../../actors/task.ts'
import type { SubprocessTimes } from '../../machines/subprocess.ts'
import { limitsModeOf, limitTools, rlimitFailure, rlimitPrefix } from './limits.ts'
import { bunProcesses, resolveProgram } from './processes.ts'

export interface CommandOptions {
  /** Bytes kept of each of stdout and stderr, unless the task says otherwise. */
  outputBytesMax?: number
  /** SIGTERM, ms from the start, unless the task has a `timeoutMs`. */
  softKillMs?: number
  /** SIGKILL, ms from the start, unless the task has a `timeoutMs`. */
  hardKillMs?: number
  log: Log
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
  const processes = bunProcesses(log)
  const tools = limitTools()
  const baseEnv = inheritedEnv()
  const running = new Set<Promise<unknown>>()
  let stopping = new AbortController()

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
    const command = commandOf(input, baseEnv, context)
    const limitsMode = limitsModeOf(input.limits)
    let { argv } = command
    try {
      if (limitsMode === 'rlimit') {
        argv = [
          ...rlimitPrefix(input.limits ?? {}, tools),
          resolveProgram(command),
          ...argv.slice(1),
        ]
      }
    } catch (error) {
      return failedToStart(...entriesOf(error))
    }
    const times = timesOf(task, input)
    const keep = input.limits?.outputBytes ?? outputBytesMax
    const result = await runSubprocess(
      processes,
      { ...command, argv },
      { times, outputBytesMax: keep, signals, clock },
    )
    return executionOf(input, times, limitsMode, result)
  }

  return {
    async start() {
      if (stopping.signal.aborted) stopping = new AbortController()
    },
    async stop() {
      stopping.abort()
      await Promise.all(running)
    },
    run(task, context) {
      const parsed = execInput.safeParse(task.input)
      if (!parsed.success) return inputRefused(parsed.error.issues)
      const execution = execute(task, parsed.data, context).catch((error: unknown): Execution => {
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
): Command {
  return {
    argv,
    ...(cwd !== undefined && { cwd }),
    env: { ...baseEnv, ...env, MUSTER_RUN: run, MUSTER_SEQ: String(seq) },
    ...(stdin !== undefined && { stdin }),
  }
}

function executionOf(
  input: ExecInput,
  times: SubprocessTimes,
  limitsMode: LimitsMode,
  result: SubprocessResult,
): Execution {
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
  if (exitCode !== null && (input.okExitCodes ?? okExitCodesDefault).includes(exitCode)) {
    return { outcome: 'ok', output }
  }
  const lastLine = stderr.lastLine()
  const detail = lastLine === '' ? '' : `: ${lastLine}`
  if (exitCode === null) {
    const isCpu = signal === 'SIGXCPU' && input.limits?.cpuSeconds !== undefined
    const why = isCpu ? ` (limits.cpuSeconds is ${input.limits?.cpuSeconds})` : ''
    return ended('failed', 'SIGNAL', `killed by ${signal}${why}${detail}`)
  }
  const refusal = limitsMode === 'rlimit' ? rlimitFailure(exitCode, output.stderr) : undefined
  if (refusal !== undefined) {
    const message = `cannot start ${JSON.stringify(input.argv[0])} within its limits: ${refusal}`
    return failedToStart(exitCode === 127 ? 'ENOENT' : 'LIMITS_UNAVAILABLE', message)
  }
  return ended('failed', 'EXIT', `exited with ${exitCode}${detail}`)
}

/** How a command that was told to end did so. */
function endingOf({ exit, cause }: SubprocessResult): string {
  if (!exit) return `did not die of SIGKILL within ${spoken(reapMs)} and was given up`
  if (exit.signal !== null) return `ended by ${exit.signal}`
  return cause === 'aborted'
    ? `exited with ${exit.exitCode}`
    : `exited with ${exit.exitCode} after SIGTERM`
}

function failedToStart(code: string, message: string): Execution {
  return { outcome: 'failed', error: { code, message }, stage: 'start' }
}

function entriesOf(error: unknown): [code: string, message: string] {
  const { code, message } = describeError(error)
  return [code, message]
}

function inputRefused(issues: readonly { path: PropertyKey[]; message: string }[]): Execution {
  const message = issues
    .map((issue) => `${['input', ...issue.path.map(String)].join('.')}: ${issue.message}`)
    .join('; ')
  return { outcome: 'failed', error: { code: 'INPUT', message }, stage: 'terminal' }
}

function spoken(ms: number): string {
  return ms >= 1000 && ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`
}
