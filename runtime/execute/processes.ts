/** Processes of the operating system, by Bun.spawn. */
import { closeSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { describeError, MusterError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import type { Command, Processes, ProcessListener } from '../../actors/subprocess.ts'
import type { Cell } from './cgroups.ts'
import type { Guardian } from './guardian.ts'
import { inputFile } from './input-file.ts'
import { BunPipes, type PipeSource, type Pipes } from './pipes.ts'

export interface ProcessOptions {
  log: Log
  /** Of the one process that is started. */
  cell?: Cell | undefined
  guardian?: Guardian | undefined
  /** Where its pipes come from; without it Bun makes them. */
  pipes?: PipeSource | undefined
  /** Where what it is to read is put for a moment. */
  spillDir?: string | undefined
}

export function bunProcesses({ log, cell, guardian, pipes, spillDir }: ProcessOptions): Processes {
  return {
    spawn(command, listener) {
      // Ended from here, nobody of it may be left; else those who left the group are on their own.
      let isEnding = false
      let isExited = false
      const ended: ProcessListener['exited'] = (exit) => {
        isExited = true
        pipe.exited()
        listener.exited(exit)
        if (cell !== undefined) attempt(() => cell.close(!isEnding))
        guardian?.forget(child.pid)
      }
      const attempt = (work: () => void) => {
        try {
          work()
        } catch (error) {
          log.warn({ pid: child.pid, ...describeError(error) }, 'the cgroup of a command is stuck')
        }
      }
      const pipe = pipes?.open() ?? new BunPipes()
      const child = spawn(command, { exited: ended, pipe, cell, spillDir })
      // To be told of each costs more than to look into the cgroups at the end.
      if (cell === undefined) guardian?.watch(child.pid)
      else guardian?.wake()
      attempt(() => cell?.join())
      const warn = (error: unknown) => {
        log.warn({ pid: child.pid, ...describeError(error) }, 'a pipe of the command broke')
      }
      pipe.read(child, {
        output: listener.output,
        outputEnded: listener.outputEnded,
        broke: warn,
      })
      return {
        pid: child.pid,
        kill(signal) {
          if (!isExited) {
            isEnding = true
            if (signal === 'SIGKILL') attempt(() => cell?.kill())
          }
          try {
            if (isExited && cell?.isLeft() === true) return
            process.kill(-child.pid, signal)
          } catch (error) {
            const { code, message } = describeError(error)
            if (code !== 'ESRCH') log.warn({ pid: child.pid, signal, code }, message)
          }
        },
        release() {
          pipe.release()
        },
      }
    },
  }
}

interface SpawnParts extends Pick<ProcessListener, 'exited'>, Pick<ProcessOptions, 'spillDir'> {
  pipe: Pipes
  cell: Cell | undefined
}

// Not Bun's own `timeout` and `maxBuffer`: they end the leader alone, and then wait for whoever
// still holds the pipe.
function spawn(command: Command, { exited, pipe, cell, spillDir }: SpawnParts) {
  const [program = '', ...rest] = command.argv
  let stdin: number | undefined
  try {
    if (command.stdin !== undefined) stdin = inputFile(command.stdin, spillDir)
    return Bun.spawn([resolveProgram(command), ...rest], {
      argv0: program,
      ...(command.cwd !== undefined && { cwd: command.cwd }),
      env: command.env,
      ...(cell !== undefined && { cgroup: cell.birthplace }),
      stdin: stdin ?? 'ignore',
      stdout: pipe.ends[0],
      stderr: pipe.ends[1],
      // A session and a group of its own: a signal to -pid reaches everybody in it.
      detached: true,
      onExit(_child, exitCode, signal) {
        if (signal === null) exited({ exitCode, signal })
        else exited({ exitCode: null, signal: signalName(signal) })
      },
    })
  } catch (error) {
    pipe.drop()
    foundPrograms.clear()
    throw error instanceof MusterError ? error : startError(error, command)
  } finally {
    if (stdin !== undefined) closeSync(stdin)
  }
}

/** Bun names some signals and numbers others. */
export function signalName(signal: string | number): string {
  return typeof signal === 'number' ? `SIG${signal}` : signal
}

/**
 * Looking through PATH costs as much as a tenth of a start, so what was found is believed for a
 * second, unless a start fails.
 */
const foundPrograms = new Map<string, { path: string; atMs: number }>()
const believedMs = 1000
const foundProgramsMax = 1000

/**
 * The file that would be run, absolute, found as the command itself would find it.
 * @throws like `Processes.spawn` when there is none
 */
export function resolveProgram(command: Command): string {
  const [program = ''] = command.argv
  const PATH = command.env['PATH'] ?? process.env['PATH'] ?? ''
  const key = `${program}\0${PATH}\0${command.cwd ?? ''}`
  const nowMs = performance.now()
  const known = foundPrograms.get(key)
  if (known && nowMs - known.atMs < believedMs) return known.path
  const cwd = resolve(command.cwd ?? '.')
  const path = directoryProblem(command.cwd) ? null : Bun.which(program, { PATH, cwd })
  if (path === null) {
    const isThere = program.includes('/') && kindOf(resolve(cwd, program)) !== undefined
    const code = isThere ? 'EACCES' : 'ENOENT'
    throw startError(Object.assign(new Error(code), { code }), command)
  }
  if (foundPrograms.size >= foundProgramsMax) foundPrograms.clear()
  foundPrograms.set(key, { path, atMs: nowMs })
  return path
}

/** The operating system's code with a sentence that names the culprit. */
function startError(error: unknown, command: Command): MusterError {
  const { code, message } = describeError(error)
  const [program = ''] = command.argv
  const problem = directoryProblem(command.cwd)
  if (problem !== undefined) {
    const where = `${JSON.stringify(program)} in ${JSON.stringify(command.cwd)}`
    return new MusterError(problem.code, `cannot start ${where}: ${problem.message}`, {
      cause: error,
    })
  }
  const reason = reasonOf(code, program, command) ?? message
  return new MusterError(code, `cannot start ${JSON.stringify(program)}: ${reason}`, {
    cause: error,
  })
}

function reasonOf(code: string, program: string, command: Command): string | undefined {
  if (code === 'EACCES') return 'it is there, but may not be executed'
  if (code === 'ENOEXEC')
    return 'it is neither a binary of this machine nor a script with a #! line'
  if (code === 'E2BIG') return 'the arguments and the environment are too long together'
  if (code !== 'ENOENT') return undefined
  if (!program.includes('/')) return `not found in PATH (${command.env['PATH'] ?? 'not set'})`
  return kindOf(resolve(command.cwd ?? '.', program)) === undefined
    ? 'no such file'
    : 'it is there, but the interpreter that it names is not'
}

function directoryProblem(cwd: string | undefined): { code: string; message: string } | undefined {
  if (cwd === undefined) return undefined
  const kind = kindOf(cwd)
  if (kind === 'directory') return undefined
  return kind === undefined
    ? { code: 'ENOENT', message: 'cwd: no such directory' }
    : { code: 'ENOTDIR', message: 'cwd: not a directory' }
}

function kindOf(path: string): 'directory' | 'file' | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  return stat.isDirectory() ? 'directory' : 'file'
}
