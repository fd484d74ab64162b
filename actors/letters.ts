/**
 * Dead letters of mailboxes, as workers and collectors write them: before the envelope is settled,
 * so that nothing is given up without a trace; and what goes into the notes of a delivery, so that
 * the next worker can tell who was lost.
 */
import { type Envelope, envelopeVersion, type ResultsEnvelope, resultsMailbox } from './envelope.ts'
import type { Meter } from './meter.ts'
import type { Clock, Delivery, Log, Priority } from './ports.ts'
import type {
  Crash,
  Letter,
  LetterFilter,
  LetterReason,
  Letters,
  NewLetter,
} from './ports-letters.ts'
import type { TopicMessage } from './ports-topics.ts'
import type { Ending } from './settlement.ts'
import type { TaskLine } from './task.ts'
import { flawOfTopicMessage, isTopicMailbox } from './topic-message.ts'

export interface LetterOptions {
  letters: Pick<Letters, 'put'>
  /** Where the deliveries come from. */
  mailbox: string
  node: string
  clock: Pick<Clock, 'now'>
  log: Log
  meter?: Pick<Meter, 'undelivered'>
}

/** Keeps letters; when it resolves they are durable. The same ones again add nothing. */
export async function parkLetters(
  { letters, log, meter }: Pick<LetterOptions, 'letters' | 'log' | 'meter'>,
  parked: readonly NewLetter[],
): Promise<void> {
  if (parked.length === 0) return
  const isNew = await letters.put(parked)
  parked.forEach(({ id, mailbox, reason, error, message }, index) => {
    if (isNew[index] !== true) return
    log.warn({ letter: id, mailbox, reason, code: error.code }, 'a dead letter was kept')
    // A task that ends as `dead` is counted when it is settled.
    if (message !== undefined) meter?.undelivered(mailbox, reason)
  })
}

/**
 * The letter of a task that ended as `dead`.
 * @param notes of its delivery, as they were found; the last crash may be counted in them by now
 */
export function letterOfEnding(
  { mailbox, node, clock }: Pick<LetterOptions, 'mailbox' | 'node' | 'clock'>,
  envelope: Envelope,
  { seq, task, execution }: Ending,
  notes: Readonly<Record<string, string>>,
): NewLetter {
  const { run, kind, priority } = envelope
  const error = execution.error ?? { code: 'DEAD', message: 'ended without saying why' }
  const line: TaskLine = { kind, ...(priority === 'normal' ? {} : { priority }), ...task }
  return {
    id: `${run}.${seq}`,
    at: clock.now(),
    mailbox,
    reason: reasonOf(error.code),
    run,
    seq,
    kind,
    error,
    chain: chainOf(notes, seq),
    origin: { node, run },
    task: line,
  }
}

/** Why a task ended as `dead`, by the code of its error. */
export function reasonOf(code: string | undefined): LetterReason {
  if (code === 'POISON') return 'poison'
  return code === 'AT_MOST_ONCE' ? 'at-most-once' : 'undeliverable'
}

/** Whether a letter is one of those asked for. */
export function fits(letter: Letter, filter: LetterFilter): boolean {
  if (filter.run !== undefined && letter.run !== filter.run) return false
  if (filter.kind !== undefined && letter.kind !== filter.kind) return false
  if (filter.mailbox !== undefined && letter.mailbox !== filter.mailbox) return false
  if (filter.reason !== undefined && letter.reason !== filter.reason) return false
  return filter.state === undefined || letter.state === filter.state
}

/* ---- envelopes of other versions ---- */

/**
 * Keeps a message that is not understood here, as it came. Once that is durable the message may be
 * acknowledged; its tasks stay pending until it is sent back.
 * @returns false when it is understood
 */
