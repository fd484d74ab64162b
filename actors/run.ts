/**
 * Binds a live run to its source, its spool and the mailboxes. Every piece of the source is durable
 * (in a mailbox or in the spool) before it is committed, and committed before the next is read.
 */
import { fromPromise } from 'xstate'
import { runMachine } from '../machines/run.ts'
import type { Owned } from '../machines/service.ts'
import type { Tell } from './dead-letters.ts'
import {
  countSeqs,
  delayOf,
  type Envelope,
  type PackLimits,
  pack,
  workMessage,
} from './envelope.ts'
import { ConflictError, describeError, UnavailableError } from './errors.ts'
import type { Accounting, Admission, Clock, Log, Mailboxes } from './ports.ts'
import type { FencingToken } from './ports-fleet.ts'
import { numberTasks, type Source } from './source.ts'

export interface RunOptions {
  accounting: Accounting
  admission: Admission
  mailboxes: Mailboxes
  clock: Clock
  log: Log
  tell: Tell
  pack: PackLimits
  /** Most tasks a mailbox may hold. */
  depthMax: number
  /** How long a piece of the source waits for its turn before it goes to the spool, ms. */
  patienceMs: number
  /**
   * A turn for so many tasks, which count as dispatched from then on; false when it did not come
   * within `patienceMs`, or the run is no longer live.
   */
  admit(live: LiveRun, tasks: number, patienceMs?: number): Promise<boolean>
  /** Gives an unused turn back. */
  release(live: LiveRun, tasks: number): void
  /** Resolves when the mailbox has got room, or may have. */
  roomIn(mailbox: string): Promise<void>
  /** Resolves when so many more tasks may be spooled, and counts them; rejects on abort. */
  takeSpoolRoom(live: LiveRun, tasks: number, signal: AbortSignal): Promise<void>
  /** So many tasks are no longer in the spool, or did not get there. */
  giveSpoolRoom(live: LiveRun, tasks: number): void
}

/** A live run, shared by its actor and whoever submitted it. */
export interface LiveRun {
  id: string
  /** Name of its actor. */
  actor: string
  /** An actor of it has come to life. */
  begun: boolean
  /** Aborted as soon as nothing more is to be done for it, before its actor hears of it. */
  ended: AbortController
  lines: number
  accepted: number
  /** Tasks in the spool. */
  spooled: number
  /** Tasks that had their turn here, or were found in the mailboxes. */
  dispatched: number
  /** Tasks with a final outcome, as last heard. */
  done: number
  source?: Source
  /** Hash of the source's lines, where it was known beforehand. */
  content?: string
  /** In whose name its tasks run. */
  fence?: FencingToken
  /** Settles when the source has been taken to its end, or broke off. */
  taken: PromiseWithResolvers<void>
}

/** What the submitter of a source is told that was not read to its end. */
export const interrupted = 'its source was not read to the end; submit the same again to go on'

export function runLogic(options: RunOptions, live: LiveRun) {
  return runMachine.provide({
    actors: {
      takeSource: fromPromise<void, Owned>(async ({ input, signal }) => {
        try {
          const spoolFilled = () => options.tell(input.owner, { type: 'spool.filled' })
          await takeSource(options, live, signalOf(live, signal), spoolFilled)
          live.taken.resolve()
        } catch (error) {
          if (error instanceof ConflictError && error.code === 'RUN_FED_ELSEWHERE') {
            // The same content is being read elsewhere, and is ahead: this source adds nothing.
            live.taken.resolve()
            return
          }
          options.log.warn({ run: live.id, ...describeError(error) }, 'the source broke off')
          live.taken.reject(error)
          throw error
        } finally {
          delete live.source
        }
      }),
      moveSpool: fromPromise<void, Owned>(async ({ signal }) => {
        try {
          await moveSpool(options, live, signalOf(live, signal))
        } catch (error) {
          options.log.warn({ run: live.id, ...describeError(error) }, 'the spool does not move')
          throw error
        }
      }),
    },
  })
}

const signalOf = ({ ended }: LiveRun, signal: AbortSignal) =>
  AbortSignal.any([ended.signal, signal])

