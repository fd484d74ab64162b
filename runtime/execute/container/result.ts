/** What a program in a container came to, as the execution of its task. */
import type { ContainerInput } from '../../../actors/container-input.ts'
import type { Execution } from '../../../actors/ports.ts'
import type { Sandbox, SandboxProgram } from '../../../actors/ports-sandbox.ts'
import type { SubprocessResult } from '../../../actors/subprocess.ts'
import type { SubprocessTimes } from '../../../machines/subprocess.ts'

/** A program that a signal ended is told of by the tool around it as this and its number. */
const signalBase = 128
const cpuSignal = 24
const killSignal = 9

export interface Ended {
  input: ContainerInput
  times: SubprocessTimes
  limitsMode: SandboxProgram['limitsMode']
  /** Undefined: that is not known. */
  isOutOfMemory: boolean | undefined
  result: SubprocessResult
  startFailure: Sandbox['startFailure']
}

export interface Told {
  execution: Execution
  /** Nobody is to use the sandbox again. */
  isBroken: boolean
}

export function toldOf(ended: Ended): Told {
  const { result, limitsMode, times } = ended
  const { failure, cause, exit, stdout, stderr, durationMs } = result
  if (failure) return { execution: failedToStart(failure.code, failure.message), isBroken: true }
  const { exitCode = null, signal = null } = exit ?? {}
  const output = {
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
  const told = (outcome: 'failed' | 'timeout', code: string, message: string): Told => ({
    execution: { outcome, output, error: { code, message }, stage: 'run' },
    // Who does not even die of SIGKILL still has it.
    isBroken: exit === undefined,
  })
  const how = endingOf(result)
  if (cause === 'aborted') return told('failed', 'ABORTED', `cancelled; ${how}`)
  if (cause !== undefined) {
    return told('timeout', 'TIMEOUT', `ran longer than ${times.softKillMs} ms; ${how}`)
  }
  const unkept = stdout.problem ?? stderr.problem
  if (unkept !== undefined) {
    return told('failed', unkept.code, `its output could not be kept: ${unkept.message}; ${how}`)
  }
  if (exitCode === 0) return { execution: { outcome: 'ok', output }, isBroken: false }
  const notStarted = ended.startFailure(exitCode, output)
  if (notStarted !== undefined) {
    const { code, message, isBroken } = notStarted
    return { execution: { ...failedToStart(code, message), output }, isBroken }
  }
  const lastLine = stderr.lastLine()
  const detail = `${limitOf(ended, exitCode)}${lastLine === '' ? '' : `: ${lastLine}`}`
  if (exitCode === null) return told('failed', 'SIGNAL', `killed by ${signal}${detail}`)
  return told('failed', 'EXIT', `exited with ${exitCode}${detail}`)
}

/** Which limit it ran into, as far as that shows. */
function limitOf({ input: { limits = {} }, isOutOfMemory }: Ended, exitCode: number | null) {
  if (isOutOfMemory) return ` (limits.memoryBytes is ${limits.memoryBytes})`
  const isOutOfTime = exitCode === signalBase + cpuSignal && limits.cpuSeconds !== undefined
  if (isOutOfTime) return ` (limits.cpuSeconds is ${limits.cpuSeconds})`
  if (isOutOfMemory !== undefined || exitCode !== signalBase + killSignal) return ''
  const deadly = (['memoryBytes', 'cpuSeconds'] as const).filter((limit) => limit in limits)
  const told = deadly.map((limit) => `limits.${limit} is ${limits[limit]}`)
  return told.length === 0 ? '' : ` (killed, perhaps because ${told.join(' or ')})`
}

function endingOf({ exit, cause }: SubprocessResult): string {
  if (!exit) return 'did not die of SIGKILL and was given up'
  if (exit.signal !== null) return `ended by ${exit.signal}`
  return `exited with ${exit.exitCode}${cause === 'timeLimit' ? ' after SIGTERM' : ''}`
}

export function failedToStart(code: string, message: string): Execution {
  return { outcome: 'failed', error: { code, message }, stage: 'start' }
}
