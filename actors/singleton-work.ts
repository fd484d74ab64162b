/** One term of a singleton: its work from the grant of the lease to its end. */
import { describeError } from './errors.ts'
import type { Tenure } from './lease.ts'
import type { Clock, Log } from './ports.ts'
import type { Fence } from './ports-fleet.ts'
import type { TaskLine } from './task.ts'

/** What the work of a singleton is told. */
export interface SingletonContext {
  /** Grows with every leader. */
  epoch: number
  /** Aborted when it no longer leads, or has stopped: end at once, and write nothing any more. */
  signal: AbortSignal
  /** What it writes through this is refused when somebody else leads. */
  fence: Fence
  /**
   * Submit tasks in its name, as one run: envelopes not begun when somebody else leads are
   * refused, and end as `unreached`. Resolves with the id of the run when all are durable.
   * @throws UsageError when one cannot be taken; then none is
   */
  submit(tasks: readonly TaskLine[]): Promise<string>
  log: Log
}

/** Work that has started. Without either of these it goes on until its signal is aborted. */
export interface RunningSingleton {
  /**
   * Called once, however it ends. In order, and when `ended` has settled unasked: it still leads,
   * and the lease is given back when this resolves; the signal is aborted afterwards. Otherwise,
   * such as when the lease is lost, the signal is aborted already, and nobody waits for it.
   */
  stop?(): unknown
  /**
   * Settles when the work is over. Rejected: it has failed, is started again somewhere, and that
   * counts. Resolved although nobody stopped it: the same, unless it may end.
   */
  ended?: Promise<unknown>
}

export interface SingletonDefinition {
  /** Also the name of its lease: 1 to 64 letters, digits, '.', '_' and '-'. */
  name: string
  /**
   * Starts the work, in one place of the whole system; resolves when it works. Heed the signal
   * while starting, too.
   */
  start(context: SingletonContext): RunningSingleton | void | Promise<RunningSingleton | void>
}

export function isSingletonDefinition(value: unknown): value is SingletonDefinition {
  if (typeof value !== 'object' || value === null) return false
  return (
    'name' in value &&
    typeof value.name === 'string' &&
    'start' in value &&
    typeof value.start === 'function'
  )
}

/** The work of one term. */
export interface Work {
  /** Resolves when it works, rejects when it could not be started. */
  readonly started: Promise<void>
  /** How it ends, if it says so. */
  onEnd(listener: (end: { error?: unknown }) => void): void
  /** Stops it in order, and resolves when it has: however long that takes. Never rejects. */
  stop(): Promise<void>
  /** Ends it by its signal and waits for nothing. */
  abandon(): void
}

export interface WorkOptions {
  definition: SingletonDefinition
  tenure: Tenure
  fence: Fence
  submit(tasks: readonly TaskLine[]): Promise<string>
  clock: Pick<Clock, 'breathe'>
  log: Log
}

/** Starts the work of a term. A lost lease ends it, whoever hears of that. */
export function beginWork(options: WorkOptions): Work {
  const { definition, tenure, fence, submit, clock, log } = options
  const { epoch } = tenure.grant
  const over = new AbortController()
  let running: RunningSingleton = {}
  let isWorking = false
  let isStopped = false

  const start = async (): Promise<void> => {
    // Whoever grants the lease is to be through with it first.
    await clock.breathe()
    if (over.signal.aborted) return
    running = (await definition.start({ epoch, signal: over.signal, fence, submit, log })) ?? {}
    // Its end may come before anybody asks for it.
    running.ended?.catch(() => undefined)
    isWorking = true
  }

  /** Lets it know of its end, once, and waits for that. */
  const finish = async (): Promise<void> => {
    if (isStopped) return
    isStopped = true
    const { stop, ended } = running
    try {
      if (stop !== undefined) await stop.call(running)
      else {
        over.abort()
        // However it ends now, it ends because it was told to, or has failed and was heard of.
        await ended?.catch(() => undefined)
      }
    } catch (error) {
      log.warn(
        { error: describeError(error).message },
        'the work of a singleton failed as it stopped',
      )
    }
  }

  const abandon = (): void => {
    over.abort()
    // A start that ends after all has left something to be stopped.
    void started.then(finish, () => undefined)
  }

  const started = start()
  started.catch(() => undefined)
  // Also when its owner is taken out by force, and says nothing any more.
  tenure.signal.addEventListener('abort', abandon, { once: true })

  return {
    started,
    onEnd(listener) {
      running.ended?.then(
        () => listener({}),
        (error: unknown) => listener({ error }),
      )
    },
    async stop() {
      // What has not come to work yet has nothing to finish.
      if (!isWorking) over.abort()
      await started.then(finish, () => undefined)
    },
    abandon,
  }
}
