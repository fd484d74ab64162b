/** Guests in processes of their own: what a handler does to its process costs only its own task. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describeError } from '../../../actors/errors.ts'
import type { Log } from '../../../actors/ports.ts'
import { signalName } from '../processes.ts'
import type { FromGuest, Guests, Listener, ToGuest } from './call.ts'

export interface ProcessGuestsOptions {
  kind: string
  /** A process that takes more memory than this is ended; 0 is no limit. */
  memoryBytesMax: number
  log: Log
}

const program = fileURLToPath(new URL('./guest-process.ts', import.meta.url))
const stderr = 2
const idleMs = 30_000
const stopMs = 2000
const lookMs = 250
const pageBytes = 4096
/** When memory is short, the kernel is to take a handler's process, and not the node's. */
const oomScore = '500'

/** A process, and who listens to it now. */
class Child {
  listener: Listener | undefined
  idleSince = 0
  /** Why it is ended from here. */
  reason: string | undefined
  readonly process: Bun.Subprocess<'ignore', number, 'inherit'>

  constructor(kind: string, ended: (child: Child) => void) {
    this.process = Bun.spawn([process.execPath, '--no-install', program], {
      argv0: `muster-handler ${kind}`,
      // As it is now; by default it would be what it was at the start.
      env: process.env,
      // Of its own session: a Ctrl-C at the terminal is for the node.
      detached: true,
      // What it prints is for people.
      stdio: ['ignore', stderr, 'inherit'],
      serialization: 'json',
      ipc: (message: FromGuest) => this.listener?.hear(message),
      onExit: (_child, exitCode, signal) => {
        const how = signal === null ? `with code ${exitCode}` : `by ${signalName(signal)}`
        const { listener, reason } = this
        this.listener = undefined
        ended(this)
        listener?.died(reason ?? `it ended ${how}`)
      },
    })
  }

  send(message: ToGuest): void {
    try {
      this.process.send(message)
    } catch {
      // It is on its way out; its end is told by itself.
    }
  }

  kill(): void {
    this.listener = undefined
    this.killTree()
  }

  /** Who it has started, too, as far as they are of its group. */
  killTree(): void {
    try {
      process.kill(-this.process.pid, 'SIGKILL')
    } catch {
      this.process.kill('SIGKILL')
    }
  }
}

export function processGuests({ kind, memoryBytesMax, log }: ProcessGuestsOptions): Guests {
  const idle: Child[] = []
  const all = new Set<Child>()
  let looking: ReturnType<typeof setInterval> | undefined

  const look = () => {
    for (const child of all) {
      if (child.listener === undefined) continue
      const bytes = memoryBytesMax === 0 ? 0 : residentBytes(child.process.pid)
      if (bytes <= memoryBytesMax) continue
      const limit = `worker.handlerMemoryMax is ${memoryBytesMax}`
      child.reason = `it took ${bytes} bytes of memory; ${limit}`
      child.killTree()
    }
    const oldest = performance.now() - idleMs
    while (idle[0] !== undefined && idle[0].idleSince < oldest) idle.shift()?.send({ type: 'stop' })
  }

  const start = () => {
    const child = new Child(kind, (ended) => {
      all.delete(ended)
      const at = idle.indexOf(ended)
      if (at >= 0) idle.splice(at, 1)
      if (all.size > 0) return
      clearInterval(looking)
      looking = undefined
    })
    all.add(child)
    looking ??= setInterval(look, lookMs)
    try {
      if (process.platform === 'linux') {
        writeFileSync(`/proc/${child.process.pid}/oom_score_adj`, oomScore)
      }
    } catch (error) {
      log.debug({ kind, ...describeError(error) }, 'a handler process is like any other in need')
    }
    return child
  }

  return {
    noun: 'process',
    lend(listener) {
      const child = idle.pop() ?? start()
      child.listener = listener
      return {
        send: (message) => child.send(message),
        release() {
          child.listener = undefined
          if (!all.has(child)) return
          child.send({ type: 'release' })
          child.idleSince = performance.now()
          idle.push(child)
        },
        kill: () => child.kill(),
      }
    },
    async stop() {
      const left = [...all]
      idle.length = 0
      for (const child of left) child.send({ type: 'stop' })
      const timer = setTimeout(() => {
        for (const child of left) child.killTree()
      }, stopMs)
      await Promise.all(left.map((child) => child.process.exited))
      clearTimeout(timer)
    },
  }
}

/** 0 where the system does not say. */
function residentBytes(pid: number): number {
  try {
    const pages = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]
    return Number(pages ?? 0) * pageBytes
  } catch {
    // It has ended meanwhile, or this is no Linux.
    return 0
  }
}
