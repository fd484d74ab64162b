/**
 * Publishing: a message is durable in the mailbox of every group that wants it before anybody is
 * told that it was published. Soft listeners are told then; that some may miss it is what soft
 * means.
 */
import { flawOfTopic, matches } from '../machines/topic.ts'
import { describeError, NotAcceptingError, TerminalError, UsageError } from './errors.ts'
import type { Clock, Log, Mailboxes } from './ports.ts'
import type { Headroom } from './ports-limits.ts'
import type { TopicMessage, Topics } from './ports-topics.ts'
import { mailOf, topicMailbox } from './topic-message.ts'

export interface PublishOptions {
  /**
   * The same for the same message: those who get it more than once can tell. 1 to 200 letters,
   * digits, '.', '_', '~' and '-'. Default: a new one.
   */
  id?: string
}

export interface Published {
  id: string
  /** Durable subscriptions that have it now. */
  groups: number
  /** Soft ones that were told. */
  listeners: number
}

/**
 * Publish plain JSON, at most 1 MiB of it, on a topic: segments of letters, digits, '_' and '-',
 * with dots between them. When it resolves, the message is durable for every durable subscription
 * that was there; where it fails some may have it, and the same `id` is to be used again.
 * @throws UsageError TOPIC, TOPIC_DATA or TOPIC_ID when it cannot be taken
 * @throws NotAcceptingError when a durable subscription is full, or the memory of Redis is
 * @throws UnavailableError when Redis cannot be reached
 */
export type Publish = (topic: string, data: unknown, options?: PublishOptions) => Promise<Published>

export interface PublisherOptions {
  topics: Pick<Topics, 'groups' | 'tell'>
  mailboxes: Pick<Mailboxes, 'send' | 'depth'>
  headroom: Pick<Headroom, 'shortage'>
  /** Messages one durable subscription may have waiting. */
  depthMax: number
  newId(): string
  clock: Pick<Clock, 'now'>
  log: Log
}

const idPattern = /^[A-Za-z0-9._~-]{1,4096}$/
/** Of those that users choose; what comes of a message on its way has a longer one. */
const ownIdMax = 200
const bytesMax = 1_048_576
/** A message that has come over so many subscriptions goes round in a circle. */
const hopsMax = 16
const retryAfterMs = 1000

/** @param from the message that is being handled, where that is why something is published */
export function publisher(options: PublisherOptions, from?: TopicMessage): Publish {
  return async (topic, data, { id = options.newId() } = {}) => {
    const { topics, mailboxes } = options
    const hops = from === undefined ? 0 : from.hops + 1
    const message = messageOf(options, { topic, data, id, hops }, from === undefined)
    const shortage = options.headroom.shortage()
    if (shortage !== undefined) throw new NotAcceptingError('full', shortage, retryAfterMs)
    const wanted = (await topics.groups()).filter(({ pattern }) => matches(pattern, topic))
    const boxes = wanted.map(topicMailbox)
    // All or none, as far as that can be known: nothing unread is ever dropped to make room.
    await Promise.all(boxes.map((mailbox) => refuseFull(options, mailbox)))
    await mailboxes.send(boxes.map((mailbox) => mailOf(mailbox, message)))
    return { id, groups: boxes.length, listeners: await tellSoftly(options, message) }
  }
}

function messageOf(
  { clock }: PublisherOptions,
  { topic, data, id, hops }: Pick<TopicMessage, 'topic' | 'data' | 'id' | 'hops'>,
  isFirst: boolean,
): TopicMessage {
  const flaw = flawOfTopic(topic)
  if (flaw !== undefined) throw new UsageError(`topic ${JSON.stringify(topic)}: ${flaw}`, 'TOPIC')
  if (typeof id !== 'string' || !idPattern.test(id) || (isFirst && id.length > ownIdMax)) {
    const expected = `expected 1 to ${ownIdMax} letters, digits, '.', '_', '~' or '-'`
    throw new UsageError(`topic ${topic}: id: ${expected}, got ${JSON.stringify(id)}`, 'TOPIC_ID')
  }
  if (hops > hopsMax) {
    const message = `topic ${topic}: the message has come over ${hopsMax} subscriptions`
    const advice = 'expected none that leads back to itself'
    throw new TerminalError(`${message}; ${advice}`, { code: 'TOPIC_CIRCLE' })
  }
  refuseData(topic, data)
  return { v: 1, id, topic, data, at: clock.now(), attempt: 1, hops }
}

function refuseData(topic: string, data: unknown): void {
  let text: string | undefined
  try {
    text = JSON.stringify(data)
  } catch (error) {
    const why = describeError(error).message
    throw new UsageError(`topic ${topic}: expected data that is plain JSON: ${why}`, 'TOPIC_DATA')
  }
  if (text === undefined) {
    const got = `expected data that is plain JSON, got ${typeof data}`
    throw new UsageError(`topic ${topic}: ${got}`, 'TOPIC_DATA')
  }
  const bytes = text.length * 3 > bytesMax ? new TextEncoder().encode(text).length : 0
  if (bytes <= bytesMax) return
  const limit = `expected at most ${bytesMax} bytes of data, got ${bytes}`
  throw new UsageError(`topic ${topic}: ${limit}`, 'TOPIC_DATA')
}

async function refuseFull(
  { mailboxes, depthMax }: PublisherOptions,
  mailbox: string,
): Promise<void> {
  const { waiting, active, delayed } = await mailboxes.depth(mailbox)
  if (waiting + active + delayed < depthMax) return
  const message =
    `${mailbox} is full: ${depthMax} messages wait; start what handles them, ` +
    'or withdraw the subscription'
  throw new NotAcceptingError('full', message, retryAfterMs)
}

/** Whoever has it durably is not to suffer for those who only listen. */
async function tellSoftly({ topics, log }: PublisherOptions, message: TopicMessage) {
  try {
    return await topics.tell(message)
  } catch (error) {
    log.warn({ topic: message.topic, ...describeError(error) }, 'soft listeners were not told')
    return 0
  }
}
