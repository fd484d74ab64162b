/** What the actors of a node have at hand, their worker processes included. */
import type { AnyActorRef } from 'xstate'
import type { Heartbeat } from './ports.ts'
import type { TreeNode } from './tree.ts'

/**
 * @param own the names under which this very process holds messages
 * @param tree worked out only when it is read: that takes longer than all else
 */
export function heartbeatOf(
  root: AnyActorRef,
  own: readonly string[],
  tree: () => TreeNode,
): Heartbeat {
  const { tasks, holders } = loadOf(root)
  return {
    get tree() {
      return tree()
    },
    holders: [...own, ...holders],
    load: tasks,
  }
}

interface Load {
  /** Tasks at hand. */
  tasks: number
  /** The names under which worker processes hold messages. */
  holders: string[]
}

function loadOf(root: AnyActorRef): Load {
  const load: Load = { tasks: 0, holders: [] }
  add(root, load)
  return load
}

interface Seen {
  context?: { tasks?: unknown; load?: unknown; holders?: unknown }
  children?: Record<string, AnyActorRef | undefined>
}

function add(actor: AnyActorRef, load: Load): void {
  const { context, children } = actor.getSnapshot() as Seen
  if (typeof context?.tasks === 'number') load.tasks += context.tasks
  if (typeof context?.load === 'number') load.tasks += context.load
  if (Array.isArray(context?.holders)) load.holders.push(...(context.holders as string[]))
  for (const child of Object.values(children ?? {})) if (child !== undefined) add(child, load)
}
