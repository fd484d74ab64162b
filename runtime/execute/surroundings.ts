/** What commands need around them, from the start of their executor to its stop. */
import type { Log } from '../../actors/ports.ts'
import { releaseCgroups, takeCgroups } from './cgroup-search.ts'
import type { Cgroups } from './cgroups.ts'
import { type Guardian, guardian } from './guardian.ts'
import type { PipeSource } from './pipes.ts'

export interface Surroundings {
  /** None where no command gets one. */
  cgroups?: Cgroups
  guardian: Guardian
  /** None where each command gets pipes of its own. */
  pipes?: PipeSource
  close(): Promise<void>
}

export async function openSurroundings(
  wanted: 'auto' | 'off' | undefined,
  log: Log,
): Promise<Surroundings> {
  const cgroups = wanted === 'off' ? undefined : await takeCgroups()
  const bases = cgroups?.bases ?? []
  log.debug({ cgroups: bases }, 'where commands run')
  const watching = guardian(bases, log)
  return {
    ...(cgroups && { cgroups }),
    guardian: watching,
    async close() {
      watching.close()
      if (cgroups !== undefined) await releaseCgroups()
    },
  }
}
