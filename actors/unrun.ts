/** Tasks that end without being run (again): how, and the message that says so. */

import { outcomeCode } from '../machines/outcome.ts'
import {
  countSeqs,
  type Ends,
  type Envelope,
  envelopeId,
  envelopeVersion,
  resultsMailbox,
} from './envelope.ts'
import { isStopped } from './holds.ts'
import type { Attempt, Message } from './ports.ts'
import type { Hold } from './ports-runs.ts'
import type { More } from './results.ts'
import { sayTask } from './settlement.ts'

/** How a task of a stopped run ends that is not to begin; undefined when the run is not stopped. */
export function endOfHeld(hold: Hold | undefined, history: readonly Attempt[]): Ends | undefined {
  if (!isStopped(hold)) return undefined
  if (hold === 'cancelled') {
    const error = { code: 'CANCELLED', message: 'its run was cancelled before it began' }
    return { outcome: 'cancelled', error }
  }
  // It ran, and said no: that there is no further attempt does not make that undone.
  const last = history.at(-1)
  if (last !== undefined) return { outcome: 'failed', error: last.error }
  const error = { code: 'HALTED', message: 'its run was halted before it began' }
  return { outcome: 'unreached', error }
}

/**
 * The results of an envelope that never got to a mailbox, or was put back from it: its tasks hold
 * no room. Undefined when they are to be run.
 */
export function unrunMessage(
  envelope: Envelope,
  hold: Hold | undefined,
  { node, now }: { node: string; now: number },
): Message | undefined {
  const { run, kind, attempt, seqs, tasks, history, readyAt } = envelope
  const endings = tasks.map((_, index) => {
    const earlier = history?.[index] ?? []
    const held = endOfHeld(hold, earlier)
    // Of a run that was cancelled nobody asks what else kept a task from being run.
    return held?.outcome === 'cancelled' ? held : (envelope.ends ?? held)
  })
  const ends = endings.filter((ending) => ending !== undefined)
  if (ends.length < countSeqs(seqs)) return undefined
  return {
    mailbox: resultsMailbox,
    id: envelopeId(envelope, '.u'),
    priority: envelope.priority,
    delayMs: 0,
    body: {
      v: envelopeVersion,
      run,
      mailbox: '',
      kind,
      ...(envelope.priority === 'normal' ? {} : { priority: envelope.priority }),
      attempt,
      node,
      worker: 'dispatcher',
      seqs,
      outcomes: ends.map(({ outcome }) => outcomeCode(outcome)).join(''),
      at: now,
      startedAt: tasks.map(() => 0),
      durationMs: tasks.map(() => 0),
      queueMs: tasks.map(() => Math.max(0, now - readyAt)),
      more: tasks.map((task, index) => {
        const said: More = {}
        const error = ends[index]?.error
        const earlier = history?.[index] ?? []
        if (error !== undefined) said.error = error
        if (earlier.length > 0) said.attempts = [...earlier]
        return sayTask(said, task)
      }),
    },
  }
}
