/**
 * Binds a worker to its mailbox: runs each envelope's tasks and settles the envelope (results,
 * retries) before it is acknowledged. A crash anywhere brings the envelope back; the ids of what
 * was settled already collide with themselves. An envelope that makes no progress ends this life
 * of its worker: what is at hand is taken away, and comes back to the next one.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import type { Owned } from '../machines/service.ts'
import { type WorkerEvent, workerMachine } from '../machines/worker.ts'
import { AtHand, hungError } from './at-hand.ts'
import type { Tell } from './dead-letters.ts'
import { countSeqs, type Envelope, envelopeVersion, waitsSince } from './envelope.ts'
import { describeError } from './errors.ts'
import { FreeHands } from './free-hands.ts'
import type { Kind } from './kind.ts'
import { parkSchema } from './letters.ts'
import { type Delivery, diedNote, type Mailboxes, type Receiver } from './ports.ts'
import { Slots } from './slots.ts'
import type { ChildSpec } from './supervisor.ts'
import type { Throttle } from './throttle.ts'
import { type WorkOffOptions, workOff } from './work-off.ts'

/** Whoever fails waits no longer than this to say so. */
const deathNoteMs = 1000

export interface WorkerOptions extends WorkOffOptions {
  /** Time beyond the limit of its tasks after which an envelope without progress is hung. */
  hangGraceMs: number
  /** Whether what workers stand on is away now: nothing is hung then. */
  isAway?(): boolean
  /** Aborted when the node begins to drain: nothing new is taken from then on. */
  drain: AbortSignal
  /**
   * With what share of its concurrency it works; at 0 it takes nothing and begins nothing, but for
   * what an executor has taken ahead by then (`Executor.follow`), at most one a slot.
   */
  throttle?: Throttle
  /** How long a stopping worker waits for what it has at hand. */
  graceMs(): number
  /** Aborted when it is to wait no longer. */
  hurry?: AbortSignal
  mailboxes: Mailboxes
  tell: Tell
}

export function worker(options: WorkerOptions): ChildSpec {
  const { mailbox, kind, ordered } = options
  const slots = new Slots(slotsOf(options))
  const limitOf = envelopeLimit(kind, options.hangGraceMs)
  let opening: Promise<Receiver> | undefined
  let atHand: AtHand | undefined
  let ungovern = () => {}
  const deliveries = new Set<Delivery>()
  const hands = new FreeHands(kind.concurrency, options.clock)

  const handle = (self: AnyActorRef, inHand: AtHand) => async (delivery: Delivery) => {
    if (await parkSchema(options, delivery)) return
    const envelope = delivery.body as Envelope
    const tasks = countSeqs(envelope.seqs)
    const hand = inHand.begin(delivery.id, limitOf(envelope))
    deliveries.add(delivery)
    const tell = (type: 'envelope.received' | 'envelope.settled' | 'envelope.returned') => {
      // What was taken from a worker that has failed may still end.
      options.tell(self, { type, tasks, oldestAt: inHand.oldestAt } satisfies WorkerEvent)
    }
    tell('envelope.received')
    const since = waitsSince(envelope)
    const waitedMs = delivery.redeliveries > 0 ? undefined : options.clock.now() - since
    const idleMs = ordered || waitedMs === undefined ? undefined : hands.idleMs(since)
    options.meter?.taken(mailbox, tasks, waitedMs, idleMs)
    hands.take()
    try {
      await workOff(options, { envelope, delivery, hand, slots })
      hand.end()
      tell('envelope.settled')
    } catch (error) {
      hand.end()
      tell('envelope.returned')
      throw error
    } finally {
      hands.give()
      deliveries.delete(delivery)
      options.meter?.released(mailbox)
    }
  }

  /** Its process lives on, but what runs there has had its time. */
  const noteDeath = async (delivery: Delivery) => {
    try {
      await delivery.note({ [diedNote]: '1' })
    } catch (error) {
      options.log.debug(describeError(error), 'a message was lost before this could be noted')
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
            clock: options.clock,
            isAway: () => options.isAway?.() === true,
            onOverdue: (overdue) => {
              const error = hungError(mailbox, overdue)
              options.tell(owner, { type: 'message.overdue', error } satisfies WorkerEvent)
            },
          })
          atHand = inHand
          const receiving = { concurrency: kind.concurrency, ordered }
          // What is held back is known before anything is received.
          opening = options.holds
            .open()
            .then(() => options.mailboxes.receive(mailbox, receiving, handle(owner, inHand)))
          const receiver = await opening
          // Given up meanwhile: nobody else may be left to close it.
          if (signal.aborted) await stop(options.graceMs())
          else ungovern = govern(options, receiver, slots, hands)
        }),
        close: fromPromise<void, Owned>(() => {
          options.hurry?.addEventListener('abort', () => void stop(0), { once: true })
          return stop(options.graceMs())
        }),
        abort: fromPromise<void, Owned>(async () => {
          const told = Promise.all([...deliveries].map(noteDeath))
          await Promise.race([told, options.clock.wait(deathNoteMs)])
          await stop(0)
        }),
      },
    }),
  }
}

/** How long an envelope may be without progress: as long as its slowest task may take, and more. */
function envelopeLimit(kind: Kind, graceMs: number): (envelope: Envelope) => number {
  const untimedMs = kind.limitMs({})
  return ({ v, tasks }) => {
    // What is in an envelope of another version is not known.
    if (v !== envelopeVersion) return untimedMs + graceMs
    let longestMs = 0
    for (const task of tasks) {
      const limitMs = task.timeoutMs === undefined ? untimedMs : kind.limitMs(task)
      if (limitMs > longestMs) longestMs = limitMs
    }
    return longestMs + graceMs
  }
}

function slotsOf({ kind, throttle }: WorkerOptions): number {
  return throttle?.of(kind.concurrency) ?? kind.concurrency
}

/**
 * Nothing new is taken while the node drains, or works with no share at all. What is at hand then
 * waits for its slot, as long as nothing takes it away.
 * @returns ends it
 */
function govern(
  options: WorkerOptions,
  receiver: Receiver,
  slots: Slots,
  hands: FreeHands,
): () => void {
  const { drain, throttle, log, mailbox } = options
  let isPaused = false
  let turning = Promise.resolve()
  const turn = async () => {
    const isWanted = drain.aborted || throttle?.share === 0
    if (isWanted === isPaused) return
    isPaused = isWanted
    try {
      await (isWanted ? receiver.pause() : receiver.resume())
      hands.anew()
    } catch (error) {
      const what = isWanted ? 'a receiver cannot be paused' : 'a receiver cannot go on'
      log.warn({ mailbox, ...describeError(error) }, what)
    }
  }
  const look = () => {
    slots.resize(slotsOf(options))
    turning = turning.then(turn)
  }
  look()
  drain.addEventListener('abort', look, { once: true })
  return throttle?.listen(look) ?? (() => {})
}
