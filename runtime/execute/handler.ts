/** Runs a handler (a TaskDefinition) in this process, on its event loop. */
import { describeError, UnavailableError } from '../../actors/errors.ts'
import type { TaskContext, TaskDefinition } from '../../actors/kind.ts'
import type { ExecuteContext, Execution, Executor, Log } from '../../actors/ports.ts'
import type { Fence } from '../../actors/ports-fleet.ts'
import type { Publish } from '../../actors/publisher.ts'
import type { Task } from '../../actors/task.ts'
import { builtInHandlers } from './built-in.ts'
import { inNameOf } from './stray-errors.ts'

/** A timer set for longer fires at once. */
const timerMsMax = 2 ** 31 - 1

export interface HandlerLimits {
  timeoutMs: number
  outputBytesMax: number
  log: Log
}

export function handlerExecutor(definition: TaskDefinition, limits: HandlerLimits): Executor {
  const inputOf = inputReader(definition)
  const life = new Life(definition, limits.log)
  const handle = (input: unknown, context: TaskContext) => definition.run(input, context)
  // The built-in ones leave nothing behind.
  const start: typeof handle = builtInHandlers.includes(definition)
    ? handle
    : (input, context) => inNameOf(definition.kind, handle, input, context)
  return {
    async start() {},
    stop: () => life.end(),
    run(task, context) {
      return life.isSetUp ? run(task, context) : life.begin().then((no) => no ?? run(task, context))
    },
  }

  function run(task: Task, context: ExecuteContext): Execution | Promise<Execution> {
    const handlerContext = new HandlerContext(context, limits.log)
    let input: unknown
    try {
      input = inputOf(task)
    } catch (error) {
      const message = `the input does not fit its kind here: ${errorOf(error).message}`
      return { outcome: 'failed', error: { code: 'INPUT', message }, stage: 'terminal' }
    }
    try {
      const output = start(input, handlerContext)
      if (isThenable(output)) return waitFor(output, definition, task, handlerContext, limits)
      return finished(output, limits.outputBytesMax)
    } catch (error) {
      return threw(error)
    }
  }
}

const nowhere: Publish = () =>
  Promise.reject(new UnavailableError('expected a node, to publish to topics; there is none here'))

/** What is done once, before the first task and after the last. */
class Life {
  isSetUp: boolean
  readonly #definition: TaskDefinition
  readonly #log: Log
  #beginning: Promise<Execution | undefined> | undefined

  constructor(definition: TaskDefinition, log: Log) {
    this.#definition = definition
    this.#log = log
    this.isSetUp = definition.setup === undefined && definition.teardown === undefined
  }

