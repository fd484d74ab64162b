/** A live run: what its actor, its dispatcher and whoever submitted it share. */
import { NotFoundError } from './errors.ts'
import { isStopped } from './holds.ts'
import type { Log } from './ports.ts'
import type { FencingToken } from './ports-fleet.ts'
import type { Hold, RunProgress, Share } from './ports-runs.ts'
import type { Source, SourcePiece } from './source.ts'

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
  /** Tasks that were ever put back into it from their mailboxes, as last heard. */
  parked: number
  /** Counts the notices of it: what was asked for before one of them may be older. */
  heard: number
  /** Tasks that had their turn here, or were found in the mailboxes. */
  dispatched: number
  /** Tasks with a final outcome, as last heard. */
  done: number
  source?: Source
  /** Hash of the source's lines, where it was known beforehand. */
  content?: string
  /** Which submission feeds it, when it was opened under a key. */
  feeder?: string
  /** In whose name its tasks run. */
  fence?: FencingToken
  /** What holds it back, as last heard. */
  hold?: Hold
  window?: Share
  /** Aborted when it is cancelled or halted: none of its tasks is to be started any more. */
  stopped: AbortController
  /** Settles when the source has been taken to its end, or broke off. */
  taken: PromiseWithResolvers<void>
  /** Resolved, and made anew, when tasks are done and when what holds it back changes. */
  news: PromiseWithResolvers<void>
}

export function newLiveRun(progress: RunProgress, actor: string): LiveRun {
  const { run, lines, accepted, spooled, parked, content, feeder, fence, hold, window } = progress
  const live: LiveRun = {
    id: run.id,
    actor,
    begun: false,
    ended: new AbortController(),
    stopped: new AbortController(),
    lines,
    accepted,
    spooled,
    parked,
    heard: 0,
    dispatched: accepted - spooled,
    done: run.total - run.counts.pending,
    taken: Promise.withResolvers<void>(),
    news: Promise.withResolvers<void>(),
    ...(content === undefined ? {} : { content }),
    ...(feeder === undefined ? {} : { feeder }),
    ...(fence === undefined ? {} : { fence }),
    ...(hold === undefined ? {} : { hold }),
    ...(window === undefined ? {} : { window }),
  }
  if (isStopped(hold)) live.stopped.abort()
  // Nobody may be waiting for it.
  live.taken.promise.catch(() => undefined)
  return live
}

export function setHold(live: LiveRun, hold: Hold | undefined): void {
  if (hold === undefined) delete live.hold
  else live.hold = hold
  if (isStopped(hold)) live.stopped.abort()
}

/** Redis no longer knows it: nobody may go on as if it were known what was accepted. */
export function loseRun(live: LiveRun, log: Log, end: () => void): void {
  const { id: run, accepted, done } = live
  const message =
    `run ${run} is gone: Redis has lost what was accepted (emptied, or started without its ` +
    'data); what results there are remain stored, and the tasks can be submitted anew'
  log.error({ run, accepted, done }, message)
  live.taken.reject(new NotFoundError(message))
  end()
}

/** Whoever waits for news of it is to look again. */
export function tellNews(live: LiveRun): void {
  const { resolve } = live.news
  live.news = Promise.withResolvers<void>()
  resolve()
}

/** Most tasks of a run that may be in flight. */
export function windowOf({ window, accepted }: Pick<LiveRun, 'window' | 'accepted'>): number {
  if (window === undefined) return Number.POSITIVE_INFINITY
  if ('tasks' in window) return window.tasks
  return Math.max(1, Math.ceil((accepted * window.percent) / 100))
}

/**
 * Tasks of a run that are in the mailboxes or at work. More may be done than were dispatched: what
 * somebody sent who could not take it off the spool any more is in there still.
 */
export function inFlightOf({ dispatched, done }: LiveRun): number {
  return Math.max(0, dispatched - done)
}

/** Whether so many more may be in flight; an empty window takes anything. */
export function fitsWindow(live: LiveRun, tasks: number): boolean {
  const inFlight = inFlightOf(live)
  return inFlight === 0 || inFlight + tasks <= windowOf(live)
}

/**
 * A source that ends in error when this life of the dispatcher does, and is read no further, though
 * it may have more to say or say nothing for long, once its run is stopped.
 */
export function untilStopped(source: Source, ended: AbortSignal, stopped: AbortSignal): Source {
  return async function* (afterLine, isHashed) {
    const iterator = source(afterLine, isHashed)[Symbol.asyncIterator]()
    let onStop = () => {}
    const stop = () => onStop()
    stopped.addEventListener('abort', stop, { once: true })
    try {
      while (!stopped.aborted) {
        // Not a race with one promise for all pieces: it would keep each of them until the end.
        const turn = Promise.withResolvers<IteratorResult<SourcePiece> | undefined>()
        onStop = () => turn.resolve(undefined)
        iterator.next().then(turn.resolve, turn.reject)
        const read = await turn.promise
        ended.throwIfAborted()
        if (read === undefined || read.done === true) return
        yield read.value
      }
    } finally {
      stopped.removeEventListener('abort', stop)
      // Not awaited: it may be waiting for a line that never comes.
      iterator.return?.().catch(() => undefined)
    }
  }
}