async function takeSource(
  options: RunOptions,
  live: LiveRun,
  signal: AbortSignal,
  spoolFilled: () => void,
): Promise<void> {
  if (live.source === undefined) return
  const { accounting, clock } = options
  for await (const piece of live.source(live.lines)) {
    if (signal.aborted) throw new UnavailableError(`run ${live.id}: ${interrupted}`)
    if (piece.lines === live.lines) continue
    const numbered = await numberTasks(accounting, live.id, live.accepted, piece.read)
    const envelopes = pack(live.id, numbered.items, clock.now(), options.pack)
    if (live.fence !== undefined) for (const envelope of envelopes) envelope.fence = live.fence
    const direct = await sendDirectly(options, live, envelopes)
    const spool = envelopes.slice(direct)
    const tasks = spool.reduce((sum, envelope) => sum + countSeqs(envelope.seqs), 0)
    if (tasks > 0) await options.takeSpoolRoom(live, tasks, signal)
    try {
      await accounting.commit(live.id, {
        afterLine: live.lines,
        lines: piece.lines,
        accepted: numbered.accepted,
        rejected: numbered.rejected,
        spool,
      })
    } catch (error) {
      options.giveSpoolRoom(live, tasks)
      throw error
    }
    live.lines = piece.lines
    live.accepted = numbered.accepted
    if (tasks > 0) spoolFilled()
  }
  await accounting.close(live.id)
}

/** Send as many envelopes, in order, as find their turn soon; returns how many. */
async function sendDirectly(
  options: RunOptions,
  live: LiveRun,
  envelopes: readonly Envelope[],
): Promise<number> {
  // What waits in the spool goes first.
  if (live.spooled > 0) return 0
  const until = options.clock.monotonic() + options.patienceMs
  let sent = 0
  const sends: Promise<void>[] = []
  for (const envelope of envelopes) {
    const tasks = countSeqs(envelope.seqs)
    const patienceMs = Math.max(0, until - options.clock.monotonic())
    if (!(await options.admit(live, tasks, patienceMs))) break
    const reserving = () => reserve(options, live, envelope, tasks)
    if (!(await withTurn(options, live, tasks, reserving))) {
      options.release(live, tasks)
      break
    }
    const sending = withTurn(options, live, tasks, () => send(options, envelope))
    // It is waited for below; until then nobody else may take its failure for unheard.
    sending.catch(() => undefined)
    sends.push(sending)
    sent += 1
  }
  await Promise.all(sends)
  return sent
}

/** Does what a turn was given for; where that fails, the turn is given back. */
async function withTurn<Value>(
  options: RunOptions,
  live: LiveRun,
  tasks: number,
  act: () => Promise<Value>,
): Promise<Value> {
  try {
    return await act()
  } catch (error) {
    options.release(live, tasks)
    throw error
  }
}

function reserve(
  { admission, depthMax }: RunOptions,
  live: LiveRun,
  { mailbox }: Envelope,
  tasks: number,
): Promise<boolean> {
  return admission.reserve(mailbox, live.id, tasks, depthMax)
}

function send(options: RunOptions, envelope: Envelope): Promise<void> {
  return options.mailboxes.send([workMessage(envelope, delayOf(envelope, options.clock.now()))])
}

/** Envelopes looked at in one go. */
const spoolBatch = 16

async function moveSpool(options: RunOptions, live: LiveRun, signal: AbortSignal): Promise<void> {
  for (;;) {
    const envelopes = await options.accounting.peekSpool(live.id, spoolBatch)
    if (envelopes.length === 0) return
    for (const envelope of envelopes) {
      const tasks = countSeqs(envelope.seqs)
      if (!(await options.admit(live, tasks))) return
      const moving = () => moveEnvelope(options, live, envelope, tasks, signal)
      await withTurn(options, live, tasks, moving)
      options.giveSpoolRoom(live, tasks)
    }
  }
}

/**
 * Aborted, it drops nothing more: somebody else moves this spool from then on, and would lose what
 * he has not sent yet.
 */
async function moveEnvelope(
  options: RunOptions,
  live: LiveRun,
  envelope: Envelope,
  tasks: number,
  signal: AbortSignal,
): Promise<void> {
  while (!(await reserve(options, live, envelope, tasks))) {
    await options.roomIn(envelope.mailbox)
    signal.throwIfAborted()
  }
  signal.throwIfAborted()
  await send(options, envelope)
  signal.throwIfAborted()
  await options.accounting.dropSpool(live.id, 1, tasks)
  signal.throwIfAborted()
}
