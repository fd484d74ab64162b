/** Runs calls on the far side: loads the tasks file once, and hands its handlers what they know. */
import {
  describeError,
  FencedError,
  MusterError,
  NotFoundError,
  UnavailableError,
} from '../../../actors/errors.ts'
import type { Executor, Log, LogLevel } from '../../../actors/ports.ts'
import type { Fence, FencingToken } from '../../../actors/ports-fleet.ts'
import type { Publish } from '../../../actors/publisher.ts'
import { readTasksFile } from '../../tasks-file.ts'
import { handlerExecutor } from '../handler.ts'
import type {
  Call,
  FenceAnswer,
  FenceOperation,
  FromGuest,
  PublishAnswer,
  ToGuest,
} from './call.ts'
import { publishOver } from './publishing.ts'

type Tell = (message: FromGuest) => void

/** Of this thread or process: one kind, set up once. */
let loaded: Promise<Executor> | undefined
/** Whom log lines go to now; those of an earlier call that come late go there as well. */
let tellNow: Tell = () => undefined

export async function tearDown(): Promise<void> {
  await (await loaded)?.stop()
}

/** Takes the messages of one call. */
export function guestOf(tell: Tell): (message: ToGuest) => void {
  const stopping = new AbortController()
  const asked = new Map<number, (answer: FenceAnswer) => void>()
  tellNow = tell

  const publishing = new Map<number, (answer: PublishAnswer) => void>()
  let publications = 0
  const publish = publishOver((publication) => {
    publications += 1
    const { promise, resolve } = Promise.withResolvers<PublishAnswer>()
    publishing.set(publications, resolve)
    tell({ type: 'publish', id: publications, publication })
    return promise
  })

  const ask = (operation: FenceOperation): Promise<FenceAnswer> => {
    const id = asked.size === 0 ? 1 : Math.max(...asked.keys()) + 1
    const { promise, resolve } = Promise.withResolvers<FenceAnswer>()
    asked.set(id, resolve)
    tell({ type: 'fence', id, operation })
    return promise
  }

  return (message) => {
    if (message.type === 'call')
      void take(message.call, { signal: stopping.signal, ask, publish, tell })
    else if (message.type === 'abort') stopping.abort()
    else if (message.type === 'fenced') {
      asked.get(message.id)?.(message.answer)
      asked.delete(message.id)
    } else if (message.type === 'published') {
      publishing.get(message.id)?.(message.answer)
      publishing.delete(message.id)
    }
  }
}

interface NearSide {
  signal: AbortSignal
  ask(operation: FenceOperation): Promise<FenceAnswer>
  publish: Publish
  tell: Tell
}

async function take(call: Call, { signal, ask, publish, tell }: NearSide): Promise<void> {
  const { run, seq, kind, attempt, fence } = call
  try {
    loaded ??= load(call, () => tellNow({ type: 'begun' }))
    const executor = await loaded
    if (signal.aborted) {
      const error = { code: 'ABORTED', message: 'stopped before it was started' }
      tell({ type: 'ended', execution: { outcome: 'failed', error, stage: 'start' } })
      return
    }
    const context = { run, seq, kind, attempt, signal, publish }
    const execution = await executor.run(call.task, {
      ...context,
      ...(fence !== undefined && { fence: fenceOver(fence, ask) }),
    })
    tell({ type: 'ended', execution: asJson(execution) })
  } catch (error) {
    // The next call tries again.
    loaded = undefined
    const { code, message } = describeError(error)
    tell({
      type: 'ended',
      execution: { outcome: 'failed', error: { code, message }, stage: 'start' },
    })
  }
}

async function load({ file, kind, timeoutMs, outputBytesMax }: Call, begun: () => void) {
  const { tasks } = await readTasksFile(file)
  const definition = tasks.find((task) => task.kind === kind)
  if (definition === undefined) {
    throw new NotFoundError(`the task file ${file} defines no kind "${kind}" any more`)
  }
  const { run } = definition
  const told: typeof definition = {
    ...definition,
    run(input, context) {
      begun()
      return run.call(definition, input, context)
    },
  }
  return handlerExecutor(told, { timeoutMs, outputBytesMax, log: farLog })
}

/** What cannot be said in JSON is not said: the same as in an output. */
function asJson<Value>(value: Value): Value {
  return JSON.parse(JSON.stringify(value)) as Value
}

const farLog: Log = Object.fromEntries(
  (['debug', 'info', 'warn', 'error'] as const).map((level: LogLevel) => [
    level,
    (fields: Record<string, unknown>, message: string) => {
      tellNow({ type: 'logged', level, fields: speakable(fields), message })
    },
  ]),
) as Log

function speakable(fields: Record<string, unknown>): Record<string, unknown> {
  try {
    const text = JSON.stringify(fields, (_name, value: unknown) =>
      value instanceof Error ? describeError(value) : value,
    )
    return JSON.parse(text ?? '{}') as Record<string, unknown>
  } catch (error) {
    return { fields: `not to be said in JSON: ${describeError(error).message}` }
  }
}

/** What Redis says is asked on the near side; what was refused once is refused here at once. */
function fenceOver(
  { lease, epoch }: FencingToken,
  ask: (operation: FenceOperation) => Promise<FenceAnswer>,
): Fence {
  let refusal: FencedError | undefined
  const assert = () => {
    if (refusal !== undefined) throw refusal
  }
  const pass = async (operation: FenceOperation): Promise<string | undefined> => {
    assert()
    const answer = await ask(operation)
    if (!('error' in answer)) return answer.value
    const { code, message, isFenced, isAway } = answer.error
    if (isFenced) {
      refusal = new FencedError(lease, epoch, message)
      throw refusal
    }
    throw isAway ? new UnavailableError(message, { code }) : new MusterError(code, message)
  }
  return {
    lease,
    epoch,
    assert,
    get: (key) => pass({ name: 'get', key }),
    put: async (key, value) => void (await pass({ name: 'put', key, value })),
    check: async () => void (await pass({ name: 'check' })),
  }
}
