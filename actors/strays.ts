/**
 * Messages in mailboxes that nobody serves: those of a node that has died, drains or never came,
 * and those of a kind that no node knows. The coordinator receives them in place of whoever should,
 * and sends each to another node that may have it, or says in the end that there is none.
 *
 * Where one goes is noted with the message before it is sent: cut off half-way, whoever coordinates
 * next sends it to the same place again, under the same id.
 */
import {
  appendSeq,
  countSeqs,
  delayOf,
  type Envelope,
  eachSeq,
  envelopeId,
  envelopeVersion,
  workMessage,
} from './envelope.ts'
import { describeError, FencedError } from './errors.ts'
import { isStopped } from './holds.ts'
import { type MailboxName, mailboxKind, nowhere, type Place } from './place.ts'
import type { Admission, Clock, Delivery, Log, Mailboxes, Receiver } from './ports.ts'
import type { FencingToken, Leases, MemberRecord, Members } from './ports-fleet.ts'
import type { Accounting, SeqRange } from './ports-runs.ts'
import type { Router } from './router.ts'
import { unrunMessage } from './unrun.ts'

export interface StraysOptions {
  members: Pick<Members, 'list'>
  leases: Pick<Leases, 'check'>
  mailboxes: Pick<Mailboxes, 'names' | 'depth' | 'receive' | 'send' | 'retire'>
  admission: Pick<Admission, 'moveRoom'>
  accounting: Pick<Accounting, 'holds' | 'pending'>
  router: Pick<Router, 'route'>
  /** Silence after which a node is dead, ms. */
  staleMs: number
  /** How long it is waited for somebody who could do what nobody can, ms. */
  unservedMs: number
  /** How long an empty mailbox of a node that is gone keeps its name, ms. */
  nameKeepMs: number
  /** Who ends what nobody can do, as results name it. */
  node: string
  clock: Clock
  log: Log
}

/** How often it is looked who serves what. */
const lookMs = 1000
/** How often it is tried again to place a message that nobody may have. */
const againMs = 250
/** How often names of mailboxes are taken off the list. */
const retireMs = 10_000
/** Messages of one mailbox at hand at a time. */
const atHandMax = 64

/** One coordinator's care for them, from the grant of its lease to the loss. */
export async function lookAfterStrays(
  options: StraysOptions,
  fence: FencingToken,
  signal: AbortSignal,
): Promise<void> {
  const strays = new Strays(options, fence)
  const { clock, log } = options
  try {
    while (!signal.aborted) {
      try {
        await strays.look()
      } catch (error) {
        if (error instanceof FencedError) throw error
        log.warn(describeError(error), 'cannot look after mailboxes that nobody serves')
      }
      // Refused as stale by one of its messages.
      if (strays.fenced !== undefined) throw strays.fenced
      await clock.tick(lookMs, signal)
    }
  } finally {
    await strays.stop()
  }
}

class Strays {
  fenced: FencedError | undefined
  readonly #options: StraysOptions
  readonly #fence: FencingToken
  /** By mailbox. */
  readonly #receivers = new Map<string, Receiver>()
  /** Since when each has not been served, epoch ms. */
  readonly #unservedAt = new Map<string, number>()
  /** Tasks that were sent on from each. */
  readonly #moved = new Map<string, number>()
  #records: readonly MemberRecord[] = []
  #retiredAt = Number.NEGATIVE_INFINITY

  constructor(options: StraysOptions, fence: FencingToken) {
    this.#options = options
    this.#fence = fence
  }

