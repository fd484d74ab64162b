/**
 * Every key Muster keeps in Redis. All carry the hash tag of a slot, so that one script can touch
 * what belongs together in one hash slot of a cluster: a run with its record, its outcome map, the
 * room it holds and the epoch of whoever asks for it; a mailbox with its messages, their locks and
 * notes. What there is once for all is in the first slot. A single Redis has one slot.
 */
import { fnv1a } from '../../machines/fnv.ts'

const baseOf = (slot: number) => `muster:{s${slot}}`

/** Base of all keys that there are once; scripts append to it. */
const base = baseOf(0)

/** Scripts append a metric and the number of a bucket to it: a count with a ttl. */
export const bucketBase = `${base}:esc:bucket:`

/** Scripts append the id of a dead letter to it. */
export const letterBase = `${base}:letter:`

const leaseBase = (name: string) => `${base}:lease:${name}`

export const keys = {
  /** String: over how many slots runs and mailboxes are spread. */
  slots: `${base}:slots`,
  /** Hash: kind → ms of work a task. */
  paces: `${base}:paces`,
  /** Hash with a ttl: tokens in the bucket of that name, and the ms of Redis's clock it was at. */
  limit: (name: string) => `${base}:limit:${name}`,
  /** Set of mailbox names. */
  mailboxes: `${base}:mailboxes`,
  /** Sorted set of names that were taken off that, by the time at which they were. */
  retiredMailboxes: `${base}:mailboxes:retired`,
  /** Hash: `<node id> <boot>` → what that node says of itself, as JSON. */
  members: `${base}:members`,
  /** Sorted set of `<node id> <boot>`, by the time of the last beat. */
  membersSeen: `${base}:members:seen`,
  /** Hash: node id → boot that has it now. */
  memberBoots: `${base}:members:boots`,
  /** Hash: `<node id> <boot>` that is dead for good → `displaced` or `swept`. */
  membersDead: `${base}:members:dead`,
  /** Channel: what that boot of a node is asked for, as JSON. */
  memberAsked: (id: string, boot: string) => `${base}:members:asked:${id} ${boot}`,
  /** Hash: a dead letter. */
  letter: (id: string) => `${letterBase}${id}`,
  /** Sorted set of ids of all dead letters, in the order in which they came. */
  letters: `${base}:letters`,
  /** Sorted set of ids of those that may go when there are too many. */
  passingLetters: `${base}:letters:passing`,
  /** Hash: how many there ever were, and the bytes of those that may go. */
  letterTotals: `${base}:letters:totals`,
  /** Hash: seq → the dead letter that this task of the run is a redrive of, after its count. */
  letterLinks: (run: string) => `${base}:letters:links:${run}`,
  /** Channel: notices about runs. */
  notices: `${base}:notices`,
  /** Channel: names of new mailboxes. */
  newMailboxes: `${base}:mailboxes:new`,
  /** Hash with a ttl: owner, holder, epoch and since of the grant that holds. */
  leaseLock: (name: string) => `${leaseBase(name)}:lock`,
  /** String: epoch of the newest grant; outlives every grant. */
  leaseEpoch: (name: string) => `${leaseBase(name)}:epoch`,
  /** Hash: what is kept under the lease. */
  leaseValues: (name: string) => `${leaseBase(name)}:values`,
  /** Set: names of all leases anybody ever asked for. */
  leases: `${base}:leases`,
  /** Channel: names of leases that were released or revoked. */
  freedLeases: `${base}:leases:freed`,
  /** Sorted set: metrics of the sliding windows, by when they were last counted. */
  escalationMetrics: `${base}:esc:metrics`,
  /** Hash: metric → its last escalation, as JSON. */
  escalations: `${base}:esc:escalations`,
  /** String with a ttl: number of the last batch that somebody has counted. */
  escalationSource: (source: string) => `${base}:esc:source:${source}`,
  /** List: ids of the transitions of all nodes, newest first. */
  systemHistory: `${base}:system:history`,
  /** Hash: id → transition, as JSON. */
  systemEntries: `${base}:system:entries`,
  /** Hash: node id → how that node is, as JSON. */
  systemSnapshots: `${base}:system:snapshots`,
  /** String: what operators last said about the whole system, as JSON. */
  systemOrder: `${base}:system:order`,
  /** Channel: operators said something. */
  systemOrdered: `${base}:system:ordered`,
  /** Set of `<group> <pattern>`: the durable subscriptions to topics. */
  topicGroups: `${base}:topics:groups`,
  /** Prefix of the keys of BullMQ's relay, which knows who listens to what. */
  topics: `${base}:topics`,
}

/** The keys of what is spread over slots. All nodes of a Redis go by the same number of them. */
export class SlotKeys {
  readonly slots: number

  constructor(slots = 1) {
    this.slots = slots
  }

  /** Where something of this name is: a run, or what finds the run. */
  slotOf(name: string): number {
    return this.slots === 1 ? 0 : fnv1a(name) % this.slots
  }

  /** All of them, for what has to be asked of each. */
  all(): number[] {
    return Array.from({ length: this.slots }, (_, slot) => slot)
  }

  /** Of the slot of a run; scripts append to it. */
  base(run: string): string {
    return baseOf(this.slotOf(run))
  }

  /** Hash: the run's record. */
  run(run: string): string {
    return `${this.base(run)}:run:${run}`
  }

  /** String: four bits a task. */
  map(run: string): string {
    return `${this.run(run)}:map`
  }

  /** List: envelopes accepted and not yet in a mailbox. */
  spool(run: string): string {
    return `${this.run(run)}:spool`
  }

  /** List: the first rejected lines, as JSON. */
  rejected(run: string): string {
    return `${this.run(run)}:rejected`
  }

  /** Hash: task id → seq. */
  ids(run: string): string {
    return `${this.run(run)}:ids`
  }

  /** String with a ttl: the run that was opened under the idempotency key of this hash. */
  key(slot: number, hash: string): string {
    return `${baseOf(slot)}:key:${hash}`
  }

  /** Base of the dedupe keys of a slot; scripts append to it. */
  dedupeBase(slot: number): string {
    return baseOf(slot)
  }

  /** Sorted set of run ids, all of score 0: ids sort by time. */
  runs(slot: number): string {
    return `${baseOf(slot)}:runs`
  }

  /** Set of run ids. */
  unfinished(slot: number): string {
    return `${baseOf(slot)}:unfinished`
  }

  /** Hash: run id → what holds it back. */
  holds(slot: number): string {
    return `${baseOf(slot)}:holds`
  }

  /** Hash: mailbox → tasks of the runs of this slot that hold room in it. */
  room(slot: number): string {
    return `${baseOf(slot)}:room`
  }

  /** String: epoch of the newest grant of a lease, as the runs of this slot go by it. */
  leaseEpoch(name: string, slot: number): string {
    return slot === 0 ? keys.leaseEpoch(name) : `${baseOf(slot)}:lease:${name}:epoch`
  }

  /** Prefix of the BullMQ keys of a mailbox: `<prefix>:<mailbox>:…`. */
  mailboxPrefix(mailbox: string): string {
    return `${baseOf(this.slotOf(mailbox))}:mailbox`
  }

  /** Hash: what a worker noted about a message before it ran it. */
  notes(mailbox: string, id: string): string {
    return `${baseOf(this.slotOf(mailbox))}:notes:${mailbox}:${id}`
  }
}
