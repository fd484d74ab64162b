/**
 * Binds a collector to its mailbox: every outcome is counted once, stored once and written to the
 * audit log before its envelope is acknowledged. The outcome map decides: of two results for one
 * task the first to be settled counts, and only a row that agrees with the map is stored.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import { type CollectorEvent, collectorMachine } from '../machines/collector.ts'
import { type Outcome, outcomeOf } from '../machines/outcome.ts'
import type { Owned } from '../machines/service.ts'
import { AtHand, type Hand, hungError, type Overdue } from './at-hand.ts'
import type { Tell } from './dead-letters.ts'
import { type ResultsEnvelope, resultsMailbox } from './envelope.ts'
import type { EscalationCounter } from './escalation.ts'
import { isUnderstood, parkSchema } from './letters.ts'
import type { Meter } from './meter.ts'
import type { AuditLog, Clock, Delivery, Log, Mailboxes, Receiver, Results } from './ports.ts'
import type { FencingToken } from './ports-fleet.ts'
import type { Letters } from './ports-letters.ts'
import type { Accounting, Settled, Settlement } from './ports-runs.ts'
import { pick, type ResultBatch } from './results.ts'
import type { ChildSpec } from './supervisor.ts'

export interface CollectorOptions {
  /** Id of this node. */
  node: string
  batchMax: number
  /** Says where what it stores is to be found, before it takes anything. */
  announce?(): Promise<void>
  /** Under which grant it counts; nothing is counted any more once somebody else does. */
  fence?: FencingToken
  /** How long it may take to work off what is at hand. */
  graceMs(): number
  /** Time without progress after which what is at hand is hung. */
  hangMs: number
  /** Whether what a collector stands on is away now: nothing is hung then. */
  isAway?(): boolean
  clock: Clock
  mailboxes: Mailboxes
  letters: Pick<Letters, 'put'>
  accounting: Accounting
  results: Results
  audit: AuditLog
  meter?: Meter
  /** Told of what is stored. */
  escalation?: Pick<EscalationCounter, 'counted'>
  tell: Tell
  log: Log
}

/** The character of that digit. */
const zero = 48

interface Waiting {
  id: string
  envelope: ResultsEnvelope
  hand: Hand
  end: PromiseWithResolvers<void>
}

export function collector(options: CollectorOptions): ChildSpec {
  const waiting: Waiting[] = []
  /** Aborted with this life: a batch that was hung and gets on later must leave it at that. */
  const life = new AbortController()
  let opening: Promise<Receiver> | undefined
  let atHand: AtHand | undefined

  const park = async (delivery: Delivery) => {
    await parkSchema({ ...options, mailbox: resultsMailbox }, delivery)
  }

  const handle = (self: AnyActorRef, inHand: AtHand) => (delivery: Delivery) => {
    if (!isUnderstood(resultsMailbox, delivery.body)) return park(delivery)
    const envelope = delivery.body as ResultsEnvelope
    const end = Promise.withResolvers<void>()
    const hand = inHand.begin(delivery.id, options.hangMs)
    waiting.push({ id: delivery.id, envelope, hand, end })
    const { oldestAt } = inHand
    options.tell(self, { type: 'results.received', oldestAt } satisfies CollectorEvent)
    return end.promise
  }

  const stop = async (graceMs: number) => {
    // From here on it is the grace that limits what is at hand.
    atHand?.close()
    await (await opening)?.stop(graceMs)
  }

  return {
    logic: collectorMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input: { owner }, signal }) => {
          const onOverdue = (overdue: Overdue) => {
            const error = hungError(resultsMailbox, overdue)
            options.tell(owner, { type: 'message.overdue', error } satisfies CollectorEvent)
          }
          const isAway = () => options.isAway?.() === true
          const inHand = new AtHand({ clock: options.clock, isAway, onOverdue })
          atHand = inHand
          const announced = options.announce?.() ?? Promise.resolve()
          const receiving = { concurrency: options.batchMax, ordered: false }
          opening = announced.then(() =>
            options.mailboxes.receive(resultsMailbox, receiving, handle(owner, inHand)),
          )
          await opening
          // Given up meanwhile: nobody else may be left to close it.
          if (signal.aborted) await stop(options.graceMs())
        }),
        close: fromPromise<void, Owned>(() => stop(options.graceMs())),
        abort: fromPromise<void, Owned>(() => {
          life.abort(new Error('this life of the collector was given up'))
          return stop(0)
        }),
      },
      actions: {
        collectBatch: ({ self }) => {
          // Everything that arrived in this turn of the event loop makes one batch.
          queueMicrotask(() => {
            const batch = waiting.splice(0, options.batchMax)
            const step = () => {
              life.signal.throwIfAborted()
              // What waits for its batch gets on with the batch before it.
              atHand?.progress()
            }
            void collect(options, batch, step).then(() => {
              const word = { envelopes: batch.length, oldestAt: atHand?.oldestAt }
              // A batch of a collector that has failed may still end.
              options.tell(self, { type: 'batch.collected', ...word } satisfies CollectorEvent)
            })
          })
        },
      },
    }),
  }
}

/**
 * Never rejects: each envelope of the batch hears of its own end.
 * @param step called after each step of the way; throws when no further one may be taken
 */
async function collect(
  options: CollectorOptions,
  batch: readonly Waiting[],
  step: () => void,
): Promise<void> {
  const began = options.clock.monotonic()
  try {
    const settlements = batch.map(({ id, envelope }) => settlementOf(id, envelope))
    const settled = await options.accounting.settle(settlements, options.fence)
    for (const [index, { envelope }] of batch.entries()) {
      options.meter?.counted(envelope.kind, settlements[index], settled[index])
    }
    step()
    const counted = batch.flatMap(({ envelope }, index) =>
      countedOf(envelope, settlements[index], settled[index]),
    )
    if (counted.length > 0) {
      await options.results.put(counted)
      step()
      await options.audit.appendResults(counted)
      step()
    }
    await options.accounting.stored(settlements, options.fence)
    step()
    for (const [index, { envelope }] of batch.entries()) {
      options.escalation?.counted(envelope.kind, settlements[index], settled[index])
    }
    options.meter?.aggregated(options.clock.monotonic() - began)
    for (const { hand, end } of batch) {
      hand.end()
      end.resolve()
    }
  } catch (error) {
    for (const { hand, end } of batch) {
      hand.end()
      end.reject(error)
    }
  }
}

function settlementOf(
  id: string,
  { run, mailbox, seqs, ...envelope }: ResultsEnvelope,
): Settlement {
  const outcomes: Outcome[] = []
  for (let index = 0; index < envelope.outcomes.length; index += 1) {
    outcomes.push(outcomeOf(envelope.outcomes.charCodeAt(index) - zero) ?? 'failed')
  }
  return { run, id, mailbox, seqs, outcomes }
}

/** What of it agrees with the map: the first to be settled counts. */
function countedOf(
  envelope: ResultsEnvelope,
  settlement: Settlement | undefined,
  settled: Settled | undefined,
): ResultBatch[] {
  const { outcomes } = settled ?? {}
  // Nearly always.
  if (outcomes === undefined) return [envelope]
  const counted = pick(envelope, (index) => outcomes[index] === settlement?.outcomes[index])
  return counted === undefined ? [] : [counted]
}
