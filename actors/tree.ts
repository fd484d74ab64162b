/** The actor tree as it is now, for people and programs: contract section 4, `tree`. */
import type { AnyActorRef } from 'xstate'
import type { Child } from '../machines/supervisor.ts'
import { childOf } from './supervisor.ts'

export interface TreeNode {
  path: string
  id: string
  /** A supervised child's status while it is not ready, else the state of its machine. */
  state: string
  incarnation: number
  restarts: number
  lastError?: string
  pid: number
  children: TreeNode[]
}

interface Place {
  path: string
  id: string
  /** What its supervisor knows of it; the root and the helpers of an actor have none. */
  child?: Child
  pid: number
}

/** The tree below `root`, in this process. */
export function treeOf(root: AnyActorRef, id: string, pid: number): TreeNode {
  return nodeOf(root, { path: `/${id}`, id, pid })
}

function nodeOf(actor: AnyActorRef | undefined, { path, id, child, pid }: Place): TreeNode {
  const state = child === undefined || child.status === 'ready' ? stateOf(actor) : child.status
  return {
    path,
    id,
    state,
    incarnation: child?.incarnation ?? 1,
    restarts: child?.restarts ?? 0,
    ...(child?.lastError === undefined ? {} : { lastError: child.lastError }),
    pid,
    children: actor === undefined ? [] : childrenOf(actor, path, pid),
  }
}

function childrenOf(actor: AnyActorRef, path: string, pid: number): TreeNode[] {
  const snapshot = actor.getSnapshot() as {
    context?: { children?: unknown }
    children?: Record<string, AnyActorRef | undefined>
  }
  const supervised = snapshot.context?.children
  if (Array.isArray(supervised)) {
    return (supervised as Child[]).map((child) =>
      nodeOf(childOf(actor, child.id, child.incarnation), {
        path: `${path}/${child.id}`,
        id: child.id,
        child,
        pid,
      }),
    )
  }
  // What an actor keeps beside a supervisor: the live runs of the dispatcher.
  return Object.entries(snapshot.children ?? {}).flatMap(([id, ref]) =>
    ref === undefined || !isMachine(ref) ? [] : [nodeOf(ref, { path: `${path}/${id}`, id, pid })],
  )
}

/** An invoked promise is how a state does its work, not an actor of the tree. */
function isMachine(actor: AnyActorRef): boolean {
  return 'value' in (actor.getSnapshot() as object)
}

/** `receiving.busy`; regions of a parallel machine with commas between. */
function stateOf(actor: AnyActorRef | undefined): string {
  if (actor === undefined) return 'stopped'
  const { value, status } = actor.getSnapshot() as { value?: unknown; status: string }
  return value === undefined || status !== 'active' ? status : wordsOf(value)
}

function wordsOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.entries(value)
    .map(([region, inner]) => `${region}.${wordsOf(inner)}`)
    .join(',')
}
