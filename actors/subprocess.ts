/** Runs one command on a port that can start processes, by the chart of machines/subprocess.ts. */
import { createActor } from 'xstate'
import {
  type KillSignal,
  type ProcessExit,
  type SubprocessEnd,
  type SubprocessTimes,
  subprocessMachine,
} from '../machines/subprocess.ts'
import { isLive } from './dead-letters.ts'
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
  const actor = createActor(subprocessMachine, { input: times })
  let child: RunningProcess | undefined

  // A process may tell of itself after it was given up; a stopped actor must not be sent to.
  const tell = (event: Parameters<typeof actor.send>[0]) => {
    if (isLive(actor)) actor.send(event)
  }
  const abort = () => tell({ type: 'abort' })
  const complete = () => {
    for (const signal of signals) signal.removeEventListener('abort', abort)
    const { output } = actor.getSnapshot()
    if (!output) reject(new Error('the subprocess machine was stopped before its end'))
    else resolve({ ...output, ...heads, durationMs: Math.round(clock.monotonic() - startedMs) })
  }
  // The end of the output matters to the machine only once the process has ended.
  let isOutputEnded = false
  let isExited = false
  const isWatched = times.stallMs !== undefined
  const listener: ProcessListener = {
    output(stream, bytes) {
      heads[stream].add(bytes)
      if (isWatched) tell({ type: 'output.seen' })
    },
    outputEnded() {
      isOutputEnded = true
      if (isExited) tell({ type: 'output.ended' })
    },
    exited({ exitCode, signal }) {
      isExited = true
      tell({ type: 'process.exited', exitCode, signal, isOutputEnded })
    },
  }

  actor.on('group.kill', ({ signal }) => child?.kill(signal))
  actor.on('pipes.release', () => child?.release())
  actor.subscribe({ complete, error: reject })
  actor.start()
  for (const signal of signals) signal.addEventListener('abort', abort)
  try {
    child = processes.spawn(command, listener)
    tell({ type: 'process.started' })
  } catch (error) {
    tell({ type: 'process.failed', ...describeError(error) })
  }
  return promise
}
