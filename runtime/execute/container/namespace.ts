/**
 * Sandboxes of a directory with a root file system, by bubblewrap and overlayfs, without a daemon.
 * The overlays are mounted ahead by the keeper; every program gets fresh namespaces of processes,
 * network, IPC and host name. Where overlays cannot be mounted, the root is read-only, and said so.
 */
import { existsSync, readdirSync, readlinkSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describeError, MusterError } from '../../../actors/errors.ts'
import type {
  Sandbox,
  SandboxBase,
  Sandboxes,
  SandboxFailure,
  SandboxOutput,
  SandboxWork,
} from '../../../actors/ports-sandbox.ts'
import { releaseCgroups, takeCgroups } from '../cgroup-search.ts'
import type { Cgroups } from '../cgroups.ts'
import { limitTools, planLimits, rlimitPrefix } from '../limits.ts'
import type { ProcessOptions } from '../processes.ts'
import { inCell } from './in-cell.ts'
import { type Keeper, startKeeper } from './keeping.ts'
import { type Owner, ownerVariable } from './owner.ts'
import { treeProcesses } from './tree-processes.ts'

export interface NamespaceOptions extends Pick<ProcessOptions, 'log' | 'pipes' | 'spillDir'> {
  owner: Owner
  /** What may be written in one sandbox, in memory. */
  scratchBytes: number
  /** `off`: as where none can be mounted. */
  overlays?: 'auto' | 'off'
}

/** What the system says where it is not so for the moment, but for good. */
const hopeless = new Set(['NO_KEEPER', 'EPERM', 'EACCES', 'EINVAL', 'ENODEV', 'ENOSYS'])
/** Of /proc, what a program with the user id of root may otherwise write, for the whole machine. */
const procOfMachine = ['sys', 'sysrq-trigger', 'irq', 'bus', 'fs', 'acpi', 'scsi', 'mtrr']
const readOnlyProc = procOfMachine.flatMap((name) => [
  '--ro-bind-try',
  `/proc/${name}`,
  `/proc/${name}`,
])
const isolation = [
  '--unshare-pid',
  '--unshare-ipc',
  '--unshare-uts',
  '--unshare-cgroup-try',
  '--die-with-parent',
  '--cap-drop',
  'ALL',
]
const systemFiles = ['--proc', '/proc', ...readOnlyProc, '--dev', '/dev']
const insideEnv = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
}
/** The tools are programs of the machine: what loads them must not follow the task's words. */
const loaderVariable = /^(LD_|GLIBC_TUNABLES|MALLOC_|GCONV_PATH|LOCPATH|NLSPATH)/

export function namespaceSandboxes(options: NamespaceOptions): Sandboxes {
  const { owner, log } = options
  let cgroups: Promise<Cgroups> | undefined
  let starting: Promise<Keeper> | undefined
  let made = 0
  /** Roots over which there can be no overlay; '' is all. */
  const bare = new Set(options.overlays === 'off' ? [''] : [])

  const keeper = (): Promise<Keeper> => {
    if (starting !== undefined) return starting
    const next = startKeeper(owner.directory, owner.name, () => {
      if (starting === next) starting = undefined
    })
    starting = next
    return next
  }

  /** @throws MusterError when another try may succeed */
  const goBare = (root: string, error: unknown): void => {
    const { code, message } = describeError(error)
    if (!hopeless.has(code)) {
      throw new MusterError('SANDBOX_UNAVAILABLE', `no container could be made: ${message}`)
    }
    bare.add(code === 'NO_KEEPER' ? '' : root)
    log.warn(
      { root, reason: message },
      'no overlay can be mounted: containers see their root read-only, with empty /tmp and /run',
    )
  }

  return {
    keyOf: ({ root }) => `root:${root}`,
    async create({ root = '' }: SandboxBase) {
      const bwrap = needed('bwrap', 'bubblewrap')
      if (isMachine(root)) throw ofTheMachine(root)
      cgroups ??= takeCgroups()
      const parts = { ...options, bwrap, cgroups: await cgroups }
      if (!bare.has(root) && !bare.has('')) {
        const nsenter = needed('nsenter', 'util-linux')
        needed('unshare', 'util-linux')
        made += 1
        const slot = `s${made}`
        try {
          const of = await keeper()
          await of.ask({ op: 'make', slot, root, bytes: options.scratchBytes })
          return overlaySandbox({ ...parts, keeper: of, slot, nsenter })
        } catch (error) {
          if (describeError(error).code === 'BASE_MISSING') throw missing(root)
          goBare(root, error)
        }
      }
      if (!existsSync(join(root, '.'))) throw missing(root)
      return readOnlySandbox({ ...parts, root })
    },
    async close() {
      const known = await starting?.catch(() => undefined)
      starting = undefined
      await known?.stop()
      if (cgroups !== undefined) await releaseCgroups()
      cgroups = undefined
    },
  }
}

interface Parts extends NamespaceOptions {
  bwrap: string
  cgroups: Cgroups
}

