/**
 * Takes a supervisor out with all below it, whatever they do. XState stops a tree in one go, and
 * with a large one that keeps the event loop; here it has a turn after every child.
 */
import type { AnyActorRef } from 'xstate'
import type { SupervisorContext } from '../machines/supervisor.ts'
import { isLive } from './dead-letters.ts'
import type { Clock } from './ports.ts'
import { childOf } from './supervisor.ts'

/** Resolves when nobody of it lives any more. */
export async function takeOut(supervisor: AnyActorRef, clock: Clock): Promise<void> {
  if (isLive(supervisor)) supervisor.send({ type: 'stop' })
  // Each of them is asked to stop, and its time is up at once.
  for (;;) {
    const late = stoppingOf(supervisor)
    if (late.length === 0) return
    for (const { id, incarnation } of late) {
      const child = childOf(supervisor, id, incarnation)
      if (child !== undefined && isSupervisor(child)) await takeOut(child, clock)
      if (isLive(supervisor)) supervisor.send({ type: 'child.late', id, incarnation })
      await clock.breathe()
    }
  }
}

function stoppingOf(supervisor: AnyActorRef): { id: string; incarnation: number }[] {
  if (!isLive(supervisor)) return []
  const { context } = supervisor.getSnapshot() as { context: SupervisorContext }
  return context.children.filter(({ status }) => status === 'stopping')
}

function isSupervisor(actor: AnyActorRef): boolean {
  const { context } = actor.getSnapshot() as { context?: { falls?: unknown } }
  return Array.isArray(context?.falls)
}
