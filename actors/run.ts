/**
 * Binds a live run to its source, its spool and the mailboxes. Every piece of the source is durable
 * (in a mailbox or in the spool) before it is committed, and committed before the next is read.
 */
import { fromPromise } from 'xstate'
import { type RunWork, runMachine } from '../machines/run.ts'
import type { Tell } from './dead-letters.ts'
import { countSeqs, type Envelope, type PackItem, type PackLimits, pack } from './envelope.ts'
import { ConflictError, describeError, UnavailableError } from './errors.ts'
import { isStopped } from './holds.ts'
import { type LiveRun, windowOf } from './live-run.ts'
import type { Admission, Clock, Log, Mailboxes } from './ports.ts'
import type { Accounting, HeldEnvelope } from './ports-runs.ts'
import type { Router } from './router.ts'
import { type Numbered, numberTasks, type SourceLine, type SourcePiece } from './source.ts'
import { moveSpool, reserve, routed, send, withTurn } from './spool.ts'

export interface RunOptions {
  accounting: Accounting
  admission: Admission
  mailboxes: Mailboxes
  clock: Clock
  log: Log
  tell: Tell
  /** Names this node and boot in the runs it drives. */
  driver: string
  /** Who ends tasks that are not run, as results name it. */
  node: string
  pack: PackLimits
  /** Finds a place for the tasks that say where they are to run. */
  router?: Pick<Router, 'placesOf' | 'route'>
  /** Most tasks a mailbox may hold. */
  depthMax: number
  /** How long a piece of the source waits for its turn before it goes to the spool, ms. */
  patienceMs: number
  /**
   * A turn for so many tasks, which count as dispatched from then on; false when it did not come
   * within `patienceMs`, or the run is no longer live.
   */
  admit(live: LiveRun, tasks: number, patienceMs?: number): Promise<boolean>
  /** So many tasks count as dispatched, without a turn. */
  count(live: LiveRun, tasks: number): void
  /** Gives an unused turn back. */
  release(live: LiveRun, tasks: number): void
  /** Resolves when the mailbox has got room, or may have. */
  roomIn(mailbox: string): Promise<void>
  /** Resolves when so many more tasks may be spooled, and counts them; rejects on abort. */
  takeSpoolRoom(live: LiveRun, tasks: number, signal: AbortSignal): Promise<void>
  /** Somebody else drives it now. */
  letGo(live: LiveRun): void
  /** So many tasks are no longer in the spool, or did not get there. */
  giveSpoolRoom(live: LiveRun, tasks: number): void
}

/** What the submitter of a source is told that was not read to its end. */
export const interrupted = 'its source was not read to the end; submit the same again to go on'

/**
 * One logic for all runs: to provide a machine with what it needs costs more than to run it.
 * @param liveOf whose actor has this name, unless there is nothing more to be done for it
 */
