/** Moves what waits in the spool of a run to its mailboxes, or ends it. */
import { countSeqs, delayOf, type Envelope, workMessage } from './envelope.ts'
import { describeError } from './errors.ts'
import { isStopped } from './holds.ts'
import type { LiveRun } from './live-run.ts'
import type { Message } from './ports.ts'
import type { DropSpool, SpoolHead } from './ports-runs.ts'
import type { RunOptions } from './run.ts'
import { unrunMessage } from './unrun.ts'

/** Envelopes looked at in one go. */
const spoolBatch = 16
/** Where all of them end. */
const endBatch = 256
/** How soon, and then how late, it is looked again for what waits for its time. */
const hastenAgainMs = { first: 500, most: 30_000 }

/** Resolves when there is nothing to be moved now. */
export async function moveSpool(
  options: RunOptions,
  live: LiveRun,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const count = isStopped(live.hold) ? endBatch : spoolBatch
    const { envelopes, mark } = await options.accounting.peekSpool(live.id, count)
    if (envelopes.length === 0) break
    const ended = await endUnrun(options, live, { envelopes, mark }, signal)
    for (const envelope of envelopes.slice(ended)) {
      const tasks = countSeqs(envelope.seqs)
      // Told to end meanwhile: with others, in one go.
      if (unrunMessage(envelope, live.hold, aboutOf(options)) !== undefined) break
      if (live.hold !== undefined || !(await options.admit(live, tasks))) return
      const moving = () => moveEnvelope(options, live, { envelope, mark, tasks }, signal)
      if (!(await withTurn(options, live, tasks, moving))) {
        options.release(live, tasks)
        break
      }
      options.giveSpoolRoom(live, tasks)
    }
  }
  // Its source is not read any further: no more tasks will come.
  if (isStopped(live.hold) && live.source === undefined) await options.accounting.close(live.id)
}

/**
 * Of a run that is stopped nothing is worth waiting for its time any more. Again and again: who has
 * not heard of it yet may still put something off.
 */
async function hastenUntil(
  { mailboxes, log, clock }: RunOptions,
  { id }: LiveRun,
  over: AbortSignal,
): Promise<void> {
  for (let waitMs = hastenAgainMs.first; !over.aborted; ) {
    try {
      await mailboxes.hasten(id)
    } catch (error) {
      log.warn({ run: id, ...describeError(error) }, 'its delayed tasks wait for their time')
    }
    await clock.wait(waitMs, over)
    waitMs = Math.min(waitMs * 2, hastenAgainMs.most)
  }
}

/** At once where the run is stopped already; until it has ended, or its dispatcher has. */
export function hastenOnceStopped(options: RunOptions, live: LiveRun, over: AbortSignal): void {
  const { ended, stopped } = live
  const hasten = () => void hastenUntil(options, live, AbortSignal.any([ended.signal, over]))
  if (stopped.signal.aborted) hasten()
  else stopped.signal.addEventListener('abort', hasten, { once: true })
}

/**
 * Ends those at the head that are not to be run.
 * @returns how many envelopes that were
 */
async function endUnrun(
  options: RunOptions,
  live: LiveRun,
  { envelopes, mark }: SpoolHead,
  signal: AbortSignal,
): Promise<number> {
  const messages: Message[] = []
  let tasks = 0
  for (const envelope of envelopes) {
    const message = unrunMessage(envelope, live.hold, aboutOf(options))
    if (message === undefined) break
    messages.push(message)
    tasks += countSeqs(envelope.seqs)
  }
  if (messages.length === 0) return 0
  options.count(live, tasks)
  await withTurn(options, live, tasks, async () => {
    await options.mailboxes.send(messages)
    await drop(options, live, { mark, envelopes: messages.length, tasks }, signal)
  })
  options.giveSpoolRoom(live, tasks)
  return messages.length
}

function aboutOf({ node, clock }: RunOptions): { node: string; now: number } {
  return { node, now: clock.now() }
}

/** Does what a turn was given for; where that fails, the turn is given back. */
export async function withTurn<Value>(
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

/** @returns false when its run was held back before there was room */
async function moveEnvelope(
  options: RunOptions,
  live: LiveRun,
  { envelope: spooled, mark, tasks }: { envelope: Envelope; mark: string; tasks: number },
  signal: AbortSignal,
): Promise<boolean> {
  let envelope = await routed(options, spooled)
  while (!(await reserve(options, live, envelope, tasks))) {
    await options.roomIn(envelope.mailbox)
    signal.throwIfAborted()
    if (live.hold !== undefined) return false
    // Another node may have room, or that one be gone.
    envelope = await routed(options, spooled)
  }
  signal.throwIfAborted()
  await send(options, { ...envelope, sentAt: options.clock.now() })
  await drop(options, live, { mark, envelopes: 1, tasks }, signal)
  return true
}

/**
 * Aborted, it drops nothing more: somebody else moves this spool from then on, and would lose what
 * he has not sent yet.
 */
async function drop(
  { accounting, driver }: RunOptions,
  { id }: LiveRun,
  what: Omit<DropSpool, 'driver'>,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  await accounting.dropSpool(id, { ...what, driver })
  signal.throwIfAborted()
}

/** In the mailbox of the node that was chosen for it, where one has to be. */
export async function routed({ router }: RunOptions, envelope: Envelope): Promise<Envelope> {
  return envelope.at === undefined || router === undefined ? envelope : router.route(envelope)
}

export function reserve(
  { admission, depthMax }: RunOptions,
  live: LiveRun,
  { mailbox }: Envelope,
  tasks: number,
): Promise<boolean> {
  return admission.reserve(mailbox, live.id, tasks, depthMax)
}

export function send(options: RunOptions, envelope: Envelope): Promise<void> {
  return options.mailboxes.send([workMessage(envelope, delayOf(envelope, options.clock.now()))])
}
