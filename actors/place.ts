/**
 * Where a task is to run when that is not anywhere, and the names of the mailboxes that follow from
 * it. A node has mailboxes of its own only once somebody has sent to them.
 */
import { fnv1a } from '../machines/fnv.ts'
import type { Task } from './task.ts'

/**
 * `node`: there and nowhere else. `select`: one node of those with these labels, any without.
 * `host`: none of our nodes, but the host that the task's target names, reached from any of them.
 */
export type Place = { node: string } | { select: Readonly<Record<string, string>> } | { host: true }

export interface MailboxName {
  kind: string
  /** It keeps the order of what is in it. */
  ordered: boolean
  /** Whose it is, or `nowhere`. */
  node?: string
  shard?: number
  /** What is in it is done on hosts that run no node. */
  remote?: true
}

/** In place of a node in the name of a mailbox: nobody who could do it is there yet. */
export const nowhere = '?'

/** The mailbox of a kind; keyed tasks go to one of the kind's ordered partitions. */
export function workMailbox(kind: string, key: string | undefined, partitions: number): string {
  if (key === undefined) return `work.${kind}`
  return `work.${kind}~${String(fnv1a(key) % partitions).padStart(2, '0')}`
}

/** The same, of one node alone. */
export function nodeMailbox(
  kind: string,
  key: string | undefined,
  partitions: number,
  node: string,
): string {
  return `${workMailbox(kind, key, partitions)}@${node}`
}

export function shardMailbox(kind: string, shard: number): string {
  return `work.${kind}#${String(shard).padStart(2, '0')}`
}

/** For the hosts that run no node, of tasks without a key. */
export function remoteMailbox(kind: string): string {
  return `work.${kind}+ssh`
}

const namePattern = /^work\.([^~@#+]+)(~\d\d)?(?:#(\d{2,}))?(\+ssh)?(?:@(.+))?$/

/** What the name of a work mailbox says; undefined for other mailboxes. */
export function mailboxKind(mailbox: string): MailboxName | undefined {
  const [, kind, partition, shard, remote, node] = namePattern.exec(mailbox) ?? []
  if (kind === undefined) return undefined
  const name: MailboxName = { kind, ordered: partition !== undefined || shard !== undefined }
  if (shard !== undefined) name.shard = Number(shard)
  if (remote !== undefined) name.remote = true
  if (node !== undefined) name.node = node
  return name
}

/** The mailbox without the node whose it is: names of nodes are no labels of metrics. */
export function mailboxLabel(mailbox: string): string {
  const at = mailbox.indexOf('@')
  return at < 0 ? mailbox : mailbox.slice(0, at + 1)
}

/** Whether labels hold all that are asked for. */
export function hasLabels(
  labels: Readonly<Record<string, string>>,
  select: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(select).every(
    ([name, value]) => Object.hasOwn(labels, name) && labels[name] === value,
  )
}

/** Whether a task says anything about where it is to run. */
export function isPlaced({ placement, select, target }: Task): boolean {
  if (target !== undefined || select !== undefined) return true
  return placement === 'balanced' || placement === 'all'
}
