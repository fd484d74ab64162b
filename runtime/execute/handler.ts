/** Runs a handler (a TaskDefinition) in this process, on its event loop. */
import { describeError } from '../../actors/errors.ts'
import type { TaskContext, TaskDefinition } from '../../actors/kind.ts'
import type { ExecuteContext, Execution, Executor, Log } from '../../actors/ports.ts'
import type { Task } from '../../actors/task.ts'

export interface HandlerLimits {
  timeoutMs: number
  outputBytesMax: number
  log: Log
}

export function handlerExecutor(definition: TaskDefinition, limits: HandlerLimits): Executor {
  return {
    async start() {},
    async stop() {},
    run(task, context) {
      const handlerContext = new HandlerContext(context, limits.log)
      try {
        const input = definition.input.parse(task.input ?? {})
        const output = definition.run(input, handlerContext)
        if (isThenable(output)) return waitFor(output, definition, task, handlerContext, limits)
        return finished(output, limits.outputBytesMax)
      } catch (error) {
        return threw(error)
      }
    },
  }
}

/** The signal is made only for handlers that look at it, or that are still busy. */
class HandlerContext implements TaskContext {
  readonly run: string
  readonly seq: number
  readonly attempt: number
  readonly log: Log
  readonly outer: AbortSignal
  #controller: AbortController | undefined

  constructor(context: ExecuteContext, log: Log) {
    this.run = context.run
    this.seq = context.seq
    this.attempt = context.attempt
    this.log = log
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
  const limitMs = task.timeoutMs ?? definition.timeoutMs ?? limits.timeoutMs
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
  output.then(
    (value) => end.resolve(finished(value, limits.outputBytesMax)),
    (error: unknown) => end.resolve(threw(error)),
  )
  const execution = await end.promise
  clearTimeout(timer)
  context.outer.removeEventListener('abort', onAbort)
  return execution
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value
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
    return unfit(`its output is not JSON: ${describeError(error).message}`)
  }
  if (text === undefined) return unfit(`its output is not JSON: a ${typeof output}`)
  if (text.length > outputBytesMax) {
    return unfit(`its output has ${text.length} bytes; at most ${outputBytesMax} are kept`)
  }
  return { outcome: 'ok', output }
}

function unfit(message: string): Execution {
  return { outcome: 'failed', error: { code: 'OUTPUT', message }, stage: 'terminal' }
}

function threw(error: unknown): Execution {
  if (error instanceof Error && (error.name === 'ZodError' || error.name === '$ZodError')) {
    const message = `the input does not fit its kind here: ${error.message}`
    return { outcome: 'failed', error: { code: 'INPUT', message }, stage: 'terminal' }
  }
  // By name, not by class: a handler may throw the TerminalError of another copy of the library.
  const terminal = error instanceof Error && error.name === 'TerminalError'
  return { outcome: 'failed', error: describeError(error), stage: terminal ? 'terminal' : 'run' }
}
