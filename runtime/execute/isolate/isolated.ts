/**
 * Runs handlers in a thread or process of their own. One that hangs, crashes or is given up is
 * ended with what it runs in; the next task gets a new one.
 */
import { describeError, FencedError, UnavailableError } from '../../../actors/errors.ts'
import type { ExecuteContext, Execution, Executor, Log } from '../../../actors/ports.ts'
import type { Fence } from '../../../actors/ports-fleet.ts'
import type { Task } from '../../../actors/task.ts'
import type {
  Call,
  FenceAnswer,
  FenceOperation,
  FromGuest,
  Guest,
  Guests,
  Publication,
} from './call.ts'
import { answerOfPublishing } from './publishing.ts'

export interface IsolatedOptions {
  /** The tasks file that defines the kind: it is loaded again on the far side. */
  file: string
  kind: string
  /** Of one attempt, unless the task says otherwise. */
  timeoutMs: number
  outputBytesMax: number
  log: Log
}

/** To be started, loaded and set up. */
export const startMs = 30_000
/** A handler that was told to stop, or whose time is up, gets so long before it is ended. */
export const endMs = 1000
const timerMsMax = 2 ** 31 - 1 - endMs

export function isolatedExecutor(guests: Guests, options: IsolatedOptions): Executor {
  const running = new Map<Attempt, Promise<Execution>>()
  let isStopping = false
  return {
    async start() {
      isStopping = false
    },
    async stop() {
      isStopping = true
      for (const attempt of running.keys()) attempt.abort()
      await Promise.all(running.values())
      await guests.stop()
    },
    run(task, context) {
      if (isStopping || context.signal.aborted) {
        return failed('ABORTED', 'stopped before it was started', 'start')
      }
      const attempt = new Attempt(guests, options, task, context)
      const execution = attempt.run()
      running.set(attempt, execution)
      void execution.then(() => running.delete(attempt))
      return execution
    },
  }
}

function failed(code: string, message: string, stage: 'run' | 'start'): Execution {
  return { outcome: 'failed', error: { code, message }, stage }
}

class Attempt {
  readonly #guests: Guests
  readonly #options: IsolatedOptions
  readonly #task: Task
  readonly #context: ExecuteContext
  readonly #limitMs: number
  readonly #end = Promise.withResolvers<Execution>()
  #guest: Guest | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #hasBegun = false
  #isAborted = false
  #isOver = false

  constructor(guests: Guests, options: IsolatedOptions, task: Task, context: ExecuteContext) {
    this.#guests = guests
    this.#options = options
    this.#task = task
    this.#context = context
    this.#limitMs = Math.min(task.timeoutMs ?? options.timeoutMs, timerMsMax)
  }

  async run(): Promise<Execution> {
    const onAbort = () => this.abort()
    const { signal } = this.#context
    signal.addEventListener('abort', onAbort, { once: true })
    this.#giveUpAfter(startMs, () => {
      return failed('START_TIMEOUT', `its ${this.#noun} was not up within ${startMs} ms`, 'start')
    })
    try {
      this.#guest = this.#guests.lend({
        hear: (message) => this.#hear(message),
        died: (how) => this.#finish(this.#died(how), true),
      })
      this.#guest.send({ type: 'call', call: this.#call() })
    } catch (error) {
      const { code, message } = describeError(error)
      this.#finish(failed(code, `its ${this.#noun} cannot be started: ${message}`, 'start'), true)
    }
    const execution = await this.#end.promise
    signal.removeEventListener('abort', onAbort)
    return execution
  }

  /** It gets a moment to end by itself. */
  abort(): void {
    if (this.#isOver || this.#isAborted) return
    this.#isAborted = true
    this.#guest?.send({ type: 'abort' })
    this.#giveUpAfter(endMs, () => {
      const message = `stopped before it ended, and its ${this.#noun} with it`
      return failed('ABORTED', message, 'run')
    })
  }

  get #noun(): string {
    return this.#guests.noun
  }

  #died(how: string): Execution {
    const message = `its ${this.#noun} came to an end under it: ${how}`
    return failed('HANDLER_DIED', message, this.#hasBegun ? 'run' : 'start')
  }

  #call(): Call {
    const { file, kind, outputBytesMax } = this.#options
    const { run, seq, attempt, fence } = this.#context
    return {
      file,
      kind,
      run,
      seq,
      attempt,
      outputBytesMax,
      // Said here, so that both sides mean the same limit.
      task: { ...this.#task, timeoutMs: this.#limitMs },
      timeoutMs: this.#limitMs,
      ...(fence !== undefined && { fence: { lease: fence.lease, epoch: fence.epoch } }),
    }
  }

  #hear(message: FromGuest): void {
    const { log } = this.#options
    if (message.type === 'begun') {
      this.#hasBegun = true
      // That it was told to end may have crossed with this: then it does not have all its time.
      if (this.#isAborted) return
      this.#giveUpAfter(this.#limitMs + endMs, () => {
        const limit = `did not end within its limit of ${this.#limitMs} ms`
        const text = `${limit}, and was ended with its ${this.#noun}`
        return { outcome: 'timeout', error: { code: 'TIMEOUT', message: text }, stage: 'run' }
      })
    } else if (message.type === 'logged') log[message.level](message.fields, message.message)
    else if (message.type === 'fence') void this.#ask(message.id, message.operation)
    else if (message.type === 'publish') void this.#publish(message.id, message.publication)
    else if (message.type === 'dying') {
      this.#finish(this.#died(message.how), true)
    } else {
      const { execution } = message
      const isGivenUp = execution.outcome === 'timeout' || execution.error?.code === 'ABORTED'
      // It may still be at it.
      const isDirty = isGivenUp && execution.stage !== 'start'
      this.#finish(execution, isDirty)
    }
  }

  async #ask(id: number, operation: FenceOperation): Promise<void> {
    const answer = await answerOf(this.#context.fence, operation)
    if (!this.#isOver) this.#guest?.send({ type: 'fenced', id, answer })
  }

  async #publish(id: number, publication: Publication): Promise<void> {
    const answer = await answerOfPublishing(this.#context.publish, publication)
    if (!this.#isOver) this.#guest?.send({ type: 'published', id, answer })
  }

  #giveUpAfter(ms: number, executionOf: () => Execution): void {
    if (this.#isOver) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#finish(executionOf(), true), ms)
  }

  #finish(execution: Execution, isDirty: boolean): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#timer)
    if (isDirty) this.#guest?.kill()
    else this.#guest?.release()
    this.#end.resolve(execution)
  }
}

async function answerOf(fence: Fence | undefined, operation: FenceOperation): Promise<FenceAnswer> {
  if (fence === undefined) return { error: { ...noFence, isFenced: false, isAway: false } }
  try {
    if (operation.name === 'get') return { value: await fence.get(operation.key) }
    if (operation.name === 'put') await fence.put(operation.key, operation.value)
    else await fence.check()
    return {}
  } catch (error) {
    const { code, message } = describeError(error)
    const isFenced = error instanceof FencedError
    return { error: { code, message, isFenced, isAway: error instanceof UnavailableError } }
  }
}

const noFence = { code: 'NO_FENCE', message: 'the task was not submitted by a singleton' }
