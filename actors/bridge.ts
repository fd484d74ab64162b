/**
 * Bridges: what comes on some topics goes on, changed, to others. A bridge is a durable
 * subscription that publishes: its outputs are durable before its message is acknowledged, under
 * ids made of that of the message, so that what a crash makes it publish again can be told.
 */
import { flawOfTopic } from '../machines/topic.ts'
import { describeError, TerminalError, UsageError } from './errors.ts'
import {
  checkName,
  defineSubscription,
  type ReceivedMessage,
  type SubscriptionContext,
  type SubscriptionDefinition,
} from './subscription-work.ts'

/** Several at once, none, or one after the other. */
type Outputs<Output> = Iterable<Output> | AsyncIterable<Output> | undefined

export interface BridgeDefinition<Input, Output>
  extends Pick<SubscriptionDefinition, 'concurrency' | 'attempts' | 'timeoutMs'> {
  /** Also that of its durable group: 1 to 64 letters, digits, '_' and '-'. */
  name: string
  /** The pattern it subscribes to. */
  from: string
  /**
   * The topic that outputs go to, or of each the one it goes to; undefined: nowhere. Default: each
   * output is `{ topic, data }`.
   */
  to?: string | ((output: Output, message: ReceivedMessage) => string | undefined)
  /** Of data; what it throws makes a dead letter at once. Default: as it came. */
  parse?: (data: unknown) => Input
  /** None, one or more outputs of a message, in an array or any other iterable. */
  transform(
    input: Input,
    message: ReceivedMessage,
    context: SubscriptionContext,
  ): Outputs<Output> | Promise<Outputs<Output>>
}

/** @throws UsageError when a name, the pattern, the topic or a number cannot be used */
export function defineBridge<Input = unknown, Output = unknown>(
  definition: BridgeDefinition<Input, Output>,
): SubscriptionDefinition {
  const { name, from, to, parse, transform, concurrency, attempts, timeoutMs } = definition
  checkName('bridge', name)
  const flaw = typeof to === 'string' ? flawOfTopic(to) : undefined
  if (flaw !== undefined) {
    throw new UsageError(`bridge "${name}": to: ${flaw}, got ${JSON.stringify(to)}`, 'TOPIC')
  }
  if (typeof transform !== 'function') {
    const got = `expected a function, got ${typeof transform}`
    throw new UsageError(`bridge "${name}": transform: ${got}`)
  }

  const parsed = (data: unknown): Input => {
    if (parse === undefined) return data as Input
    try {
      return parse(data)
    } catch (error) {
      // The same data would not be understood the next time either.
      const { message } = describeError(error)
      const options = { cause: error, code: 'PARSE' }
      throw new TerminalError(`bridge ${name}: the message cannot be parsed: ${message}`, options)
    }
  }

  const handle: SubscriptionDefinition['handle'] = async (message, context) => {
    const input = parsed(message.data)
    const outputs: Addressed[] = []
    for await (const output of (await transform(input, message, context)) ?? []) {
      if (to === undefined) outputs.push(addressed(name, output))
      else {
        const topic = typeof to === 'function' ? to(output, message) : to
        if (topic !== undefined) outputs.push({ topic, data: output })
      }
    }
    for (const [index, { topic, data }] of outputs.entries()) {
      // Taken away meanwhile: somebody else is at it by now.
      context.signal.throwIfAborted()
      await context.publish(topic, data, { id: `${message.id}~${name}~${index}` })
    }
  }

  return defineSubscription({
    name,
    pattern: from,
    group: name,
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(attempts === undefined ? {} : { attempts }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    handle,
  })
}

interface Addressed {
  topic: string
  data: unknown
}

/** Of a bridge that says nowhere where its outputs go. */
function addressed(bridge: string, output: unknown): Addressed {
  if (typeof output === 'object' && output !== null && 'topic' in output && 'data' in output) {
    const { topic, data } = output
    if (typeof topic === 'string') return { topic, data }
  }
  const message = `bridge ${bridge}: expected outputs { topic, data }, for it has no "to"`
  throw new TerminalError(message, { code: 'BRIDGE_OUTPUT' })
}