export async function parkSchema(options: LetterOptions, delivery: Delivery): Promise<boolean> {
  const { mailbox, node, clock } = options
  const { id, body } = delivery
  const flaw = flawOf(mailbox, body)
  if (flaw === undefined) return false
  const { run, kind } = namesIn(body)
  const letter: NewLetter = {
    // Another version may name its messages in another way; a name is good in its mailbox alone.
    id: `${mailbox}/${id}`,
    at: clock.now(),
    mailbox,
    ...flaw,
    ...(run === undefined ? {} : { run }),
    ...(kind === undefined ? {} : { kind }),
    chain: [],
    origin: { node, ...(run === undefined ? {} : { run }) },
    message: { id, body },
  }
  await parkLetters(options, [letter])
  return true
}

type Understood = Envelope | ResultsEnvelope | TopicMessage

/** Whether this version can read a body of a mailbox. */
export function isUnderstood(mailbox: string, body: unknown): body is Understood {
  return flawOf(mailbox, body) === undefined
}

/** Looks at no more than the outline: it is asked of every message. */
function flawOf(mailbox: string, body: unknown): Pick<NewLetter, 'reason' | 'error'> | undefined {
  const fields = recordOf(body)
  if (isTopicMailbox(mailbox)) {
    const error = flawOfTopicMessage(fields)
    if (error === undefined) return undefined
    return { reason: error.code === 'TOPIC_VERSION' ? 'schema' : 'undeliverable', error }
  }
  const version = fields['v']
  const isResults = mailbox === resultsMailbox
  const what = isResults ? 'durationMs' : 'tasks'
  if (version !== envelopeVersion) {
    const got = version === undefined ? 'none' : JSON.stringify(version)
    const advice = 'redrive it with a node that knows it'
    const message = `expected an envelope of version ${envelopeVersion}, got ${got}: ${advice}`
    return { reason: 'schema', error: { code: 'ENVELOPE_VERSION', message } }
  }
  const isWhole =
    typeof fields['run'] === 'string' &&
    Array.isArray(fields['seqs']) &&
    Array.isArray(fields[what])
  if (isWhole) return undefined
  const message = `expected an envelope with run, seqs and ${what}, got one that lacks some`
  return { reason: 'undeliverable', error: { code: 'ENVELOPE_SHAPE', message } }
}

const priorities: readonly unknown[] = ['critical', 'high', 'normal', 'low'] satisfies Priority[]

/** The priority a body asks for, as far as that can be known. */
export function priorityIn(body: unknown): Priority {
  const { priority } = recordOf(body)
  return priorities.includes(priority) ? (priority as Priority) : 'normal'
}

function namesIn(body: unknown): { run?: string; kind?: string } {
  const { run, kind } = recordOf(body)
  return {
    ...(typeof run === 'string' ? { run } : {}),
    ...(typeof kind === 'string' ? { kind } : {}),
  }
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

/* ---- who was lost: in the notes of a delivery ---- */

/** Who runs a task from now on, as the value of a note. */
export function runnerNote({
  clock,
  node,
  worker,
}: {
  clock: Pick<Clock, 'now'>
  node: string
  worker: string
}): string {
  const crash: Crash = { at: clock.now(), node, worker }
  return JSON.stringify(crash)
}

/**
 * What to note of a crash that was found, beside its count: who ran the task that was running.
 * @param count number of the crash, from 1
 */
export function crashNotes(
  notes: Readonly<Record<string, string>>,
  seq: number,
  count: number,
): Record<string, string> {
  return { [`crash:${seq}:${count}`]: notes['runner'] ?? '{}' }
}

/** Every worker that was lost while it ran a task, oldest first. */
export function chainOf(notes: Readonly<Record<string, string>>, seq: number): Crash[] {
  const counted = Number(notes[`kills:${seq}`] ?? 0)
  const known = Array.from({ length: counted }, (_, index) =>
    crashIn(notes[`crash:${seq}:${index + 1}`]),
  )
  // The last crash is counted by whoever finds it.
  if (notes['running'] === String(seq)) return [...known, crashIn(notes['runner'])]
  const started = notes[`started:${seq}`]
  return started === undefined ? known : [...known, crashIn(started)]
}

function crashIn(note: string | undefined): Crash {
  if (note?.startsWith('{') !== true) return {}
  return JSON.parse(note) as Crash
}
