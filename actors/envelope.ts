/**
 * Envelopes: what travels through a mailbox. One envelope carries neighbours of one run that have
 * kind, key partition, priority and delay in common, so that the cost of delivery, accounting and
 * storage is paid per envelope and not per task.
 */
import type { Decision } from '../machines/balancer.ts'
import { fnv1a, shardOf } from '../machines/fnv.ts'
import type { Outcome } from '../machines/outcome.ts'
import {
  mailboxKind,
  nodeMailbox,
  nowhere,
  type Place,
  remoteMailbox,
  shardMailbox,
  workMailbox,
} from './place.ts'
import type { Attempt, Message, Priority } from './ports.ts'
import type { FencingToken } from './ports-fleet.ts'
import type { SeqRange } from './ports-runs.ts'
import type { ResultBatch } from './results.ts'
import type { AcceptedTask, Task } from './task.ts'

/** Version of both shapes below; they stand in Redis. */
export const envelopeVersion = 1

/** Work for a worker. */
export interface Envelope {
  v: typeof envelopeVersion
  run: string
  mailbox: string
  kind: string
  priority: Priority
  /** Which try this is; 1 is the first. */
  attempt: number
  /** Epoch ms from which its tasks could have run. */
  readyAt: number
  /** Epoch ms of when it came out of the spool of its run, where it waited for leave to go. */
  sentAt?: number
  /** The seqs of `tasks`, ascending. */
  seqs: SeqRange[]
  tasks: Task[]
  /** Earlier attempts of each task, from the second try on. */
  history?: (readonly Attempt[])[]
  /** In whose name they run: refused once somebody else leads. */
  fence?: FencingToken
  /** How often it was put back because its run was paused. */
  parks?: number
  /** In a spool: they are not to run, and this is how they end. */
  ends?: Ends
  /** Where they are to run, when that is not anywhere. */
  at?: Place
  /** Noted of it in the mailbox that it was moved from, where a worker was lost with it. */
  notes?: Record<string, string>
  /** Why they are in the mailbox of that node, where somebody chose it. */
  routing?: Decision
}

/** How tasks end that are never run. */
export interface Ends {
  outcome: Outcome
  error: { code: string; message: string }
}

/** Final outcomes for a collector. */
export interface ResultsEnvelope extends ResultBatch {
  v: typeof envelopeVersion
  /** The work mailbox whose room the tasks hold, '' when they hold none. */
  mailbox: string
}

/** How those end that waited for a task which is not ok. */
export function endedByParent(envelope: Envelope, seq: number, outcome: Outcome): Envelope {
  const message = `task ${seq}, which it depends on, ended as ${outcome}`
  return { ...envelope, ends: { outcome: 'unreached', error: { code: 'PARENT_NOT_OK', message } } }
}

/** What a task says beside its id and its target, which its result says; undefined: nothing. */
export function bodyOf(task: Task): Task | undefined {
  for (const field in task) {
    if (field === 'id' || field === 'target') continue
    const { id: _, target: __, ...body } = task
    return body
  }
  return undefined
}

export const resultsMailbox = 'results'

export function countSeqs(seqs: readonly SeqRange[]): number {
  return seqs.reduce((sum, [, count]) => sum + count, 0)
}

export function* eachSeq(seqs: readonly SeqRange[]): Generator<number> {
  for (const [first, count] of seqs) {
    for (let seq = first; seq < first + count; seq += 1) yield seq
  }
}

/** Add a seq, larger than all before it, to ranges. */
export function appendSeq(seqs: [number, number][], seq: number): void {
  const last = seqs[seqs.length - 1]
  if (last !== undefined && last[0] + last[1] === seq) last[1] += 1
  else seqs.push([seq, 1])
}

/**
 * The id under which a set of tasks stands in a mailbox. Made of run, seqs and attempt alone, so
 * that whoever sends the same tasks again (lost reply, restart, second dispatcher) adds nothing.
 * The whole set counts, not its first seq: after a crash the same tasks may be packed otherwise,
 * and a collision of different sets would lose tasks.
 */
export function envelopeId(
  envelope: Pick<Envelope, 'run' | 'seqs' | 'attempt' | 'parks'>,
  suffix = '',
): string {
  const parks = envelope.parks === undefined ? '' : `p${envelope.parks}`
  const first = envelope.seqs[0] ?? [0, 0]
  const scattered = () => fnv1a(JSON.stringify(envelope.seqs)).toString(36)
  const set =
    envelope.seqs.length === 1
      ? `${first[0]}+${first[1]}`
      : `${first[0]}~${countSeqs(envelope.seqs)}~${scattered()}`
  return `${envelope.run}.${set}.${envelope.attempt}${parks}${suffix}`
}

export function workMessage(envelope: Envelope, delayMs = 0): Message {
  const { mailbox, priority } = envelope
  return {
    mailbox,
    id: envelopeId(envelope),
    // Where order counts, nothing may overtake.
    priority: mailboxKind(mailbox)?.ordered === true ? 'normal' : priority,
    delayMs,
    body: envelope,
  }
}

