/** What containers are run with, resolved from `[worker]`; and where their owners leave word. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The directory of all owners of this user: one directory for each process that has containers. */
export function ownersDirectory(): string {
  return join(tmpdir(), `muster-sandboxes-${process.getuid?.() ?? 0}`)
}

export interface ContainerSettings {
  mode: 'pooled' | 'ephemeral' | 'host'
  provider: 'auto' | 'namespace' | 'docker'
  /** Podman or Docker; undefined: what is there. */
  program: string | undefined
  slots: number
  checkoutMs: number
  /** Containers made a second at most, where each is made for one task. */
  ephemeralRate: number
  scratchBytes: number
  softKillMs: number
  hardKillMs: number
  outputBytesMax: number
  spillDir: string
}