  async look(): Promise<void> {
    const { members, mailboxes, clock, staleMs } = this.#options
    this.#records = await members.list(staleMs)
    for (const mailbox of await mailboxes.names()) {
      const name = mailboxKind(mailbox)
      if (name === undefined) continue
      if (isServed(name, this.#records)) await this.#leave(mailbox)
      else {
        const since = this.#unservedAt.get(mailbox) ?? clock.now()
        this.#unservedAt.set(mailbox, since)
        const receiver = this.#receivers.get(mailbox)
        const isFilled = await this.#isFilled(mailbox)
        if (isFilled && receiver === undefined) await this.#receive(mailbox, name)
        if (!isFilled && receiver !== undefined) await this.#letGo(mailbox, receiver)
      }
    }
    await this.#retire()
  }

  /** Nodes come and go under ever new names: what is left of those that are gone must not grow. */
  async #retire(): Promise<void> {
    const { clock, mailboxes, nameKeepMs, log } = this.#options
    const now = clock.monotonic()
    if (now - this.#retiredAt < Math.min(retireMs, nameKeepMs)) return
    this.#retiredAt = now
    const isThere = new Set(
      this.#records.filter(({ state }) => state !== 'dead').map(({ id }) => id),
    )
    const old = [...this.#unservedAt].flatMap(([mailbox, since]) => {
      const { node = nowhere } = mailboxKind(mailbox) ?? {}
      const isOver = clock.now() - since >= nameKeepMs && !this.#receivers.has(mailbox)
      return isOver && node !== nowhere && !isThere.has(node) ? [mailbox] : []
    })
    await this.#check()
    const retired = await mailboxes.retire(old)
    for (const mailbox of retired) this.#unservedAt.delete(mailbox)
    if (retired.length > 0) log.info({ mailboxes: retired }, 'mailboxes of nodes long gone retire')
  }

  async stop(): Promise<void> {
    const receivers = [...this.#receivers.values()]
    this.#receivers.clear()
    await Promise.all(receivers.map((receiver) => receiver.stop(0)))
  }

  async #isFilled(mailbox: string): Promise<boolean> {
    const { waiting, active, delayed } = await this.#options.mailboxes.depth(mailbox)
    return waiting + active + delayed > 0
  }

  async #leave(mailbox: string): Promise<void> {
    this.#unservedAt.delete(mailbox)
    const receiver = this.#receivers.get(mailbox)
    if (receiver !== undefined) await this.#letGo(mailbox, receiver)
  }

  async #letGo(mailbox: string, receiver: Receiver): Promise<void> {
    this.#receivers.delete(mailbox)
    await receiver.stop(0)
    const tasks = this.#moved.get(mailbox) ?? 0
    this.#moved.delete(mailbox)
    if (tasks === 0) return
    this.#options.log.info({ mailbox, tasks }, 'what waited for a node that is gone went to others')
  }

  async #receive(mailbox: string, name: MailboxName): Promise<void> {
    const { mailboxes } = this.#options
    // What is for anybody waits in its mailbox: whoever comes takes it from there.
    if (name.node === undefined && !this.#isOverdue(mailbox, 0)) return
    const { ordered } = name
    const receiving = { concurrency: atHandMax, ordered }
    const handle = (delivery: Delivery) => this.#handle(mailbox, name, delivery)
    this.#receivers.set(mailbox, await mailboxes.receive(mailbox, receiving, handle))
  }

  /** Whether it was waited long enough, for the mailbox and for what is in it since `readyAt`. */
  #isOverdue(mailbox: string, readyAt: number): boolean {
    const { clock, unservedMs } = this.#options
    const since = this.#unservedAt.get(mailbox) ?? clock.now()
    return clock.now() - Math.max(since, readyAt) >= unservedMs
  }

  async #handle(mailbox: string, name: MailboxName, delivery: Delivery): Promise<void> {
    const envelope = delivery.body as Envelope
    if (envelope.v !== envelopeVersion) throw new Error('expected an envelope of this version')
    const { accounting, clock } = this.#options
    const notes = delivery.redeliveries > 0 ? await delivery.notes() : {}
    const { to, seqs, ...earlier } = notes
    // Whoever gets it is to know what became of others who had it.
    const whole = delivery.redeliveries > 0 ? { ...envelope, notes: earlier } : envelope
    if (to !== undefined && seqs !== undefined) {
      const left = new Set(eachSeq(JSON.parse(seqs) as SeqRange[]))
      return this.#move(mailbox, partOf(whole, left), to, delivery)
    }
    const pending = await accounting.pending(envelope.run, envelope.seqs)
    // What the node that died had settled, and could not say so any more, is not run again.
    const unsettled = partOf(
      whole,
      new Set([...eachSeq(envelope.seqs)].filter((_, index) => pending[index] !== false)),
    )
    if (unsettled.tasks.length === 0) return
    for (;;) {
      delivery.signal.throwIfAborted()
      const routed = await this.#place(unsettled)
      if (routed !== undefined) {
        await delivery.note({ to: routed.mailbox, seqs: JSON.stringify(routed.seqs) })
        return this.#move(mailbox, routed, routed.mailbox, delivery)
      }
      if (this.#isOverdue(mailbox, envelope.readyAt) || (await this.#isOver(envelope))) break
      await clock.wait(againMs, delivery.signal)
    }
    await this.#giveUp(mailbox, name, unsettled, delivery)
  }

  /** None of its tasks is to be started any more. */
  async #isOver({ run }: Envelope): Promise<boolean> {
    return isStopped((await this.#options.accounting.holds()).get(run))
  }

  /** Where it may go instead; undefined when there is nobody, or it may go nowhere else. */
  async #place(envelope: Envelope): Promise<Envelope | undefined> {
    if (envelope.at === undefined || !('select' in envelope.at)) return undefined
    const routed = await this.#options.router.route(envelope)
    const { node } = mailboxKind(routed.mailbox) ?? {}
    return node === undefined || node === nowhere ? undefined : routed
  }

  async #move(mailbox: string, envelope: Envelope, to: string, delivery: Delivery): Promise<void> {
    await this.#check()
    delivery.signal.throwIfAborted()
    const { admission, mailboxes, clock, log } = this.#options
    const { run } = envelope
    const tasks = countSeqs(envelope.seqs)
    const id = envelopeId(envelope)
    await admission.moveRoom(run, `${id} ${mailbox}`, { from: mailbox, to, tasks })
    const moved = { ...envelope, mailbox: to }
    await mailboxes.send([workMessage(moved, delayOf(moved, clock.now()))])
    this.#moved.set(mailbox, (this.#moved.get(mailbox) ?? 0) + tasks)
    log.debug({ run, id, tasks, mailbox, to }, 'tasks of a node that is gone went to another')
  }

  async #giveUp(
    mailbox: string,
    name: MailboxName,
    envelope: Envelope,
    delivery: Delivery,
  ): Promise<void> {
    await this.#check()
    delivery.signal.throwIfAborted()
    const { accounting, clock, log, mailboxes, node } = this.#options
    const message = reasonOf(name, envelope.at, this.#records)
    const ends = { outcome: 'unreached', error: { code: 'NO_NODE', message } } as const
    const hold = (await accounting.holds()).get(envelope.run)
    const results = unrunMessage({ ...envelope, ends }, hold, { node, now: clock.now() })
    if (results === undefined) throw new Error('expected results of tasks that have an end')
    // Other than what never got to a mailbox they hold room, in this one.
    const body = { ...results.body, mailbox: envelope.mailbox }
    await mailboxes.send([{ ...results, body }])
    const tasks = countSeqs(envelope.seqs)
    log.warn({ run: envelope.run, tasks, mailbox, reason: message }, 'tasks end as unreached')
  }

  /** @throws FencedError when somebody else coordinates */
  async #check(): Promise<void> {
    const { lease, epoch } = this.#fence
    try {
      await this.#options.leases.check(lease, epoch)
    } catch (error) {
      if (error instanceof FencedError) this.fenced = error
      throw error
    }
  }
}

