/**
 * Sandboxes of an image, by the command line of Podman or Docker. A container is started ahead and
 * waits; a program is run in it by `exec`, and a reset is another container in its place. An image
 * without `sleep` cannot wait: there a container is made for each program.
 */
import { MusterError } from '../../../actors/errors.ts'
import type { Log } from '../../../actors/ports.ts'
import type {
  Sandbox,
  SandboxBase,
  Sandboxes,
  SandboxFailure,
  SandboxOutput,
  SandboxProgram,
  SandboxWork,
} from '../../../actors/ports-sandbox.ts'
import type { KillSignal } from '../../../machines/subprocess.ts'
import { bunProcesses } from '../processes.ts'
import { type Owner, ownerLabel } from './owner.ts'
import { ownEnvironment, runTool } from './tool.ts'

export interface DockerOptions {
  owner: Owner
  /** Podman or Docker, or what behaves like it. */
  program: string
  /** Where what a program is to read is put for a moment. */
  spillDir?: string
  log: Log
}

/** A container is started, or removed, within so long, or it has failed. */
const toolMs = 60_000
const waiting = ['sleep', '2147483647']
const noSleep = /executable file .?sleep.? not found|"?sleep"?: (no such file|not found)/i
const noImage = /no such image|image not known|does not resolve to an image|unable to find image/i
const noPermission = /permission denied|(cannot|unable to) connect|connection refused|no such host/i

/** Of this process: a name is not used again while its last bearer may still be there. */
let made = 0

export function dockerSandboxes({ owner, program, log }: DockerOptions): Sandboxes {
  const containers = new Set<Container>()
  return {
    keyOf: ({ image, network, limits }) =>
      ['image', image, network, limits.memoryBytes, limits.cpuSeconds, limits.pids].join(' '),
    async create(base) {
      if (Bun.which(program) === null) throw absent(program)
      // Before the first: it has to be found when this process is killed.
      owner.uses(program)
      made += 1
      const name = `muster-${owner.name}-${made}`
      const container = new Container({ owner, program, log, base, name })
      containers.add(container)
      try {
        await container.begin()
      } catch (error) {
        containers.delete(container)
        throw error
      }
      return container.sandbox(() => containers.delete(container))
    },
    async close() {
      const left = [...containers]
      containers.clear()
      await Promise.all(left.map((container) => container.end()))
    },
  }
}

function absent(program: string): MusterError {
  return new MusterError(
    'SANDBOX_UNAVAILABLE',
    `containers of an image need "${program}", which is not in PATH: install Podman or Docker, ` +
      'or give input.root in place of input.image',
  )
}

interface ContainerOptions extends DockerOptions {
  base: SandboxBase
  name: string
}

/** As Podman and Docker tell of it. */
interface HeldLimits {
  Memory?: number
  PidsLimit?: number
  Cgroups?: string
}

