/**
 * Sandboxes without a machine: files are names in a map, and the programs are `true`, `false`,
 * `echo`, `touch`, `cat` and `wait`, which goes on until it is killed.
 */
import { MusterError } from '../../actors/errors.ts'
import type { Sandbox, SandboxBase, Sandboxes } from '../../actors/ports-sandbox.ts'
import type { Command, Processes } from '../../actors/subprocess.ts'

interface Outcome {
  exitCode: number
  stdout?: string
  stderr?: string
}

/** @param bases the roots and images there are, with the names of the files in them */
export function memorySandboxes(bases: Readonly<Record<string, readonly string[]>>): Sandboxes {
  const nameOf = ({ root, image }: SandboxBase) => root ?? image ?? ''
  return {
    keyOf: nameOf,
    async create(base) {
      const files = bases[nameOf(base)]
      if (files === undefined) {
        throw new MusterError('BASE_MISSING', `there is no ${nameOf(base)}; use one that is known`)
      }
      return memorySandbox(files)
    },
    close: () => Promise.resolve(),
  }
}

function memorySandbox(base: readonly string[]): Sandbox {
  let files = new Set(base)
  let isThere = true
  const processes = memoryProcesses((command) => outcomeOf(command, files))
  return {
    prepare: ({ argv, env, stdin }) => ({
      processes,
      command: { argv, env, ...(stdin !== undefined && { stdin }) },
      limitsMode: 'none',
      close: () => ({ isOutOfMemory: false }),
    }),
    startFailure: (exitCode, { stderr }) =>
      exitCode === 127 ? { code: 'ENOENT', message: stderr.trimEnd(), isBroken: false } : undefined,
    async reset() {
      if (!isThere) throw new MusterError('SANDBOX_UNAVAILABLE', 'it was taken away')
      files = new Set(base)
    },
    async destroy() {
      isThere = false
    },
  }
}

function outcomeOf({ argv, stdin }: Command, files: Set<string>): Outcome | undefined {
  const [program = '', ...words] = argv
  const [file] = words
  switch (program) {
    case 'true':
      return { exitCode: 0 }
    case 'false':
      return { exitCode: 1 }
    case 'echo':
      return { exitCode: 0, stdout: `${words.join(' ')}\n` }
    case 'touch':
      for (const word of words) files.add(word)
      return { exitCode: 0 }
    case 'cat':
      if (file === undefined) return { exitCode: 0, stdout: stdin ?? '' }
      return files.has(file)
        ? { exitCode: 0 }
        : { exitCode: 1, stderr: `cat: ${file}: No such file or directory\n` }
    case 'wait':
      return undefined
    default:
      return { exitCode: 127, stderr: `${program}: not found\n` }
  }
}

function memoryProcesses(run: (command: Command) => Outcome | undefined): Processes {
  const encoder = new TextEncoder()
  let pids = 0
  return {
    spawn(command, listener) {
      pids += 1
      let isOver = false
      const end = (exitCode: number | null, signal: string | null) => {
        if (isOver) return
        isOver = true
        listener.outputEnded()
        listener.exited({ exitCode, signal })
      }
      const outcome = run(command)
      if (outcome !== undefined) {
        queueMicrotask(() => {
          const { exitCode, stdout, stderr } = outcome
          if (stdout !== undefined) listener.output('stdout', encoder.encode(stdout))
          if (stderr !== undefined) listener.output('stderr', encoder.encode(stderr))
          end(exitCode, null)
        })
      }
      return { pid: pids, kill: (signal) => end(null, signal), release: () => undefined }
    },
  }
}
