/** Runs one command on a port that can start processes, by the chart of machines/subprocess.ts. */
import type {
  KillSignal,
  ProcessExit,
  SubprocessEnd,
  SubprocessTimes,
} from '../machines/subprocess.ts'
import { Course } from './course.ts'
import { describeError } from './errors.ts'
import { OutputHead, type Spilling } from './output-head.ts'
import type { Clock } from './ports.ts'

export interface Command {
  /** Program and arguments. There is no shell. */
  argv: readonly string[]
  cwd?: string
  /** The whole environment; nothing is inherited. */
  env: Readonly<Record<string, string>>
  /** Written and closed. Without it the program reads an empty file. */
  stdin?: string
}

/** What a process tells. Never called before `spawn` has returned. */
export interface ProcessListener {
  output(stream: 'stdout' | 'stderr', bytes: Uint8Array): void
  /** Both streams have ended. */
  outputEnded(): void
  /** The process itself has ended; others of its group, and its output, may still be there. */
  exited(exit: ProcessExit): void
}

export interface RunningProcess {
  readonly pid: number
  /** Signal the whole group that the process leads. Nobody left to signal is no error. */
  kill(signal: KillSignal): void
  /** Close our ends of the pipes, whoever holds the others. */
  release(): void
}

export interface Processes {
  /**
   * Start a process that leads a group of its own.
   * @throws an error whose `code` is the operating system's and whose message names the program
   */
  spawn(command: Command, listener: ProcessListener): RunningProcess
}

export interface SubprocessOptions {
  times: SubprocessTimes
  /** Bytes kept of each of stdout and stderr. */
  outputBytesMax: number
  /** Where what is kept goes when it is much. Without it, all of it is in memory. */
  spilling?: Spilling
  /** Any of them kills the group. */
  signals: readonly AbortSignal[]
  clock: Pick<Clock, 'monotonic'>
}

/** Whoever has read the streams closes them. */
export interface SubprocessResult extends SubprocessEnd {
  stdout: OutputHead
  stderr: OutputHead
  durationMs: number
}

/** Resolves when the command has ended, its group with it, and its output has been read. */
export function runSubprocess(
  processes: Processes,
  command: Command,
  { times, outputBytesMax, spilling, signals, clock }: SubprocessOptions,
): Promise<SubprocessResult> {
  const { promise, resolve, reject } = Promise.withResolvers<SubprocessResult>()
  const startedMs = clock.monotonic()
  const heads = {
    stdout: new OutputHead(outputBytesMax, spilling),
    stderr: new OutputHead(outputBytesMax, spilling),
  }
  let child: RunningProcess | undefined
  const course = new Course(times, {
    kill: (signal) => child?.kill(signal),
    releasePipes: () => child?.release(),
    failed: reject,
    ended(end) {
      for (const signal of signals) signal.removeEventListener('abort', abort)
      resolve({ ...end, ...heads, durationMs: Math.round(clock.monotonic() - startedMs) })
    },
  })
  const abort = () => course.take({ type: 'abort' })
  // The end of the output matters to the machine only once the process has ended.
  let isOutputEnded = false
  let isExited = false
  const isWatched = times.stallMs !== undefined
  const listener: ProcessListener = {
    output(stream, bytes) {
      heads[stream].add(bytes)
      if (isWatched) course.take({ type: 'output.seen' })
    },
    outputEnded() {
      isOutputEnded = true
      if (isExited) course.take({ type: 'output.ended' })
    },
    exited({ exitCode, signal }) {
      isExited = true
      course.take({ type: 'process.exited', exitCode, signal, isOutputEnded })
    },
  }

  for (const signal of signals) signal.addEventListener('abort', abort)
  try {
    child = processes.spawn(command, listener)
    course.take({ type: 'process.started' })
  } catch (error) {
    course.take({ type: 'process.failed', ...describeError(error) })
  }
  return promise
}