/** The same with some of its tasks alone. */
function partOf(envelope: Envelope, kept: ReadonlySet<number>): Envelope {
  const all = [...eachSeq(envelope.seqs)]
  if (kept.size === all.length) return envelope
  const seqs: [number, number][] = []
  for (const seq of all) if (kept.has(seq)) appendSeq(seqs, seq)
  const isKept = (_: unknown, index: number) => kept.has(all[index] ?? -1)
  const { history, tasks, ...rest } = envelope
  return {
    ...rest,
    seqs,
    tasks: tasks.filter(isKept),
    ...(history === undefined ? {} : { history: history.filter(isKept) }),
  }
}

/** Whether somebody takes what is in the mailbox, or is about to. */
function isServed({ kind, node }: MailboxName, records: readonly MemberRecord[]): boolean {
  const serves = ({ kinds, state }: MemberRecord) => state !== 'dead' && kinds.includes(kind)
  if (node === undefined) return records.some(serves)
  // One that drains takes nothing more.
  return records.some(
    (record) => record.id === node && record.state !== 'draining' && serves(record),
  )
}

function reasonOf(
  { kind, node }: MailboxName,
  at: Place | undefined,
  records: readonly MemberRecord[],
): string {
  const living = records.filter(({ state }) => state !== 'dead')
  if (at !== undefined && 'select' in at) {
    const labels = Object.entries(at.select).map(([name, value]) => `${name}=${value}`)
    const which = labels.length === 0 ? '' : ` with ${labels.join(', ')}`
    return `no node${which} runs tasks of kind "${kind}"`
  }
  if (node === undefined) return `no node runs tasks of kind "${kind}"`
  if (living.some(({ id, state }) => id === node && state !== 'draining')) {
    return `node "${node}" does not run tasks of kind "${kind}"`
  }
  return `there is no node "${node}" now, nor a host of that name that the task could be done on`
}
