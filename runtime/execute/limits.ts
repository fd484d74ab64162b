/**
 * Limits on what a command may use. Memory and number of processes are held by a cgroup where this
 * machine allows one, for the whole tree; else, and processor time always, by rlimits that
 * util-linux `prlimit` sets before it becomes the command. Those hold for each process by itself:
 * memory is address space (RLIMIT_AS), cpu is processor time (RLIMIT_CPU), pids counts all
 * processes of the user (RLIMIT_NPROC). Never silently unlimited: what cannot be held is refused.
 */
import { MusterError } from '../../actors/errors.ts'
import type { ExecLimits, LimitsMode } from '../../actors/exec-input.ts'
import type { Cgroups } from './cgroups.ts'

export interface LimitTools {
  /** Where util-linux `prlimit` is; null when this machine has none. */
  prlimit: string | null
  /** The kernel does not hold RLIMIT_NPROC against root. */
  isRoot: boolean
}

export function limitTools(): LimitTools {
  return { prlimit: Bun.which('prlimit'), isRoot: process.getuid?.() === 0 }
}

/** What holds which of the limits. `outputBytes` needs nothing: it is what we keep. */
export interface LimitsPlan {
  mode: LimitsMode
  byCgroup: ExecLimits
  byRlimit: ExecLimits
}

const unlimited: LimitsPlan = { mode: 'none', byCgroup: {}, byRlimit: {} }

export function planLimits(
  limits: ExecLimits | undefined,
  cgroups: Cgroups | undefined,
): LimitsPlan {
  const { memoryBytes, cpuSeconds, pids } = limits ?? {}
  if ((memoryBytes ?? cpuSeconds ?? pids) === undefined) return unlimited
  const tree = {
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(pids === undefined ? {} : { pids }),
  }
  const time = cpuSeconds === undefined ? {} : { cpuSeconds }
  const version = cgroups?.versionFor(tree)
  if (version === undefined) return { mode: 'rlimit', byCgroup: {}, byRlimit: { ...tree, ...time } }
  const mode = `cgroup${version}` as const
  return {
    mode: cpuSeconds === undefined ? mode : `${mode}+rlimit`,
    byCgroup: tree,
    byRlimit: time,
  }
}

/**
 * The argv in front of the program that puts the limits in force.
 * @throws MusterError LIMITS_UNAVAILABLE when they cannot be held here
 */
export function rlimitPrefix(limits: ExecLimits, { prlimit, isRoot }: LimitTools): string[] {
  if (prlimit === null) {
    throw new MusterError(
      'LIMITS_UNAVAILABLE',
      'the task sets limits, and "prlimit", which holds them, is not in PATH: ' +
        'install util-linux, or leave memoryBytes, cpuSeconds and pids out of input.limits',
    )
  }
  if (limits.pids !== undefined && isRoot) {
    throw new MusterError(
      'LIMITS_UNAVAILABLE',
      'the task sets limits.pids, there is no cgroup here to hold it, and the kernel does not ' +
        'hold the rlimit against root: run the node as another user, give it a writable ' +
        'cgroup, or leave pids out of input.limits',
    )
  }
  const prefix = [prlimit, '--core=0']
  if (limits.memoryBytes !== undefined) prefix.push(`--as=${limits.memoryBytes}`)
  // A second between soft and hard, so that it ends by SIGXCPU, which says why, and not by SIGKILL.
  if (limits.cpuSeconds !== undefined) {
    prefix.push(`--cpu=${limits.cpuSeconds}:${limits.cpuSeconds + 1}`)
  }
  if (limits.pids !== undefined) prefix.push(`--nproc=${limits.pids}`)
  prefix.push('--')
  return prefix
}

/** What `prlimit` itself had to say when it could not become the program, else undefined. */
export function rlimitFailure(exitCode: number | null, stderr: string): string | undefined {
  if (exitCode !== 1 && exitCode !== 126 && exitCode !== 127) return undefined
  return /^prlimit: (failed to [^\n]*)\n$/.exec(stderr)?.[1]
}
