/** Binds a worker process to the life of an actor: no process outlives its actor. */
import { assign, fromCallback } from 'xstate'
import type { Owned } from '../machines/service.ts'
import {
  type Silence,
  type WorkerProcessEvent,
  type WorkerProcessInput,
  workerProcessMachine,
} from '../machines/worker-process.ts'
import type { DeadLetters, Tell } from './dead-letters.ts'
import { describeError, HungError, MusterError, PoisonedError } from './errors.ts'
import type { Clock, Log, Mailboxes, WorkerProcess, WorkerProcesses } from './ports.ts'
import type { ChildSpec } from './supervisor.ts'

export interface WorkerProcessOptions extends Omit<WorkerProcessInput, 'leaveMs'> {
  name: string
  processes: WorkerProcesses
  mailboxes: Pick<Mailboxes, 'reclaim'>
  /** What it gets to finish what it has at hand, ms. */
  graceMs(): number
  /** Aborted when it is to get no more time. */
  hurry?: AbortSignal
  clock: Clock
  /** Keeps the dead letters of the process. */
  deadLetters: Pick<DeadLetters, 'merge'>
  tell: Tell
  log: Log
}

/** The specification of one life of a worker process. */
export function workerProcess(options: WorkerProcessOptions): ChildSpec {
  const { name, processes, mailboxes, clock, tell, log, silenceMs, reapMs } = options
  let child: WorkerProcess | undefined
  /** All under which it has held messages: what it tells now may be older than its last opening. */
  const holders = new Set<string>()
  let isSuspected = false
  let isAsked = false

  /** Nobody else can have what a dead process held, so nobody has to wait for its locks to end. */
  const giveBack = async () => {
    try {
      const messages = await mailboxes.reclaim([...holders], 'gone')
      if (messages > 0) log.info({ name, messages }, 'messages of a lost process go back')
    } catch (error) {
      // They come back all the same, when their locks have ended.
      log.warn({ name, ...describeError(error) }, 'messages of a lost process cannot go back yet')
    }
  }

  const process = fromCallback<WorkerProcessEvent, Owned>(({ input: { owner } }) => {
    let isGone = false
    const started = processes.start(name, {
      ready: () => tell(owner, { type: 'process.ready' }),
      beat: (heartbeat) => {
        for (const holder of heartbeat.holders) holders.add(holder)
        tell(owner, { type: 'process.beat', ...heartbeat, at: clock.monotonic() })
      },
      holds: (holder) => {
        holders.add(holder)
        tell(owner, { type: 'process.holds', holder })
      },
      suspected: (is) => {
        isSuspected = is
      },
      undelivered: (letters) => options.deadLetters.merge(name, letters),
      failed: (error) => {
        // It ends by itself then, in order.
        isAsked = true
        tell(owner, { type: 'process.failed', error })
      },
      exited: ({ exitCode, signal }) => {
        if (!isGone) {
          isGone = true
          const how = signal === null ? `exit code ${exitCode}` : signal
          const message = `worker process ${started.pid} ended unasked: ${how}`
          const error = isSuspected
            ? new PoisonedError(message)
            : new MusterError('PROCESS_ENDED', message)
          tell(owner, { type: 'process.exited', error })
        }
        // One that was asked to end, and did in order, has handed back what it held. A handler may
        // have ended it with 0 as well.
        if (exitCode !== 0 || !isAsked) void giveBack()
      },
    })
    child = started
    tell(owner, { type: 'process.started', pid: started.pid })
    return () => {
      if (isGone) return
      isGone = true
      started.kill()
    }
  })

  return {
    input: { silenceMs, reapMs, leaveMs: options.graceMs() + reapMs },
    logic: workerProcessMachine.provide({
      actors: { process },
      actions: {
        askToStop: () => {
          isAsked = true
          options.hurry?.addEventListener('abort', () => child?.stop(0), { once: true })
          child?.stop(options.graceMs())
        },
        kill: () => child?.kill(),
        askHowItIs: () => child?.check(),
        recordSilence: assign(({ context }, { was }: Silence) => {
          const silentMs = was === 'killed' ? context.silenceMs : (context.silenceMs * 3) / 4
          const silence = `said nothing for ${silentMs} ms and was ${was}`
          const message = `worker process ${child?.pid} ${silence}`
          return { error: isSuspected ? new PoisonedError(message) : new HungError(message) }
        }),
      },
    }),
  }
}