class Container {
  readonly #options: ContainerOptions
  /** It cannot wait: it is made for each program. */
  #isCold = false
  #isOver = false
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: ContainerOptions) {
    this.#options = options
  }

  sandbox(gone: () => void): Sandbox {
    return {
      prepare: (work) => this.#prepare(work),
      startFailure,
      reset: () =>
        this.#inTurn(async () => {
          await this.#remove()
          if (!this.#isOver) await this.#start()
        }),
      destroy: async () => {
        await this.end()
        gone()
      },
    }
  }

  begin(): Promise<void> {
    return this.#inTurn(() => this.#start())
  }

  /** Removes it for good, after what is done with it now. */
  end(): Promise<void> {
    this.#isOver = true
    return this.#inTurn(() => this.#remove())
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => undefined)
    return done
  }

  /** @throws MusterError BASE_MISSING, SANDBOX_UNAVAILABLE */
  async #start(): Promise<void> {
    if (this.#isCold) return
    const { base, log } = this.#options
    const [program = '', ...seconds] = waiting
    const failure = await this.#run([
      'run',
      '--detach',
      ...this.#settings(),
      '--entrypoint',
      program,
      base.image ?? '',
      ...seconds,
    ])
    if (failure === undefined) return this.#checkLimits()
    const isCold = noSleep.test(failure)
    // Made it was, with all its settings; and it is the only one that waits to be asked.
    if (isCold) await this.#checkLimits()
    await this.#remove()
    if (isCold) {
      this.#isCold = true
      log.warn(
        { image: base.image },
        'there is no "sleep" in this image: a container is made for each of its tasks',
      )
      return
    }
    throw this.#errorOf(failure)
  }

  /** Some take limits that they then do not hold. */
  async #checkLimits(): Promise<void> {
    const { base, name, program, log } = this.#options
    const { memoryBytes, pids } = base.limits
    if ((memoryBytes ?? pids) === undefined) return
    const words = ['inspect', '--format', '{{json .HostConfig}}', name]
    const { stdout, failure } = await runTool([program, ...words], log, toolMs)
    const held = failure === undefined ? (JSON.parse(stdout) as HeldLimits) : {}
    const isHeld =
      held.Cgroups !== 'disabled' &&
      (memoryBytes === undefined || held.Memory === memoryBytes) &&
      (pids === undefined || held.PidsLimit === pids)
    if (isHeld) return
    await this.#remove()
    throw new MusterError(
      'LIMITS_UNAVAILABLE',
      `the task sets limits that ${program} does not hold here: let it use cgroups, ` +
        'or leave memoryBytes and pids out of input.limits',
    )
  }

  async #remove(): Promise<void> {
    const { name } = this.#options
    const failure = await this.#run(['rm', '--force', name])
    if (failure !== undefined && !/no such container|no container with name/i.test(failure)) {
      throw this.#errorOf(failure)
    }
  }

  #settings(): string[] {
    const { owner, name, base } = this.#options
    const { memoryBytes, pids, cpuSeconds } = base.limits
    return [
      '--name',
      name,
      '--label',
      `${ownerLabel}=${owner.name}`,
      '--network',
      base.network,
      '--pull',
      'never',
      '--stop-timeout',
      '0',
      ...memoryWords(memoryBytes),
      ...(pids === undefined ? [] : ['--pids-limit', `${pids}`]),
      ...(cpuSeconds === undefined ? [] : ['--ulimit', `cpu=${cpuSeconds}:${cpuSeconds + 1}`]),
    ]
  }

  #prepare(work: SandboxWork): SandboxProgram {
    const { program, name, base, log, spillDir } = this.#options
    const { env, words } = environmentOf(work)
    const how = [
      ...(work.stdin === undefined ? [] : ['--interactive']),
      ...words,
      ...(work.cwd === undefined ? [] : ['--workdir', work.cwd]),
    ]
    const [first = '', ...rest] = work.argv
    const argv = this.#isCold
      ? [program, 'run', '--rm', ...this.#settings(), ...how, '--entrypoint', first]
      : [program, 'exec', ...how, name, first]
    if (this.#isCold) argv.push(base.image ?? '')
    argv.push(...rest)
    const processes = bunProcesses({ log, spillDir })
    const { stdin } = work
    const limits = Object.keys(work.limits).filter((limit) => limit !== 'outputBytes')
    return {
      command: { argv, env, ...(stdin !== undefined && { stdin }) },
      limitsMode: limits.length === 0 ? 'none' : 'container',
      processes: {
        spawn: (command, listener) => {
          let isExited = false
          const client = processes.spawn(command, {
            ...listener,
            exited(exit) {
              isExited = true
              listener.exited(exit)
            },
          })
          return {
            ...client,
            kill: (signal) => {
              // What an ended program leaves behind goes with the container.
              if (!isExited) this.#kill(signal)
              if (signal === 'SIGKILL') client.kill(signal)
            },
          }
        },
      },
      close: () => ({ isOutOfMemory: undefined }),
    }
  }

  /** SIGKILL ends the container; SIGTERM is told to all in it but the one that waits. */
  #kill(signal: KillSignal): void {
    const { name, log } = this.#options
    const argv =
      signal === 'SIGKILL' || this.#isCold
        ? ['kill', '--signal', signal, name]
        : ['exec', name, 'kill', '-TERM', '-1']
    void this.#run(argv).then((failure) => {
      if (failure !== undefined) log.debug({ name, signal, failure }, 'a signal was not taken')
    })
  }

  async #run(words: readonly string[]): Promise<string | undefined> {
    const { program, log } = this.#options
    return (await runTool([program, ...words], log, toolMs)).failure
  }

  #errorOf(failure: string): MusterError {
    const { program, base } = this.#options
    if (noImage.test(failure)) {
      return new MusterError(
        'BASE_MISSING',
        `input.image: ${program} has no image ${base.image} on this node (${failure}); ` +
          `pull it first: ${program} pull ${base.image}`,
      )
    }
    const help = noPermission.test(failure)
      ? `; check that this user may use ${program}: ${program} ps`
      : ''
    return new MusterError('SANDBOX_UNAVAILABLE', `${failure}${help}`)
  }
}

/** Without the second word as much again may be swapped out. */
function memoryWords(bytes: number | undefined): string[] {
  return bytes === undefined ? [] : ['--memory', `${bytes}b`, '--memory-swap', `${bytes}b`]
}

/**
 * Through the environment, where no other user of the machine can read it; but what the tool itself
 * reads there stays its own.
 */
function environmentOf({ env: given }: SandboxWork): {
  env: Record<string, string>
  words: string[]
} {
  const env = ownEnvironment()
  const words: string[] = []
  for (const [name, value] of Object.entries(given)) {
    const isTools = name in env || /^(LD_|GLIBC_|MALLOC_|DOCKER_|CONTAINER|XDG_|GO)/.test(name)
    if (!isTools) env[name] = value
    words.push('--env', isTools ? `${name}=${value}` : name)
  }
  return { env, words }
}

/**
 * 125: the tool itself, unless it was the program, whose words and code come through as they are;
 * 126 and 127: the program is not there, or is none.
 */
function startFailure(exitCode: number | null, output: SandboxOutput): SandboxFailure | undefined {
  const [line = ''] = output.stderr.trimEnd().split('\n').slice(-1)
  if (exitCode === 125 && output.stdoutBytes === 0 && toolsOwn.test(line)) {
    return { code: 'SANDBOX', message: line, isBroken: true }
  }
  if (exitCode !== 126 && exitCode !== 127) return undefined
  if (!/OCI runtime|executable file|crun:|runc/.test(line)) return undefined
  const code = exitCode === 127 ? 'ENOENT' : 'EACCES'
  return { code, message: `cannot start in the container: ${line}`, isBroken: false }
}

const toolsOwn =
  /^(Error: |Error response from daemon|error during connect|Cannot connect|docker: )/

/** The program that is there, Podman first: it needs no daemon. */
export function containerProgram(): string {
  return ['podman', 'docker'].find((name) => Bun.which(name) !== null) ?? 'podman'
}
