/**
 * One delivery of a message to a durable subscription: handled, and acknowledged by resolving. What
 * fails is sent again with a delay, before the message is acknowledged; what has failed too often,
 * or taken its node down, becomes a dead letter. Nothing a handler does gets any further.
 */
import { type BackoffPolicy, backoffMs } from '../machines/backoff.ts'
import { describeError, MusterError, NotAcceptingError, UnavailableError } from './errors.ts'
import { type LetterOptions, parkLetters, runnerNote } from './letters.ts'
import { withFields } from './log-fields.ts'
import type { Clock, Delivery, Log, Mailboxes } from './ports.ts'
import type { Crash, LetterReason } from './ports-letters.ts'
import type { TopicMessage } from './ports-topics.ts'
import { type PublisherOptions, publisher } from './publisher.ts'
import type { SubscriptionDefinition } from './subscription-work.ts'
import { mailId, mailOf } from './topic-message.ts'

export interface AttendOptions extends LetterOptions {
  definition: SubscriptionDefinition
  mailboxes: Pick<Mailboxes, 'send'>
  publisher: PublisherOptions
  attempts: number
  timeoutMs: number
  retry: BackoffPolicy
  clock: Clock
  random(): number
  log: Log
}

const runField = 'run:'

/** Resolves when the message may be acknowledged. */
export async function attend(options: AttendOptions, delivery: Delivery): Promise<void> {
  const message = delivery.body as TopicMessage
  // The first delivery is not noted: it is the usual one, and must cost nothing.
  const chain = delivery.redeliveries === 0 ? [] : crashesIn(await delivery.notes())
  const tried = message.attempt - 1 + chain.length
  if (tried >= options.attempts) {
    const text = `its node was lost ${chain.length} times while it was handled`
    return bury(options, message, 'poison', { code: 'POISON', message: text }, chain)
  }
  const noted = `${runField}${delivery.redeliveries}`
  if (delivery.redeliveries > 0) {
    const worker = options.mailbox
    await delivery.note({ [noted]: runnerNote({ ...options, worker }) })
  }
  try {
    await tryOnce(options, message, delivery, tried, chain)
  } catch (error) {
    // It goes back, and nobody was lost.
    if (delivery.redeliveries > 0) await acquit(options, delivery, noted)
    throw error
  }
}

async function tryOnce(
  options: AttendOptions,
  message: TopicMessage,
  delivery: Delivery,
  tried: number,
  chain: Crash[],
): Promise<void> {
  const { attempts, log, mailbox, mailboxes, retry } = options
  try {
    await handled(options, message, delivery, tried + 1)
  } catch (error) {
    // Taken away; or what it publishes to is full, or Redis away, and that is none of its faults.
    if (delivery.signal.aborted || isHeldUp(error)) throw error
    const problem = describe(error)
    const isTerminal = error instanceof Error && error.name === 'TerminalError'
    if (isTerminal || tried + 1 >= attempts) {
      return bury(options, message, 'undeliverable', problem, chain)
    }
    const attempt = tried + 2
    const delayMs = backoffMs(retry, attempt - 1, options.random())
    log.warn({ mailbox, id: message.id, attempt, delayMs, ...problem }, 'a message is tried again')
    await mailboxes.send([mailOf(mailbox, { ...message, attempt }, delayMs)])
  }
}

function isHeldUp(error: unknown): boolean {
  return error instanceof NotAcceptingError || error instanceof UnavailableError
}

/** A handler that ignores its signal is left behind. */
async function handled(
  options: AttendOptions,
  message: TopicMessage,
  delivery: Delivery,
  attempt: number,
): Promise<void> {
  const { clock, definition, timeoutMs, mailbox } = options
  const { id, topic, data, at } = message
  const over = new AbortController()
  const { signal: taken } = delivery
  const log = withFields(options.log, { subscription: definition.name, id, topic })
  const publish = publisher(options.publisher, message)
  const signal = AbortSignal.any([taken, over.signal])
  const limit = async () => {
    await clock.wait(timeoutMs, signal)
    taken.throwIfAborted()
    throw new MusterError('TIMEOUT', `${mailbox}: not handled within its limit of ${timeoutMs} ms`)
  }
  const work = async () =>
    definition.handle({ id, topic, data, at }, { attempt, signal, publish, log })
  try {
    await Promise.race([work(), limit()])
  } finally {
    over.abort(new Error('its time is over'))
  }
}

async function bury(
  options: AttendOptions,
  message: TopicMessage,
  reason: LetterReason,
  error: { code: string; message: string },
  chain: Crash[],
): Promise<void> {
  const { mailbox, node, clock } = options
  // Redriven, it has all its attempts again.
  const body = { ...message, attempt: 1 }
  await parkLetters(options, [
    {
      id: `${mailbox}/${message.id}`,
      at: clock.now(),
      mailbox,
      reason,
      error,
      chain,
      origin: { node },
      message: { id: mailId(body), body },
    },
  ])
}

function crashesIn(notes: Readonly<Record<string, string>>): Crash[] {
  return Object.entries(notes).flatMap(([field, note]) =>
    field.startsWith(runField) && note !== '' ? [JSON.parse(note) as Crash] : [],
  )
}

async function acquit({ log }: AttendOptions, delivery: Delivery, noted: string): Promise<void> {
  try {
    await delivery.note({ [noted]: '' })
  } catch (error) {
    log.debug(describeError(error), 'a message that was handed back stays noted as running')
  }
}

/** A handler may throw what cannot even be put into words. */
function describe(error: unknown): { code: string; message: string } {
  try {
    return describeError(error)
  } catch {
    return { code: 'Error', message: 'threw something that has no text' }
  }
}
