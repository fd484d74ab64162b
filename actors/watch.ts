/** Death watch: one notice of an actor's end, whatever end that is. */
import type { AnyActorRef } from 'xstate'

/** `normal`: it had come to its end. `killed`: it was taken out. `noproc`: it was dead already. */
export type DownReason = 'normal' | 'error' | 'killed' | 'noproc'

export interface Down {
  actor: AnyActorRef
  reason: DownReason
  /** What it failed with, now or before. */
  error?: unknown
}

/**
 * Calls `onDown` exactly once, when the actor ends; in a moment when it has ended already.
 * @returns gives up the watch: no notice comes afterwards
 */
export function watch(actor: AnyActorRef, onDown: (down: Down) => void): () => void {
  let isWatching = true
  const tell = (reason: DownReason, failure: { error?: unknown }) => {
    if (!isWatching) return
    isWatching = false
    onDown({ actor, reason, ...failure })
  }
  const before = snapshotOf(actor)
  if (before.status !== 'active') {
    const failure = before.status === 'error' ? { error: before.error } : {}
    queueMicrotask(() => tell('noproc', failure))
    return () => {
      isWatching = false
    }
  }
  const subscription = actor.subscribe({
    error: (error: unknown) => tell('error', { error }),
    // XState completes those that came to their end and those that were stopped alike.
    complete: () => tell(snapshotOf(actor).status === 'done' ? 'normal' : 'killed', {}),
  })
  return () => {
    isWatching = false
    // An error that nobody observes would end the process.
    if (!observed.has(actor)) actor.subscribe({ error: () => undefined })
    observed.add(actor)
    subscription.unsubscribe()
  }
}

/** Those whose watch was given up once, and who have an observer since. */
const observed = new WeakSet<AnyActorRef>()

function snapshotOf(actor: AnyActorRef): { status: string; error?: unknown } {
  return actor.getSnapshot() as { status: string; error?: unknown }
}
