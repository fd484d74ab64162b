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
  /** Age of the oldest message that it has received and not acknowledged. */
  oldestMessageMs?: number
  /** Of a worker process: how old its last word is, and so all that is told below it. */
  heardMs?: number
  pid: number
  children: TreeNode[]
}

/** How old the word of the most silent worker process is, ms; 0 without worker processes. */
export function silenceOf({ heardMs = 0, children }: TreeNode): number {
  return Math.max(heardMs, ...children.map(silenceOf))
}

interface Place {
  path: string
  id: string
  /** What its supervisor knows of it; the root and the helpers of an actor have none. */
  child?: Child
  pid: number
}

/**
 * The tree below `root`: of this process, and of the worker processes as they last told it.
 * @param nowMonotonic ms of the monotonic clock; without it no age of a message is told
 */
export function treeOf(
  root: AnyActorRef,
  id: string,
  pid: number,
  nowMonotonic?: number,
): TreeNode {
  return nodeOf(root, { path: `/${id}`, id, pid }, nowMonotonic)
}

/** What may be seen of an actor's snapshot. */
interface Seen {
  context?: { children?: unknown; oldestAt?: unknown; tree?: unknown; heardAt?: unknown }
  children?: Record<string, AnyActorRef | undefined>
}

function nodeOf(
  actor: AnyActorRef | undefined,
  { path, id, child, pid }: Place,
  now: number | undefined,
): TreeNode {
  const state = child === undefined || child.status === 'ready' ? stateOf(actor) : child.status
  const seen = actor?.getSnapshot() as Seen | undefined
  const { oldestAt, tree, heardAt } = seen?.context ?? {}
  const process = isTreeNode(tree) ? tree : undefined
  const heardMs = ageOf(heardAt, now)
  const oldestMessageMs = ageOf(oldestAt, now)
  return {
    path,
    id,
    state,
    incarnation: child?.incarnation ?? 1,
    restarts: child?.restarts ?? 0,
    ...(child?.lastError === undefined ? {} : { lastError: child.lastError }),
    ...(oldestMessageMs === undefined ? {} : { oldestMessageMs }),
    ...(heardMs === undefined ? {} : { heardMs }),
    pid: process?.pid ?? pid,
    children:
      process === undefined
        ? childrenOf(actor, path, pid, now)
        : transplanted(process, path, heardMs ?? 0),
  }
}

function ageOf(at: unknown, now: number | undefined): number | undefined {
  if (typeof at !== 'number' || now === undefined) return undefined
  return Math.max(0, Math.round(now - at))
}

function childrenOf(
  actor: AnyActorRef | undefined,
  path: string,
  pid: number,
  now: number | undefined,
): TreeNode[] {
  if (actor === undefined) return []
  const snapshot = actor.getSnapshot() as Seen
  const supervised = snapshot.context?.children
  if (Array.isArray(supervised)) {
    return (supervised as Child[]).map((child) =>
      nodeOf(
        childOf(actor, child.id, child.incarnation),
        { path: `${path}/${child.id}`, id: child.id, child, pid },
        now,
      ),
    )
  }
  // What an actor keeps beside a supervisor: the live runs of the dispatcher.
  return Object.entries(snapshot.children ?? {}).flatMap(([id, ref]) =>
    ref === undefined || !isMachine(ref)
      ? []
      : [nodeOf(ref, { path: `${path}/${id}`, id, pid }, now)],
  )
}

/** What is below the root of a worker process, as seen from this node so much later. */
function transplanted(node: TreeNode, path: string, laterMs: number): TreeNode[] {
  return node.children
    .filter(isTreeNode)
    .map((child) => transplantedTo(`${path}/${child.id}`, child, laterMs))
}

function transplantedTo(path: string, node: TreeNode, laterMs: number): TreeNode {
  const { oldestMessageMs: oldestMs } = node
  return {
    ...node,
    path,
    ...(oldestMs === undefined ? {} : { oldestMessageMs: oldestMs + laterMs }),
    children: transplanted(node, path, laterMs),
  }
}

function isTreeNode(value: unknown): value is TreeNode {
  if (typeof value !== 'object' || value === null) return false
  return (
    'id' in value &&
    typeof value.id === 'string' &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'children' in value &&
    Array.isArray(value.children)
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