  /** @returns how the task fails that cannot begin */
  begin(): Promise<Execution | undefined> {
    if (this.#beginning !== undefined) return this.#beginning
    const beginning = this.#begin()
    this.#beginning = beginning
    void beginning.then((failure) => {
      // The next task tries again.
      if (failure !== undefined) this.#beginning = undefined
    })
    return beginning
  }

  async #begin(): Promise<Execution | undefined> {
    try {
      await inNameOf(this.#definition.kind, () => this.#definition.setup?.())
      this.isSetUp = true
      return undefined
    } catch (error) {
      const { code, message } = errorOf(error)
      return { outcome: 'failed', error: { code, message: `setup: ${message}` }, stage: 'start' }
    }
  }

  async end(): Promise<void> {
    if (this.#beginning === undefined || (await this.#beginning) !== undefined) return
    this.#beginning = undefined
    this.isSetUp = false
    try {
      await inNameOf(this.#definition.kind, () => this.#definition.teardown?.())
    } catch (error) {
      this.#log.warn(errorOf(error), 'the teardown of a kind failed')
    }
  }
}

/** Where no input means an empty one, and stays that, there is nothing to be checked each time. */
function inputReader({ input }: TaskDefinition): (task: Task) => unknown {
  let staysEmpty: boolean | undefined
  return (task) => {
    if (task.input !== undefined) return input.parse(task.input)
    if (staysEmpty === true) return {}
    const read = input.parse({})
    staysEmpty ??= isEmptyObject(read)
    return read
  }
}

function isEmptyObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Object.getPrototypeOf(value) === Object.prototype && Reflect.ownKeys(value).length === 0
}

/** The signal is made only for handlers that look at it, or that are still busy. */
class HandlerContext implements TaskContext {
  readonly run: string
  readonly seq: number
  readonly attempt: number
  readonly log: Log
  readonly fence?: Fence
  readonly publish: Publish
  readonly outer: AbortSignal
  #controller: AbortController | undefined

  constructor(context: ExecuteContext, log: Log) {
    this.run = context.run
    this.seq = context.seq
    this.attempt = context.attempt
    this.log = log
    if (context.fence !== undefined) this.fence = context.fence
    this.publish = context.publish ?? nowhere
    this.outer = context.signal
  }

  get controller(): AbortController {
    this.#controller ??= new AbortController()
    return this.#controller
  }

  get signal(): AbortSignal {
    return this.controller.signal
  }
}

async function waitFor(
  output: PromiseLike<unknown>,
  definition: TaskDefinition,
  task: Task,
  context: HandlerContext,
  limits: HandlerLimits,
): Promise<Execution> {
  const wantedMs = task.timeoutMs ?? definition.timeoutMs ?? limits.timeoutMs
  const limitMs = Math.min(wantedMs, timerMsMax)
  const end = Promise.withResolvers<Execution>()
  const stop = (execution: Execution) => {
    end.resolve(execution)
    context.controller.abort(new Error(execution.error?.message))
  }
  const timer = setTimeout(() => {
    const message = `did not end within its limit of ${limitMs} ms`
    stop({ outcome: 'timeout', error: { code: 'TIMEOUT', message }, stage: 'run' })
  }, limitMs)
  const onAbort = () => {
    const message = 'stopped before it ended'
    stop({ outcome: 'failed', error: { code: 'ABORTED', message }, stage: 'run' })
  }
  if (context.outer.aborted) onAbort()
  context.outer.addEventListener('abort', onAbort, { once: true })
  Promise.resolve(output).then(
    (value) => end.resolve(finished(value, limits.outputBytesMax)),
    (error: unknown) => end.resolve(threw(error)),
  )
  const execution = await end.promise
  clearTimeout(timer)
  context.outer.removeEventListener('abort', onAbort)
  return execution
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' || value === null || !('then' in value)) return false
  return typeof value.then === 'function'
}

/** An output has to travel and be stored as JSON: what cannot is a fault of the handler. */
function finished(output: unknown, outputBytesMax: number): Execution {
  if (output === undefined) return { outcome: 'ok' }
  if (output === null || typeof output === 'boolean' || typeof output === 'number') {
    return { outcome: 'ok', output }
  }
  let text: string | undefined
  try {
    text = typeof output === 'string' ? output : JSON.stringify(output)
  } catch (error) {
    return unfit(`its output is not JSON: ${errorOf(error).message}`)
  }
  if (text === undefined) return unfit(`its output is not JSON: a ${typeof output}`)
  // A character of a string takes up to three bytes.
  const bytes = text.length * 3 > outputBytesMax ? Buffer.byteLength(text) : 0
  if (bytes > outputBytesMax) {
    return unfit(`its output has ${bytes} bytes; at most ${outputBytesMax} are kept`)
  }
  return { outcome: 'ok', output }
}

function unfit(message: string): Execution {
  return { outcome: 'failed', error: { code: 'OUTPUT', message }, stage: 'terminal' }
}

function threw(error: unknown): Execution {
  // By name, not by class: a handler may throw the TerminalError of another copy of the library.
  const terminal = error instanceof Error && error.name === 'TerminalError'
  return { outcome: 'failed', error: errorOf(error), stage: terminal ? 'terminal' : 'run' }
}

/** A handler may throw what cannot even be put into words. */
function errorOf(error: unknown): { code: string; message: string } {
  try {
    return describeError(error)
  } catch {
    return { code: 'Error', message: 'threw something that has no text' }
  }
}
