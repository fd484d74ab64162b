/** What a subscription does with a message, as its users declare it. */
import { flawOfPattern } from '../machines/topic.ts'
import { UsageError } from './errors.ts'
import type { Log } from './ports.ts'
import type { Publish } from './publisher.ts'

/** A message as it is handed to whoever handles it. */
export interface ReceivedMessage {
  /** The same however often it is delivered: what must not be done twice is known by it. */
  id: string
  topic: string
  data: unknown
  /** Epoch ms at which it was published. */
  at: number
}

export interface SubscriptionContext {
  /** 1 is the first try; always 1 without a group. */
  attempt: number
  /** Aborted when the time is up, or the message is taken away. */
  signal: AbortSignal
  /** What is published before the handler ends is durable before the message is acknowledged. */
  publish: Publish
  log: Log
}

export interface SubscriptionDefinition {
  /** 1 to 64 letters, digits, '_' and '-'. */
  name: string
  /** `*` stands for one segment of a topic, `>` at the end for one or more. */
  pattern: string
  /**
   * Durable: all who subscribe to the pattern under this name share its messages, each of which is
   * delivered at least once, and acknowledged when the handler has ended. Without a group every
   * node hears what is published while it listens, at most once.
   */
  group?: string
  /** Messages handled at the same time by one node. Default 1: in the order they came. */
  concurrency?: number
  /** Tries in all, then it becomes a dead letter; default `worker.attempts`. */
  attempts?: number
  /** Time limit of one try, ms; default `worker.handlerTimeoutMs`. */
  timeoutMs?: number
  /** Throw a TerminalError for a dead letter at once; any other throw is tried again. */
  handle(message: ReceivedMessage, context: SubscriptionContext): unknown
}

const namePattern = /^[A-Za-z0-9_-]{1,64}$/

/** @throws UsageError when a name, the pattern or a number cannot be used */
export function defineSubscription(definition: SubscriptionDefinition): SubscriptionDefinition {
  const { name, pattern, group, handle } = definition
  checkName('subscription', name)
  const title = `subscription "${name}"`
  const flaw = flawOfPattern(pattern)
  if (flaw !== undefined) {
    throw new UsageError(`${title}: pattern: ${flaw}, got ${JSON.stringify(pattern)}`, 'PATTERN')
  }
  if (group !== undefined) checkName(`${title}: group`, group)
  for (const field of ['concurrency', 'attempts', 'timeoutMs'] as const) {
    const value = definition[field]
    if (value === undefined || (Number.isInteger(value) && value >= 1)) continue
    throw new UsageError(`${title}: ${field}: expected a whole number from 1 up, got ${value}`)
  }
  if (typeof handle !== 'function') {
    throw new UsageError(`${title}: handle: expected a function, got ${typeof handle}`)
  }
  return definition
}

export function checkName(what: string, name: unknown): asserts name is string {
  if (typeof name === 'string' && namePattern.test(name)) return
  const expected = "expected a name of 1 to 64 letters, digits, '_' or '-'"
  throw new UsageError(`${what}: ${expected}, got ${JSON.stringify(name)}`)
}

export function isSubscriptionDefinition(value: unknown): value is SubscriptionDefinition {
  if (typeof value !== 'object' || value === null) return false
  return (
    'name' in value &&
    typeof value.name === 'string' &&
    'pattern' in value &&
    typeof value.pattern === 'string' &&
    'handle' in value &&
    typeof value.handle === 'function'
  )
}
