/**
 * Settles an envelope: what has ended is sent together, at the end of the envelope or, where others
 * of it take long, after a while. Nobody waits for the slowest of its neighbours.
 */
import { appendSeq, type Envelope, eachSeq } from './envelope.ts'
import { type Holds, isStopped } from './holds.ts'
import { letterOfEnding, parkLetters } from './letters.ts'
import type { Meter } from './meter.ts'
import type { Clock, Delivery, Log, Mailboxes, Message } from './ports.ts'
import type { Letters } from './ports-letters.ts'
import type { SeqRange } from './ports-runs.ts'
import { sealed } from './results.ts'
import { type Ending, retriedIn, type SettlementOptions, settlementOf } from './settlement.ts'

/** A task that has ended waits at most this long for company. */
const companyMs = 500

const noted = 'settled:'

export interface SettlingOptions extends SettlementOptions {
  letters: Pick<Letters, 'put'>
  log: Log
  mailboxes: Pick<Mailboxes, 'send'>
  clock: Clock
  /** Which runs are held back. */
  holds: Pick<Holds, 'of'>
  meter?: Meter
}

export class Settling {
  readonly #options: SettlingOptions
  readonly #envelope: Envelope
  readonly #delivery: Delivery
  readonly #notes: Readonly<Record<string, string>>
  readonly #over = new AbortController()
  #unsent: Ending[] = []
  #isWaiting = false
  /** Tasks that have ended, and how long they ran. */
  tasks = 0
  workMs = 0
  #sending: Promise<void> = Promise.resolve()

  /** @param notes of the delivery, as they were found */
  constructor(
    options: SettlingOptions,
    envelope: Envelope,
    delivery: Delivery,
    notes: Readonly<Record<string, string>>,
  ) {
    this.#notes = notes
    this.#options = options
    this.#envelope = envelope
    this.#delivery = delivery
  }

  add(ending: Ending): void {
    this.#unsent.push(ending)
    this.tasks += 1
    this.workMs += ending.durationMs
    if (!this.#isWaiting) void this.#sendLater()
  }

  /**
   * Sends the rest. Resolves when all is durable.
   * @throws what went wrong with any of it
   */
  async finish(): Promise<void> {
    this.#over.abort()
    await this.#sending
    // Taken away meanwhile: whoever has it now settles it.
    this.#delivery.signal.throwIfAborted()
    await this.#send()
  }

  /** No more of it is sent. */
  abandon(): void {
    this.#over.abort()
    this.#unsent = []
  }

  async #sendLater(): Promise<void> {
    this.#isWaiting = true
    await this.#options.clock.wait(companyMs, this.#over.signal)
    if (this.#over.signal.aborted || this.#delivery.signal.aborted) return
    this.#isWaiting = false
    this.#sending = this.#sending.then(() => this.#sendPart())
    // Whoever finishes hears of it.
    this.#sending.catch(() => undefined)
  }

  async #sendPart(): Promise<void> {
    const seqs = await this.#send()
    // Delivered again, they are not run again, though their outcomes may not be counted yet.
    if (seqs.length > 0) {
      await this.#delivery.note({ [`${noted}${seqs[0]?.[0] ?? 0}`]: JSON.stringify(seqs) })
    }
  }

  async #send(): Promise<SeqRange[]> {
    const endings = this.#unsent.sort((a, b) => a.seq - b.seq)
    this.#unsent = []
    const seqs: [number, number][] = []
    for (const { seq } of endings) appendSeq(seqs, seq)
    const dead = endings.filter(({ outcome }) => outcome === 'dead')
    const letterOf = (ending: Ending) =>
      letterOfEnding(this.#options, this.#envelope, ending, this.#notes)
    // Before anybody hears that they are dead.
    await parkLetters(this.#options, dead.map(letterOf))
    const isOver = isStopped(this.#options.holds.of(this.#envelope.run))
    const messages = settlementOf(this.#options, this.#envelope, endings, isOver)
    await this.#options.mailboxes.send(messages.map(sealedIn))
    const { mailbox, kind } = this.#envelope
    if (endings.length > 0) {
      this.#options.meter?.settled(mailbox, kind, endings, retriedIn(messages))
    }
    return seqs
  }
}

function sealedIn(message: Message): Message {
  return 'outcomes' in message.body ? { ...message, body: sealed(message.body) } : message
}

/** The tasks of an envelope that earlier deliveries have settled, by their notes. */
export function settledBefore(notes: Record<string, string>): Set<number> {
  const settled = new Set<number>()
  for (const [field, seqs] of Object.entries(notes)) {
    if (!field.startsWith(noted)) continue
    for (const seq of eachSeq(JSON.parse(seqs) as SeqRange[])) settled.add(seq)
  }
  return settled
}
