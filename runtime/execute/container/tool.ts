/** Runs a program of the machine to its end, within a time limit, and tells how that went. */
import type { Log } from '../../../actors/ports.ts'
import { runSubprocess } from '../../../actors/subprocess.ts'
import { bunProcesses } from '../processes.ts'

const outputBytesMax = 1024 * 1024
const clock = { monotonic: () => performance.now() }

export interface ToolResult {
  stdout: string
  /** What it says of its failure in one line; undefined when it ended with 0. */
  failure: string | undefined
}

/** Never throws: what cannot be started has failed. */
export async function runTool(
  argv: readonly string[],
  log: Log,
  timeoutMs: number,
): Promise<ToolResult> {
  const times = {
    softKillMs: timeoutMs,
    hardKillMs: timeoutMs + 1000,
    drainMs: 200,
    reapMs: 2000,
  }
  const env = ownEnvironment()
  const result = await runSubprocess(
    bunProcesses({ log }),
    { argv, env },
    { times, outputBytesMax, signals: [], clock },
  )
  const stdout = result.stdout.text()
  const line = result.stderr.lastLine()
  if (result.failure !== undefined) return { stdout, failure: result.failure.message }
  if (result.cause !== undefined) {
    return { stdout, failure: `${argv[0]} did not end within ${timeoutMs} ms` }
  }
  if (result.exit?.exitCode === 0) return { stdout, failure: undefined }
  const how = result.exit?.signal ?? `exit code ${result.exit?.exitCode}`
  return { stdout, failure: line === '' ? `${argv[0]}: ${how}` : line }
}

/** Tools of the machine see what this process sees: where their sockets and their files are. */
export function ownEnvironment(): Record<string, string> {
  const env: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env))
    if (value !== undefined) env[name] = value
  return env
}
