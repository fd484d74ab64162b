/**
 * Redriving dead letters. The outcome of a task is final in its run: a redriven task runs in a new
 * one, whose parent is the old. A message that was not understood goes back to its mailbox as it
 * came, once it is.
 */
import { fnv1a } from '../machines/fnv.ts'
import type { Dispatcher } from './dispatcher.ts'
import { describeError, NotAcceptingError } from './errors.ts'
import { isUnderstood, priorityIn } from './letters.ts'
import type { Log, Mailboxes } from './ports.ts'
import type { Claim, LetterFilter, Letters, Link, WholeLetter } from './ports-letters.ts'
import type { Source, SourceLine } from './source.ts'
import type { Submission } from './submission.ts'
import type { TaskLine } from './task.ts'

export interface RedriveOptions {
  letters: Letters
  mailboxes: Pick<Mailboxes, 'send'>
  /** Undefined: this node does not dispatch, and can only send messages back. */
  dispatcher: Pick<Dispatcher, 'submit'> | undefined
  log: Log
}

/** These letters, or all that fit and that nobody has redriven since they came. */
export type Redrivable = { ids: readonly string[] } | { filter: Omit<LetterFilter, 'state'> }

export interface Redriven {
  /** What was redriven, and where to. */
  redriven: { id: string; run?: string; mailbox?: string }[]
  refused: { id: string; code: string; message: string }[]
  /** More letters fit than are redriven at a time: ask again. */
  more?: true
}

/** A task that ends as dead after so many redrives will do so again. */
export const redrivesMax = 3
/** Letters redriven by one request. */
const lettersMax = 10_000
/** What they may hold together, as JSON. */
const bytesMax = 64 * 1_048_576
const pageSize = 500
/** Letters that were redriven too often, named in an answer. */
const wornMax = 100

interface Claimed {
  letter: WholeLetter
  claim: Extract<Claim, { granted: true }>
}

export async function redrive(
  options: RedriveOptions,
  wanted: Redrivable,
  reason: string,
): Promise<Redriven> {
  const { ids, more, worn } = 'ids' in wanted ? named(wanted.ids) : await find(options, wanted)
  const done: Redriven = { redriven: [], refused: [], ...(more ? { more } : {}) }
  for (const { id, redrives } of worn) {
    done.refused.push({ id, ...refusalOf({ granted: false, why: 'often', redrives }) })
  }
  const found = (await options.letters.get(ids)).map((letter, index) => ({
    id: ids[index] ?? '',
    letter,
  }))
  const byRun = Map.groupBy(found, ({ id, letter }) =>
    letter?.task === undefined ? `/${id}` : (letter.run ?? ''),
  )
  for (const [run, group] of byRun) {
    // In the order they had: keyed ones keep it.
    const inOrder = group.toSorted((a, b) => (a.letter?.seq ?? 0) - (b.letter?.seq ?? 0))
    const claimed = await claimAll(options, inOrder, done)
    if (claimed.length === 0) continue
    try {
      if (claimed[0]?.letter.task === undefined) await sendBack(options, claimed, done)
      else await runAgain(options, run, claimed, reason, done)
    } catch (error) {
      // What was done before stays done, and whoever asked must hear of it.
      for (const { letter } of claimed) {
        done.refused.push({ id: letter.id, ...describeError(error) })
      }
      if (done.redriven.length === 0) throw error
    }
  }
  if (done.redriven.length > 0) {
    const { redriven, refused } = done
    const counts = { letters: redriven.length, refused: refused.length, reason }
    options.log.info(counts, 'dead letters were redriven')
  }
  return done
}

function named(ids: readonly string[]): Found {
  const all = [...new Set(ids)]
  return { ids: all.slice(0, lettersMax), more: all.length > lettersMax, worn: [] }
}

interface Found {
  ids: string[]
  more: boolean
  /** They would be refused: no use in reading them. */
  worn: { id: string; redrives: number }[]
}

async function find(
  { letters }: RedriveOptions,
  { filter }: { filter: LetterFilter },
): Promise<Found> {
  const found: Found = { ids: [], more: false, worn: [] }
  const { ids, worn } = found
  let bytes = 0
  let after: string | undefined
  do {
    const place = after === undefined ? {} : { after }
    const page = await letters.list({ ...filter, state: 'open', limit: pageSize, ...place })
    for (const { id, redrives, bytes: own } of page.items) {
      if (redrives >= redrivesMax) {
        if (worn.length < wornMax) worn.push({ id, redrives })
        continue
      }
      if (ids.length >= lettersMax || (ids.length > 0 && bytes + own > bytesMax)) {
        return { ...found, more: true }
      }
      ids.push(id)
      bytes += own
    }
    after = page.next
  } while (after !== undefined)
  return found
}

