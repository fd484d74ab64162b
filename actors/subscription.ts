/**
 * Binds a subscription to what it subscribes to: one with a group receives from the mailbox of its
 * group, as a worker does; one without listens. What its handler throws ends neither.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import type { Owned } from '../machines/service.ts'
import { type WorkerEvent, workerMachine } from '../machines/worker.ts'
import { AtHand, hungError } from './at-hand.ts'
import { type AttendOptions, attend } from './attend.ts'
import type { Tell } from './dead-letters.ts'
import { describeError } from './errors.ts'
import { parkSchema } from './letters.ts'
import { withFields } from './log-fields.ts'
import type { Delivery, Mailboxes, Receiver } from './ports.ts'
import type { DurableGroup, TopicMessage, Topics } from './ports-topics.ts'
import { publisher } from './publisher.ts'
import { service } from './service.ts'
import type { SubscriptionDefinition } from './subscription-work.ts'
import { type ChildSpec, type SupervisorOptions, supervisor } from './supervisor.ts'
import type { Throttle } from './throttle.ts'
import { topicMailbox } from './topic-message.ts'

export interface SubscriptionsOptions
  extends Omit<AttendOptions, 'definition' | 'mailbox' | 'attempts' | 'timeoutMs' | 'meter'>,
    Pick<SupervisorOptions, 'policy' | 'isAway' | 'meter'> {
  definitions: readonly SubscriptionDefinition[]
  topics: Topics
  mailboxes: Mailboxes
  /** This start of the node. */
  boot: string
  /** Tries in all, where a subscription does not say. */
  attempts: number
  /** Time limit of one try, where a subscription does not say. */
  timeoutMs: number
  /** Time beyond that after which a message without progress is hung. */
  hangGraceMs: number
  /** Aborted when the node begins to drain: nothing new is taken from then on. */
  drain: AbortSignal
  /** At 0 nothing is taken. */
  throttle?: Throttle
  /** How long a stopping subscription waits for what it has at hand. */
  graceMs(): number
  /** Aborted when it is to wait no longer. */
  hurry?: AbortSignal
  tell: Tell
}

/** All subscriptions of a node, each with a life of its own. */
export function subscriptionsSupervisor(options: SubscriptionsOptions): ChildSpec {
  const children = options.definitions.map((definition) => ({
    id: definition.name,
    leavesFirst: true,
    spec: () => subscription(options, definition),
  }))
  return supervisor({ ...options, id: 'subscriptions', children })
}

function subscription(options: SubscriptionsOptions, definition: SubscriptionDefinition) {
  const { group, pattern } = definition
  if (group === undefined) return softSubscription(options, definition)
  return durableSubscription(options, definition, { group, pattern })
}

function softSubscription(
  options: SubscriptionsOptions,
  definition: SubscriptionDefinition,
): ChildSpec {
  const { topics, boot, tell } = options
  const { name, pattern } = definition
  const over = new AbortController()
  let unlisten: (() => Promise<void>) | undefined
  const listener = (message: TopicMessage) => {
    const { id, topic, data, at } = message
    const log = withFields(options.log, { subscription: name, id, topic })
    const publish = publisher(options.publisher, message)
    const context = { attempt: 1, signal: over.signal, publish, log }
    const work = async () => definition.handle({ id, topic, data, at }, context)
    work().catch((error: unknown) => {
      log.warn(describeError(error), 'a soft subscription failed to handle a message')
    })
  }
  return service({
    tell,
    open: async () => {
      unlisten = await topics.listen(boot, pattern, listener)
      if (over.signal.aborted) await unlisten()
    },
    close: async () => {
      over.abort(new Error('the subscription ends'))
      await unlisten?.()
    },
  })
}

function durableSubscription(
  options: SubscriptionsOptions,
  definition: SubscriptionDefinition,
  group: DurableGroup,
): ChildSpec {
  const { clock, mailboxes, topics } = options
  const { concurrency = 1, attempts = options.attempts } = definition
  const { timeoutMs = options.timeoutMs } = definition
  const mailbox = topicMailbox(group)
  const attending = { ...options, definition, mailbox, attempts, timeoutMs }
  let opening: Promise<Receiver> | undefined
  let atHand: AtHand | undefined
  let ungovern = () => {}

  const handle = (self: AnyActorRef, inHand: AtHand) => async (delivery: Delivery) => {
    if (await parkSchema(attending, delivery)) return
    const hand = inHand.begin(delivery.id, timeoutMs + options.hangGraceMs)
    const tell = (type: 'envelope.received' | 'envelope.settled' | 'envelope.returned') => {
      const event: WorkerEvent = { type, tasks: 1, oldestAt: inHand.oldestAt }
      // What was taken from one that has failed may still end.
      options.tell(self, event)
    }
    tell('envelope.received')
    try {
      await attend(attending, delivery)
      hand.end()
      tell('envelope.settled')
    } catch (error) {
      hand.end()
      tell('envelope.returned')
      throw error
    }
  }

  const stop = async (graceMs: number) => {
    // From here on it is the grace that limits what is at hand.
    atHand?.close()
    ungovern()
    await (await opening)?.stop(graceMs)
  }

  return {
    logic: workerMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input: { owner }, signal }) => {
          const inHand = new AtHand({
            clock,
            isAway: () => options.isAway?.() === true,
            onOverdue: (overdue) => {
              const error = hungError(mailbox, overdue)
              options.tell(owner, { type: 'message.overdue', error } satisfies WorkerEvent)
            },
          })
          atHand = inHand
          const receiving = { concurrency, ordered: false }
          opening = topics
            .declare(group)
            .then(() => mailboxes.receive(mailbox, receiving, handle(owner, inHand)))
          const receiver = await opening
          // Given up meanwhile: nobody else may be left to close it.
          if (signal.aborted) await stop(options.graceMs())
          else ungovern = govern(options, mailbox, receiver)
        }),
        close: fromPromise<void, Owned>(() => {
          options.hurry?.addEventListener('abort', () => void stop(0), { once: true })
          return stop(options.graceMs())
        }),
        abort: fromPromise<void, Owned>(() => stop(0)),
      },
    }),
  }
}

/**
 * Nothing new is taken while the node drains, or works with no share at all.
 * @returns ends it
 */
function govern(
  { drain, throttle, log }: SubscriptionsOptions,
  mailbox: string,
  receiver: Receiver,
): () => void {
  let isPaused = false
  let turning = Promise.resolve()
  const turn = async () => {
    const isWanted = drain.aborted || throttle?.share === 0
    if (isWanted === isPaused) return
    isPaused = isWanted
    try {
      await (isWanted ? receiver.pause() : receiver.resume())
    } catch (error) {
      const what = isWanted ? 'a receiver cannot be paused' : 'a receiver cannot go on'
      log.warn({ mailbox, ...describeError(error) }, what)
    }
  }
  const look = () => {
    turning = turning.then(turn)
  }
  look()
  drain.addEventListener('abort', look, { once: true })
  return throttle?.listen(look) ?? (() => {})
}
