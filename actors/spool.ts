/** Moves what waits in the spool of a run to its mailboxes, or ends it. */
import { countSeqs, delayOf, type Envelope, workMessage } from './envelope.ts'
import { describeError } from './errors.ts'
import { isStopped } from './holds.ts'
import type { LiveRun } from './live-run.ts'
import type { Message } from './ports.ts'
import type { RunOptions } from './run.ts'
import { unrunMessage } from './unrun.ts'

/** Envelopes looked at in one go. */
const spoolBatch = 16
/** Where all of them end. */
const endBatch = 256

/** Resolves when there is nothing to be moved now. */
export async function moveSpool(
  options: RunOptions,
  live: LiveRun,
  signal: AbortSignal,
): Promise<void> {
  if (isStopped(live.hold)) await hasten(options, live)
  for (;;) {
    const count = isStopped(live.hold) ? endBatch : spoolBatch
    const envelopes = await options.accounting.peekSpool(live.id, count)
    if (envelopes.length === 0) break
    const ended = await endUnrun(options, live, envelopes, signal)
    for (const envelope of envelopes.slice(ended)) {
      const tasks = countSeqs(envelope.seqs)
      // Told to end meanwhile: with others, in one go.
      if (unrunMessage(envelope, live.hold, aboutOf(options)) !== undefined) break
      if (live.hold !== undefined || !(await options.admit(live, tasks))) return
      const moving = () => moveEnvelope(options, live, envelope, tasks, signal)
      await withTurn(options, live, tasks, moving)
      options.giveSpoolRoom(live, tasks)
    }
  }
  // Its source is not read any further: no more tasks will come.
  if (isStopped(live.hold) && live.source === undefined) await options.accounting.close(live.id)
}

/** What waits for its time is not worth waiting for any more. */
async function hasten({ mailboxes, log }: RunOptions, { id }: LiveRun): Promise<void> {
  try {
    await mailboxes.hasten(id)
  } catch (error) {
    log.warn({ run: id, ...describeError(error) }, 'its delayed tasks end when they are due')
  }
}

/**
 * Ends those at the head that are not to be run.
 * @returns how many envelopes that were
 */
async function endUnrun(
  options: RunOptions,
  live: LiveRun,
  envelopes: readonly Envelope[],
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
    await drop(options, live, messages.length, tasks, signal)
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
  await drop(options, live, 1, tasks, signal)
}

/**
 * Aborted, it drops nothing more: somebody else moves this spool from then on, and would lose what
 * he has not sent yet.
 */
async function drop(
  { accounting, driver }: RunOptions,
  { id }: LiveRun,
  envelopes: number,
  tasks: number,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  await accounting.dropSpool(id, envelopes, tasks, driver)
  signal.throwIfAborted()
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
