/** What commands need around them, from the start of their executor to its stop. */
import type { Log } from '../../actors/ports.ts'
import { releaseCgroups, takeCgroups } from './cgroup-search.ts'
import type { Cgroups } from './cgroups.ts'
import { Fifos } from './fifos.ts'
import { type Guardian, guardian } from './guardian.ts'
import type { PipeSource } from './pipes.ts'

export interface Surroundings {
  /** None where no command gets one. */
  cgroups?: Cgroups
  guardian: Guardian
  pipes: PipeSource
  close(): Promise<void>
}

/** @param directory where pipes have their names for a moment */
export async function openSurroundings(
  wanted: 'auto' | 'off' | undefined,
  directory: string,
  log: Log,
): Promise<Surroundings> {
  const cgroups = wanted === 'off' ? undefined : await takeCgroups()
  const bases = cgroups?.bases ?? []
  log.debug({ cgroups: bases }, 'where commands run')
  const watching = guardian(bases, log)
  const pipes = new Fifos({ directory, log })
  return {
    ...(cgroups && { cgroups }),
    guardian: watching,
    pipes,
    async close() {
      pipes.close()
      watching.close()
      if (cgroups !== undefined) await releaseCgroups()
    },
  }
}