function overlaySandbox(parts: Parts & { keeper: Keeper; slot: string; nsenter: string }): Sandbox {
  const { keeper, slot, owner, nsenter } = parts
  const namespaces = `/proc/${keeper.pid}/ns`
  const enter = [
    nsenter,
    ...(keeper.isRootless ? [`--user=${namespaces}/user`, '--preserve-credentials'] : []),
    `--mount=${namespaces}/mnt`,
    '--',
  ]
  const root = ['--bind', join(owner.directory, slot, 'all'), '/']
  return {
    ...common(parts, enter, root),
    reset: () => keeper.ask({ op: 'reset', slot }),
    async destroy() {
      try {
        if (!keeper.isGone) await keeper.ask({ op: 'drop', slot })
      } catch (error) {
        // Its mounts have ended with it.
        if (!keeper.isGone) throw error
      }
    },
  }
}

/** Each program gets empty directories of its own, so there is nothing that needs a reset. */
function readOnlySandbox(parts: Parts & { root: string }): Sandbox {
  const { root } = parts
  const covered = new Set(['tmp', 'run', 'proc', 'dev'])
  const entries = readdirSync(root).filter((name) => !covered.has(name))
  const layers = entries.flatMap((name) => {
    const path = join(root, name)
    const link = linkOf(path)
    return link === undefined ? ['--ro-bind', path, `/${name}`] : ['--symlink', link, `/${name}`]
  })
  const volatile = ['--tmpfs', '/tmp', '--tmpfs', '/run']
  if (statSync(join(root, 'var/tmp'), { throwIfNoEntry: false })?.isDirectory() === true) {
    volatile.push('--tmpfs', '/var/tmp')
  }
  return {
    ...common(parts, [], ['--tmpfs', '/', ...layers, ...volatile]),
    reset: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    // Not a symbolic link.
    return undefined
  }
}

/** The tools that wait for a program are processes as well: two of bubblewrap's. */
const toolPids = 2

function common(
  parts: Parts,
  enter: readonly string[],
  root: readonly string[],
): Pick<Sandbox, 'prepare' | 'startFailure'> {
  const { owner, bwrap, cgroups } = parts
  const tools = limitTools()
  return {
    prepare(work) {
      const { memoryBytes, cpuSeconds, pids } = work.limits
      const plan = planLimits(
        {
          ...(memoryBytes !== undefined && { memoryBytes }),
          ...(cpuSeconds !== undefined && { cpuSeconds }),
          ...(pids !== undefined && { pids: pids + toolPids }),
        },
        cgroups,
      )
      const { env, words } = environmentOf(work, owner)
      const argv = [
        ...(plan.mode.endsWith('rlimit') ? rlimitPrefix(plan.byRlimit, tools) : []),
        ...enter,
        bwrap,
        ...isolation,
        ...(work.network === 'host' ? [] : ['--unshare-net']),
        ...root,
        ...systemFiles,
        ...words,
        '--chdir',
        work.cwd ?? '/',
        '--',
        ...work.argv,
      ]
      const { stdin } = work
      const { processes, close } = inCell(cgroups.open(plan.byCgroup), parts)
      return {
        processes: treeProcesses(processes),
        command: { argv, env, ...(stdin !== undefined && { stdin }) },
        limitsMode: plan.mode,
        close,
      }
    },
    startFailure,
  }
}

/** Through the environment, where no other user of the machine can read it, as far as may be. */
function environmentOf(
  work: SandboxWork,
  owner: Owner,
): { env: Record<string, string>; words: string[] } {
  const env: Record<string, string> = { [ownerVariable]: owner.name }
  const words = ['--unsetenv', ownerVariable]
  for (const [name, value] of Object.entries({ ...insideEnv, ...work.env })) {
    if (loaderVariable.test(name)) words.push('--setenv', name, value)
    else env[name] = value
  }
  return { env, words }
}

/** The tools end with 1 and one line when they could not become the program. */
function startFailure(
  exitCode: number | null,
  { stderr }: SandboxOutput,
): SandboxFailure | undefined {
  if (exitCode !== 1 && exitCode !== 126 && exitCode !== 127) return undefined
  const said = /^(bwrap|nsenter|prlimit): ([^\n]*)\n$/.exec(stderr)?.[2]
  if (said === undefined) return undefined
  const notRun = /^(?:execvp|Can't chdir to) (.*): (.*)$/.exec(said)
  if (notRun === null) return { code: 'SANDBOX', message: said, isBroken: true }
  const [, what = '', why = ''] = notRun
  const code = why === 'No such file or directory' ? 'ENOENT' : 'EACCES'
  return { code, message: `cannot start in the container: ${what}: ${why}`, isBroken: false }
}

function needed(program: string, packageName: string): string {
  const path = Bun.which(program)
  if (path !== null) return path
  throw new MusterError(
    'SANDBOX_UNAVAILABLE',
    `containers of a root need "${program}", which is not in PATH: install ${packageName}, ` +
      'or use an image with Podman or Docker',
  )
}

function missing(root: string): MusterError {
  return new MusterError(
    'BASE_MISSING',
    `input.root: there is no directory ${root} on this node, or none that it may look into`,
  )
}

/** However it is spelled: by a link, or below /proc. */
function isMachine(root: string): boolean {
  try {
    const [found, own] = [statSync(root), statSync('/')]
    return found.dev === own.dev && found.ino === own.ino
  } catch {
    // It is not there, or not ours to look at: what is made of it says so.
    return false
  }
}

function ofTheMachine(root: string): MusterError {
  return new MusterError(
    'BASE_REFUSED',
    'input.root: expected a directory with a root file system of its own, ' +
      `got ${root}, which is that of the machine`,
  )
}
