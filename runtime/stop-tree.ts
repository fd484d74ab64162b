/** How the tree of a node goes down in order. */
import type { AnyActorRef } from 'xstate'
import { isLive } from '../actors/dead-letters.ts'
import { findChild, removeChild } from '../actors/supervisor.ts'
import { takeOut } from '../actors/take-out.ts'
import { watch } from '../actors/watch.ts'
import { systemClock } from './clock.ts'

/** How long each may take to stop; whatever hangs, the node itself is down before the sum. */
export const stopMs = {
  redis: 8000,
  store: 3000,
  system: 2000,
  health: 1000,
  member: 2000,
  dispatcher: 3000,
  collector: 6000,
  workers: 18_000,
  subscriptions: 18_000,
  escalation: 3000,
  singletons: 6000,
  edge: 3000,
}

/** Longer than it takes to take out the largest tree. */
const takeOutMs = 500

/** Who leads lets others lead, then who works finishes, and at last goes what they stood on. */
export const leavingFirst = ['singletons', 'subscriptions', 'workers', 'processes']

/**
 * Resolves when it is down. While those work that leave first, what they stand on is restarted when
 * it fails; one that has given up is stopping already, in the same order.
 * @param onCutOff one of them took longer than it may, and was taken out
 */
export async function stopTree(tree: AnyActorRef | undefined, onCutOff: () => void): Promise<void> {
  if (tree === undefined || !isLive(tree)) return
  const ended = Promise.withResolvers<void>()
  watch(tree, () => ended.resolve())
  const phases = (async () => {
    for (const id of leavingFirst) {
      const child = findChild(tree, id)
      if (child === undefined) continue
      watch(child, ({ reason }) => {
        if (reason === 'killed') onCutOff()
      })
      await removeChild(tree, id)
    }
    if (isLive(tree)) tree.send({ type: 'stop' })
  })()
  await Promise.race([phases, ended.promise])
  await ended.promise
}

/** Takes it out, whatever it does. */
export async function forceTree(tree: AnyActorRef | undefined): Promise<void> {
  if (tree === undefined) return
  await Promise.race([takeOut(tree, systemClock), systemClock.wait(takeOutMs)])
  if (isLive(tree)) tree.stop()
}
