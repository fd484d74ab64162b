/** Messages of topics in mailboxes: one mailbox for each group and pattern. */
import type { Message } from './ports.ts'
import type { DurableGroup, TopicMessage } from './ports-topics.ts'

const prefix = 'topic.'

/**
 * Pattern and group together: who subscribes to something else under the same name would otherwise
 * be handed what he does not want, and acknowledge it.
 */
export function topicMailbox({ group, pattern }: DurableGroup): string {
  return `${prefix}${group}.${pattern}`
}

export function isTopicMailbox(mailbox: string): boolean {
  return mailbox.startsWith(prefix)
}

/** What a mailbox is sent; its id is that of the message and the attempt. */
export function mailOf(mailbox: string, body: TopicMessage, delayMs = 0): Message {
  return { mailbox, id: mailId(body), priority: 'normal', delayMs, body }
}

export function mailId({ id, attempt }: Pick<TopicMessage, 'id' | 'attempt'>): string {
  return `${id}~${attempt}`
}

/** What of a message a body lacks; undefined when this version can read it. */
export function flawOfTopicMessage(
  body: Record<string, unknown>,
): { code: string; message: string } | undefined {
  const { v, id, topic, at, attempt, hops } = body
  if (v !== 1) {
    const message = `expected a message of version 1, got ${JSON.stringify(v) ?? 'none'}`
    return { code: 'TOPIC_VERSION', message }
  }
  const isWhole =
    [id, topic].every((each) => typeof each === 'string') &&
    [at, attempt, hops].every((each) => typeof each === 'number')
  if (isWhole) return undefined
  return { code: 'TOPIC_SHAPE', message: 'expected a message with id, topic, at, attempt and hops' }
}