export function runLogic(options: RunOptions, liveOf: (actor: string) => LiveRun | undefined) {
  return runMachine.provide({
    actors: {
      takeSource: fromPromise<void, RunWork>(async ({ input, signal }) => {
        const live = liveOf(input.actor)
        if (live === undefined) return
        try {
          const spoolFilled = () => options.tell(input.owner, { type: 'spool.filled' })
          await takeSource(options, live, signalOf(live, signal), spoolFilled)
          live.taken.resolve()
        } catch (error) {
          if (isFedElsewhere(error)) {
            // The same content is being read elsewhere, and is ahead: this source adds nothing.
            // Under a key that is for its submitter to find out.
            if (live.feeder === undefined) live.taken.resolve()
            else live.taken.reject(error)
            return
          }
          options.log.warn({ run: live.id, ...describeError(error) }, 'the source broke off')
          live.taken.reject(error)
          throw error
        } finally {
          delete live.source
        }
      }),
      moveSpool: fromPromise<void, RunWork>(async ({ input, signal }) => {
        const live = liveOf(input.actor)
        if (live === undefined) return
        try {
          await moveSpool(options, live, signalOf(live, signal))
        } catch (error) {
          if (error instanceof ConflictError && error.code === 'RUN_DRIVEN_ELSEWHERE') {
            options.letGo(live)
            return
          }
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
  const { accounting } = options
  for await (const piece of live.source(live.lines)) {
    if (signal.aborted) throw new UnavailableError(`run ${live.id}: ${interrupted}`)
    if (isStopped(live.hold)) break
    while (piece.lines > live.lines) {
      try {
        if (await takePiece(options, live, piece, signal)) spoolFilled()
      } catch (error) {
        if (!isFedElsewhere(error) || live.feeder !== undefined) throw error
        // Who drove it before may have taken one more piece.
        if (!(await catchUp(options, live))) throw error
        spoolFilled()
      }
    }
  }
  await accounting.close(live.id)
}

/** @returns whether something of it went to the spool */
async function takePiece(
  options: RunOptions,
  live: LiveRun,
  piece: SourcePiece,
  signal: AbortSignal,
): Promise<boolean> {
  const { accounting } = options
  const left = piece.lines - live.lines
  const unread = left < piece.read.length ? piece.read.slice(-left) : piece.read
  const { read, isSpread } = untilSpread(unread)
  const lines = piece.lines - (unread.length - read.length)
  const places = await options.router?.placesOf(read)
  const numbered = await numberTasks(accounting, live.id, live.accepted, read, places)
  const { free, ended, held } = packAll(options, live, numbered)
  const direct = isSpread ? 0 : await sendDirectly(options, live, free)
  const spool = [...ended, ...free.slice(direct)]
  const waiting = [...spool, ...held.map(({ envelope }) => envelope)]
  const tasks = waiting.reduce((sum, envelope) => sum + countSeqs(envelope.seqs), 0)
  if (tasks > 0) await options.takeSpoolRoom(live, tasks, signal)
  try {
    await accounting.commit(live.id, {
      afterLine: live.lines,
      lines,
      ...(piece.hashes === undefined ? {} : { linesHash: piece.hashes.of(lines) }),
      ...(live.feeder === undefined ? {} : { feeder: live.feeder }),
      accepted: numbered.accepted,
      rejected: numbered.rejected,
      spool,
      held,
    })
  } catch (error) {
    options.giveSpoolRoom(live, tasks)
    throw error
  }
  live.lines = lines
  live.accepted = numbered.accepted
  return tasks > 0
}

/**
 * A line that is one task for each node is committed on its own, before any of them is sent: sent
 * again after a crash it may be another number of tasks, and those behind it would get other seqs.
 */
function untilSpread(read: readonly SourceLine[]): {
  read: readonly SourceLine[]
  isSpread: boolean
} {
  const first = read.findIndex(({ accepted }) => accepted?.task.placement === 'all')
  if (first < 0) return { read, isSpread: false }
  return { read: read.slice(0, Math.max(1, first)), isSpread: first === 0 }
}

function isFedElsewhere(error: unknown): boolean {
  return error instanceof ConflictError && error.code === 'RUN_FED_ELSEWHERE'
}

/**
 * Goes on from where another source has got with the run.
 * @returns whether there is anything for this one to go on with
 */
async function catchUp(options: RunOptions, live: LiveRun): Promise<boolean> {
  const progress = await options.accounting.get(live.id)
  if (progress === undefined || progress.driver !== options.driver || progress.closed) return false
  const spooled = progress.spooled - live.spooled
  const dispatched = progress.accepted - live.accepted - spooled
  live.lines = progress.lines
  live.accepted = progress.accepted
  options.giveSpoolRoom(live, -spooled)
  options.count(live, dispatched)
  return true
}

interface Packed {
  free: Envelope[]
  /** Marked with how they end. */
  ended: Envelope[]
  held: HeldEnvelope[]
}

/** Only what has in common what it waits for, or how it ends, travels together. */
function packAll(options: RunOptions, live: LiveRun, { items, accepted }: Numbered): Packed {
  const limits = withinWindow(options.pack, windowOf({ ...live, accepted }))
  const packed = (group: readonly PackItem[]) => {
    const envelopes = pack(live.id, group, options.clock.now(), limits)
    if (live.fence !== undefined) for (const envelope of envelopes) envelope.fence = live.fence
    return envelopes
  }
  const isFree = ({ needs, ends }: PackItem) => needs === undefined && ends === undefined
  // Nearly always all of them.
  if (items.every(isFree)) return { free: packed(items), ended: [], held: [] }
  const ended: Envelope[] = []
  const held: HeldEnvelope[] = []
  const bound = items.filter((item) => !isFree(item))
  const groups = Map.groupBy(bound, ({ needs, ends }) => JSON.stringify(ends ?? needs))
  for (const group of groups.values()) {
    const { ends, needs = [] } = group[0] ?? {}
    for (const envelope of packed(group)) {
      if (ends === undefined) held.push({ envelope, needs })
      else ended.push({ ...envelope, ends })
    }
  }
  return { free: packed(items.filter(isFree)), ended, held }
}

/** Of a run with a window several envelopes fit into it, so that it moves on smoothly. */
function withinWindow(limits: PackLimits, window: number): PackLimits {
  if (window === Number.POSITIVE_INFINITY) return limits
  return { ...limits, tasksMax: Math.max(1, Math.min(limits.tasksMax, Math.floor(window / 8))) }
}

/** Send as many envelopes, in order, as find their turn soon; returns how many. */
async function sendDirectly(
  options: RunOptions,
  live: LiveRun,
  envelopes: readonly Envelope[],
): Promise<number> {
  // What waits in the spool goes first.
  if (live.spooled > 0 || live.hold !== undefined) return 0
  const until = options.clock.monotonic() + options.patienceMs
  let sent = 0
  const sends: Promise<void>[] = []
  for (const packed of envelopes) {
    const tasks = countSeqs(packed.seqs)
    const patienceMs = Math.max(0, until - options.clock.monotonic())
    if (!(await options.admit(live, tasks, patienceMs))) break
    const envelope =
      packed.at === undefined
        ? packed
        : await withTurn(options, live, tasks, () => routed(options, packed))
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