async function claimAll(
  { letters }: RedriveOptions,
  group: readonly { id: string; letter: WholeLetter | undefined }[],
  done: Redriven,
): Promise<Claimed[]> {
  const claimed: Claimed[] = []
  for (const { id, letter } of group) {
    const refusal = letter === undefined ? missing : flawOf(letter)
    if (letter === undefined || refusal !== undefined) {
      done.refused.push({ id, ...(refusal ?? missing) })
      continue
    }
    const claim = await letters.claim(id, redrivesMax)
    if (claim.granted) claimed.push({ letter, claim })
    else done.refused.push({ id, ...refusalOf(claim) })
  }
  return claimed
}

const missing = {
  code: 'NOT_FOUND',
  message: 'there is no such dead letter (any more); `muster deadletters ls` lists those there are',
}

function flawOf({ mailbox, message, task, error }: WholeLetter): typeof missing | undefined {
  if (message === undefined) {
    if (task !== undefined) return undefined
    return { code: 'NO_CONTENTS', message: 'expected a task or a message in it, and there is none' }
  }
  if (isUnderstood(mailbox, message.body)) return undefined
  const advice = 'ask a node of the version that wrote it'
  return { code: error.code, message: `this node does not understand it either: ${advice}` }
}

function refusalOf(claim: Extract<Claim, { granted: false }>): typeof missing {
  if (claim.why === 'missing') return missing
  if (claim.why === 'gone') {
    return { code: 'REDRIVEN', message: 'its message was sent back, and has not come here again' }
  }
  const often = `it was redriven ${claim.redrives} times, and ${redrivesMax} is the limit`
  return {
    code: 'REDRIVEN_OFTEN',
    message: `${often}; mend what it needs and submit its task anew`,
  }
}

async function sendBack(
  { letters, mailboxes }: RedriveOptions,
  claimed: readonly Claimed[],
  done: Redriven,
): Promise<void> {
  for (const { letter, claim } of claimed) {
    const { id, mailbox, message } = letter
    if (message === undefined || !isUnderstood(mailbox, message.body)) continue
    try {
      const { body } = message
      const priority = priorityIn(body)
      await mailboxes.send([{ mailbox, id: message.id, priority, delayMs: 0, body }])
    } catch (error) {
      await letters.unclaim(id)
      throw error
    }
    await letters.redriven(id, mailbox, claim.puts)
    done.redriven.push({ id, mailbox })
  }
}

async function runAgain(
  { letters, dispatcher }: RedriveOptions,
  parent: string,
  claimed: readonly Claimed[],
  reason: string,
  done: Redriven,
): Promise<void> {
  const opened = Promise.withResolvers<string>()
  let isOpen = false
  const links = claimed.map(({ letter, claim }, seq) => ({
    seq,
    letter: letter.id,
    redrives: claim.redrives,
  }))
  // Before the first task can end: its letter must find what it is a redrive of.
  const linked = opened.promise.then((run) => letters.link(run, links))
  linked.catch(() => undefined)
  const lines = claimed.flatMap(({ letter }) => (letter.task === undefined ? [] : [letter.task]))
  try {
    if (dispatcher === undefined) throw new NotAcceptingError('draining', noDispatcher, 5000)
    const submission: Submission = {
      source: sourceOf(lines, linked),
      content: contentOf(parent, links),
      tasks: lines.length,
      reason,
      parent,
      onOpen: (id) => {
        isOpen = true
        opened.resolve(id)
      },
    }
    const { run } = await dispatcher.submit(submission)
    for (const { letter, claim } of claimed) {
      await letters.redriven(letter.id, run.id, claim.puts)
      done.redriven.push({ id: letter.id, run: run.id })
    }
  } catch (error) {
    // Once it is open, some of its tasks may run.
    if (!isOpen) await Promise.all(claimed.map(({ letter }) => letters.unclaim(letter.id)))
    throw error
  }
}

/** Broken off and asked for again, it goes on with the same run. */
function contentOf(parent: string, links: readonly Link[]): string {
  const letters = links.map(({ letter }) => letter)
  const set = [letters, letters.toReversed()].map((ids) => fnv1a(ids.join(' ')).toString(36))
  return `redrive ${parent} ${letters.length} ${set.join(' ')}`
}

const noDispatcher = 'this node does not dispatch (its roles leave it out); ask another one'

/** Tasks as they were accepted before: nothing of them needs to be checked or filled in again. */
function sourceOf(tasks: readonly TaskLine[], ready: Promise<void>): Source {
  return async function* (afterLine) {
    await ready
    for (let first = afterLine; first < tasks.length; first += pageSize) {
      const piece = tasks.slice(first, first + pageSize)
      const read = piece.map((task, index) => sourceLine(task, first + index + 1))
      yield { lines: first + piece.length, read }
    }
  }
}

function sourceLine(line: TaskLine, number: number): SourceLine {
  // Those it waited for were ok; it has had its delay; and it is to run, though it did before.
  const { kind, priority = 'normal', ...task } = line
  for (const field of ['dependsOn', 'delayMs', 'dedupeKey', 'dedupeTtlMs'] as const) {
    delete task[field]
  }
  return {
    line: number,
    bytes: JSON.stringify(line).length,
    accepted: { kind, priority, task },
  }
}
