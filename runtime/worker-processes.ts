/**
 * The worker processes port: the same program once more, as a child that hears from its node over a
 * channel of its own, and ends when that is gone.
 */
import { fileURLToPath } from 'node:url'
import type { DeadLetter } from '../actors/dead-letters.ts'
import { describeError, MusterError, UnavailableError } from '../actors/errors.ts'
import type {
  Heartbeat,
  Log,
  LogLevel,
  WorkerProcesses,
  WorkerProcessListener,
} from '../actors/ports.ts'
import type { Throttle } from '../actors/throttle.ts'
import type { Config } from '../config/schema.ts'
import { signalName } from './execute/processes.ts'
import type { Counted, Inlet } from './telemetry/telemetry.ts'

/** What a worker process has to know, and what it is told. */
export interface WorkerAssignment {
  /** Its own name; the node's is `config.node.id`. */
  name: string
  /** The id under which others know the node. */
  member: string
  config: Config
  dataDir: string
  tasksFiles: readonly string[]
}

export type ToWorker =
  | ({ type: 'assignment' } & WorkerAssignment)
  | { type: 'stop'; graceMs: number }
  /** It has been silent: how is it? */
  | { type: 'check' }
  /** With what share of its concurrency it works from now on. */
  | { type: 'share'; share: number }

export type FromWorker =
  | { type: 'ready' }
  | ({ type: 'beat' } & Heartbeat)
  | { type: 'holds'; holder: string }
  | { type: 'suspected'; isSuspected: boolean }
  | { type: 'undelivered'; letters: DeadLetter[] }
  | ({ type: 'counted' } & Counted)
  | { type: 'logged'; lines: [level: LogLevel, text: string][] }
  | { type: 'failed'; code: string; message: string; isAway: boolean }

export interface WorkerProcessesOptions extends Omit<WorkerAssignment, 'name'> {
  node: string
  /** For what each life of a process counts. */
  inlet(): Inlet
  /** Takes a line of their logs. */
  logged(level: LogLevel, text: string): void
  throttle: Throttle
  log: Log
}

const program = fileURLToPath(new URL('./worker-main.ts', import.meta.url))

export function bunWorkerProcesses(options: WorkerProcessesOptions): WorkerProcesses {
  const { node, member, config, dataDir, tasksFiles, throttle, log } = options
  return {
    start(name, listener) {
      const inlet = options.inlet()
      const unlisten = throttle.listen((share) => tell({ type: 'share', share }))
      const child = Bun.spawn([process.execPath, '--no-install', program], {
        argv0: `muster-worker ${node}/${name}`,
        // Of its own session: a Ctrl-C at the terminal is for the node, which tells it to stop.
        detached: true,
        stdio: ['ignore', 'inherit', 'inherit'],
        serialization: 'json',
        ipc: (message: FromWorker) => {
          if (message.type !== 'logged') hear(message, listener, inlet)
          else for (const [level, text] of message.lines) options.logged(level, text)
        },
        onExit: (_child, exitCode, signal) => {
          unlisten()
          inlet.end()
          listener.exited({ exitCode, signal: signal === null ? null : signalName(signal) })
        },
      })
      const tell = (message: ToWorker) => {
        try {
          child.send(message)
        } catch (error) {
          // It is on its way out; its end is told by itself.
          log.debug({ name, ...describeError(error) }, 'a worker process cannot be told')
        }
      }
      const own = { ...config, node: { ...config.node, id: node } }
      tell({ type: 'assignment', name, member, config: own, dataDir, tasksFiles })
      tell({ type: 'share', share: throttle.share })
      return {
        pid: child.pid,
        stop: (graceMs) => tell({ type: 'stop', graceMs }),
        check: () => tell({ type: 'check' }),
        kill: () => child.kill('SIGKILL'),
      }
    },
  }
}

type Heard = Exclude<FromWorker, { type: 'logged' }>

function hear(message: Heard, listener: WorkerProcessListener, inlet: Inlet): void {
  if (message.type === 'ready') listener.ready()
  else if (message.type === 'counted') inlet.merge(message)
  else if (message.type === 'beat') {
    const { tree, holders, load } = message
    listener.beat({ tree, holders, load })
  } else if (message.type === 'holds') listener.holds(message.holder)
  else if (message.type === 'suspected') listener.suspected(message.isSuspected)
  else if (message.type === 'undelivered') listener.undelivered(message.letters)
  else listener.failed(errorOf(message))
}

function errorOf({ code, message, isAway }: Extract<FromWorker, { type: 'failed' }>): MusterError {
  if (isAway) return new UnavailableError(message, { code })
  return new MusterError(code, message)
}
