/**
 * Sandboxes, as the actors need them: a program in a file system of its own that is not that of the
 * machine, without its network unless asked for, and without its other processes.
 */
import type { ExecLimits, LimitsMode } from './exec-input.ts'
import type { Command, Processes } from './subprocess.ts'

/** What a sandbox is made of, and is again after a reset. Exactly one of `root` and `image`. */
export interface SandboxBase {
  /** A directory with the whole file system; it is never written to. */
  root?: string
  /** The name of a container image. */
  image?: string
  network: 'none' | 'host'
  limits: Pick<ExecLimits, 'memoryBytes' | 'cpuSeconds' | 'pids'>
}

/** A program to be run inside: its paths are those of the sandbox. */
export interface SandboxWork extends SandboxBase {
  argv: readonly string[]
  cwd?: string
  /** What is added to the few variables that every program gets there. */
  env: Readonly<Record<string, string>>
  stdin?: string
}

/** Why a program did not come to run. */
export interface SandboxFailure {
  code: string
  message: string
  /** Nobody is to use the sandbox again. */
  isBroken: boolean
}

/** A program that can be started in its sandbox. */
export interface SandboxProgram {
  /** Of what it is started on: SIGTERM reaches all of it, SIGKILL leaves nobody. */
  processes: Processes
  command: Command
  /** `container`: by the program that runs the containers. */
  limitsMode: LimitsMode | 'container'
  /**
   * Once it has ended, and called in any case: whether it ran out of the memory it may have;
   * undefined where that is not told.
   */
  close(): { isOutOfMemory: boolean | undefined }
}

/** What it said. */
export interface SandboxOutput {
  stderr: string
  stdoutBytes: number
}

export interface Sandbox {
  /** @throws MusterError LIMITS_UNAVAILABLE when the limits cannot be held here */
  prepare(work: SandboxWork): SandboxProgram
  /** What a command that ended so says of its start; undefined when the program has run. */
  startFailure(exitCode: number | null, output: SandboxOutput): SandboxFailure | undefined
  /**
   * Nothing of what anybody did in it is left. Nobody uses it while it is reset.
   * @throws Error when that cannot be; it is of no use then
   */
  reset(): Promise<void>
  /** Takes it away with all that runs in it. Safe to call twice. */
  destroy(): Promise<void>
}

export interface Sandboxes {
  /** Equal for bases whose sandboxes are as good as each other. */
  keyOf(base: SandboxBase): string
  /**
   * @throws MusterError BASE_MISSING when there is no such root or image
   * @throws MusterError SANDBOX_UNAVAILABLE when this machine cannot make any, with what would help
   */
  create(base: SandboxBase): Promise<Sandbox>
  /** Takes all of them away, for good. */
  close(): Promise<void>
}
