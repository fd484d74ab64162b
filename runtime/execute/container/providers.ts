/** Who makes the sandboxes of this node: of a root, namespaces; of an image, Podman or Docker. */
import { MusterError } from '../../../actors/errors.ts'
import type { Log } from '../../../actors/ports.ts'
import type { Sandbox, SandboxBase, Sandboxes } from '../../../actors/ports-sandbox.ts'
import { Fifos } from '../fifos.ts'
import { containerProgram, dockerSandboxes } from './docker.ts'
import { hostSandboxes } from './host.ts'
import { namespaceSandboxes } from './namespace.ts'
import { becomeOwner, type Owner } from './owner.ts'
import type { ContainerSettings } from './settings.ts'

export class NodeSandboxes implements Sandboxes {
  readonly #settings: ContainerSettings
  readonly #log: Log
  readonly #pipes: Fifos
  readonly #made = new Map<'namespace' | 'docker' | 'host', Sandboxes>()
  #owner: Owner | undefined
  #isClosed = false

  constructor(settings: ContainerSettings, log: Log) {
    this.#settings = settings
    this.#log = log
    this.#pipes = new Fifos({ directory: settings.spillDir, log })
  }

  keyOf(base: SandboxBase): string {
    return this.#of(base).keyOf(base)
  }

  async create(base: SandboxBase): Promise<Sandbox> {
    return this.#of(base).create(base)
  }

  /** For good: nobody would take away what was made after it. */
  async close(): Promise<void> {
    this.#isClosed = true
    const made = [...this.#made.values()]
    this.#made.clear()
    const owner = this.#owner
    this.#owner = undefined
    const closed = await Promise.allSettled(made.map((sandboxes) => sandboxes.close()))
    this.#pipes.close()
    // What could not be taken away is left to be found under this name.
    if (closed.every(({ status }) => status === 'fulfilled')) owner?.release()
    for (const result of closed) if (result.status === 'rejected') throw result.reason
  }

  /** @throws MusterError SANDBOX_UNAVAILABLE when the provider that is set cannot make these */
  #of({ root }: SandboxBase): Sandboxes {
    const { mode, provider, program, scratchBytes, spillDir } = this.#settings
    if (this.#isClosed) throw new MusterError('SANDBOX_UNAVAILABLE', 'containers are closed')
    const log = this.#log
    if (mode === 'host')
      return this.#once('host', () => hostSandboxes({ log, pipes: this.#pipes, spillDir }))
    const suited = root === undefined ? 'docker' : 'namespace'
    if (provider !== 'auto' && provider !== suited) {
      const field = root === undefined ? 'input.image' : 'input.root'
      throw new MusterError(
        'SANDBOX_UNAVAILABLE',
        `${field} needs the provider "${suited}", and worker.containerProvider is "${provider}"`,
      )
    }
    return this.#once(suited, () => {
      this.#owner ??= becomeOwner()
      const common = { owner: this.#owner, log, spillDir }
      return suited === 'docker'
        ? dockerSandboxes({ ...common, program: program ?? containerProgram() })
        : namespaceSandboxes({ ...common, pipes: this.#pipes, scratchBytes })
    })
  }

  #once(name: 'namespace' | 'docker' | 'host', make: () => Sandboxes): Sandboxes {
    const known = this.#made.get(name)
    if (known !== undefined) return known
    const sandboxes = make()
    this.#made.set(name, sandboxes)
    return sandboxes
  }
}