export interface PackLimits {
  tasksMax: number
  bytesMax: number
  keyPartitions: number
  /** Mailboxes that the keys of a kind are shared out to, where that is asked for. */
  shards: number
  /** Tasks of a kind (and source) that make up one envelope's share of work, at least 1. */
  tasksOf(kind: string, source?: string): number
  /** The source of a task if it has a limit of its own: those wait, and must not keep others. */
  sourceOf?(task: Task): string | undefined
}

/** A task on its way into an envelope; `bytes` is the length of its line. */
export interface PackItem extends AcceptedTask {
  seq: number
  bytes: number
  /** Seqs of the tasks that must be ok before it is run. */
  needs?: readonly number[]
  /** It is not run, and ends so. */
  ends?: Ends
  /** Where it is to run, when that is not anywhere. */
  at?: Place
  /** Tasks that may travel with it at most, so that all nodes get some of them. */
  tasksMax?: number
}

interface Open {
  envelope: Envelope & { seqs: [number, number][] }
  group: string
  bytes: number
  tasksMax: number
}

/** Pack tasks, in order of seq, into envelopes, in order of their first seq. */
export function pack(
  run: string,
  items: readonly PackItem[],
  acceptedAt: number,
  limits: PackLimits,
): Envelope[] {
  const packed: Envelope[] = []
  const open = new Map<string, Open>()
  /** Where the task before went, when there was nothing special about it. */
  let last: Open | undefined
  for (const item of items) {
    if (last !== undefined && isLike(last, item) && limits.sourceOf === undefined) {
      if (hasRoomFor(last, item, limits)) {
        addTo(last, item)
        continue
      }
    }
    const mailbox = mailboxOf(item, limits)
    const delayMs = item.task.delayMs ?? 0
    const source = limits.sourceOf?.(item.task)
    const origin = `${mailbox}|${source ?? ''}`
    // Those that must not run twice travel alone: only they pay for a note before each run.
    const { at } = item
    const place = at === undefined ? '' : JSON.stringify(at)
    const group = `${origin}|${item.priority}|${delayMs}|${item.task.delivery ?? ''}|${place}`
    // Where order counts, an envelope ends with the first task that is packed otherwise: what comes
    // after that one must not join what goes before it.
    const slot = item.task.key === undefined ? group : mailbox
    let current = open.get(slot)
    if (current === undefined || current.group !== group || !hasRoomFor(current, item, limits)) {
      current = {
        envelope: {
          v: envelopeVersion,
          run,
          mailbox,
          kind: item.kind,
          priority: item.priority,
          attempt: 1,
          readyAt: acceptedAt + delayMs,
          seqs: [],
          tasks: [],
          ...(at === undefined ? {} : { at }),
        },
        group,
        bytes: 0,
        tasksMax: tasksMaxOf(item, limits, source),
      }
      open.set(slot, current)
      packed.push(current.envelope)
    }
    addTo(current, item)
    last = isPlain(item) ? current : undefined
  }
  return packed
}

/** Of those that any node of several may have, one is chosen when the envelope is sent. */
function mailboxOf({ kind, task: { key, placement }, at }: PackItem, limits: PackLimits): string {
  const { keyPartitions, shards } = limits
  if (at === undefined) {
    const isSharded = placement === 'sharded' && key !== undefined
    if (isSharded) return shardMailbox(kind, shardOf(key, shards))
    return workMailbox(kind, key, keyPartitions)
  }
  if ('node' in at) return nodeMailbox(kind, key, keyPartitions, at.node)
  if ('select' in at) return nodeMailbox(kind, key, keyPartitions, nowhere)
  return key === undefined ? remoteMailbox(kind) : workMailbox(kind, key, keyPartitions)
}

function tasksMaxOf({ kind, tasksMax }: PackItem, limits: PackLimits, source?: string): number {
  const most = Math.min(limits.tasksMax, limits.tasksOf(kind, source))
  return Math.max(1, tasksMax === undefined ? most : Math.min(most, tasksMax))
}

/** Nothing about it but its kind and its priority says which envelope it belongs to. */
function isPlain({ at, task: { key, delayMs, delivery } }: PackItem): boolean {
  return at === undefined && key === undefined && delayMs === undefined && delivery === undefined
}

function isLike({ envelope }: Open, item: PackItem): boolean {
  return envelope.kind === item.kind && envelope.priority === item.priority && isPlain(item)
}

function hasRoomFor(
  { envelope, bytes, tasksMax }: Open,
  item: PackItem,
  { bytesMax }: PackLimits,
): boolean {
  return envelope.tasks.length < tasksMax && bytes + item.bytes <= bytesMax
}

function addTo(open: Open, { seq, task, bytes }: PackItem): void {
  appendSeq(open.envelope.seqs, seq)
  open.envelope.tasks.push(task)
  open.bytes += bytes
}

/**
 * Since when its tasks have waited for a worker, epoch ms. In the spool they waited for the window
 * of their run, for tasks that they depend on or for room, which no worker could have shortened.
 */
export function waitsSince({ readyAt, sentAt = readyAt }: Envelope): number {
  return Math.max(readyAt, sentAt)
}

/** The delay an envelope still has to wait. */
export function delayOf(envelope: Envelope, now: number): number {
  return Math.max(0, envelope.readyAt - now)
}
