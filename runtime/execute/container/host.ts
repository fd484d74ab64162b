/**
 * No sandboxes at all: programs run on the machine itself, with its files and its network. For
 * machines that have none, chosen in the configuration and never fallen back to.
 */
import type { Sandbox, Sandboxes } from '../../../actors/ports-sandbox.ts'
import { releaseCgroups, takeCgroups } from '../cgroup-search.ts'
import type { Cgroups } from '../cgroups.ts'
import { limitTools, planLimits, rlimitFailure, rlimitPrefix } from '../limits.ts'
import { type ProcessOptions, resolveProgram } from '../processes.ts'
import { inCell } from './in-cell.ts'

const hostEnv = { PATH: process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin', HOME: '/' }

type HostOptions = Pick<ProcessOptions, 'log' | 'pipes' | 'spillDir'>

export function hostSandboxes(options: HostOptions): Sandboxes {
  let cgroups: Promise<Cgroups> | undefined
  options.log.warn(
    { mode: 'host' },
    'worker.containerMode is "host": tasks of kind container run without a container',
  )
  return {
    keyOf: () => 'host',
    async create() {
      cgroups ??= takeCgroups()
      return hostSandbox(options, await cgroups)
    },
    async close() {
      if (cgroups !== undefined) await releaseCgroups()
      cgroups = undefined
    },
  }
}

function hostSandbox(options: HostOptions, cgroups: Cgroups): Sandbox {
  const tools = limitTools()
  return {
    prepare({ argv, env, cwd, stdin, limits }) {
      const plan = planLimits(limits, cgroups)
      const command = {
        argv,
        env: { ...hostEnv, ...env },
        ...(cwd !== undefined && { cwd }),
        ...(stdin !== undefined && { stdin }),
      }
      const words = plan.mode.endsWith('rlimit')
        ? [...rlimitPrefix(plan.byRlimit, tools), resolveProgram(command), ...argv.slice(1)]
        : argv
      return {
        ...inCell(cgroups.open(plan.byCgroup), options),
        command: { ...command, argv: words },
        limitsMode: plan.mode,
      }
    },
    startFailure(exitCode, { stderr }) {
      const message = rlimitFailure(exitCode, stderr)
      if (message === undefined) return undefined
      return { code: exitCode === 127 ? 'ENOENT' : 'LIMITS_UNAVAILABLE', message, isBroken: false }
    },
    reset: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  }
}
