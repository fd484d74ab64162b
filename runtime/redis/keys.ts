/**
 * Every key Muster keeps in Redis. All carry the hash tag of their shard, so that one script can
 * touch a run's record, its outcome map, its mailbox's room and the epoch of whoever asks for it in
 * one hash slot of a cluster.
 */
const shard = '{s0}'

/** Prefix of the BullMQ keys: `<prefix>:<mailbox>:…`. */
export const mailboxPrefix = `muster:${shard}:mailbox`

/** Base of all other keys of the shard; scripts append to it. */
export const base = `muster:${shard}`

/** Scripts append a metric and the number of a bucket to it: a count with a ttl. */
export const bucketBase = `${base}:esc:bucket:`

/** Scripts append the id of a dead letter to it. */
export const letterBase = `${base}:letter:`

const leaseBase = (name: string) => `${base}:lease:${name}`

export const keys = {
  /** Hash: the run's record. */
  run: (run: string) => `${base}:run:${run}`,
  /** String: four bits a task. */
  map: (run: string) => `${base}:run:${run}:map`,
  /** List: envelopes accepted and not yet in a mailbox. */
  spool: (run: string) => `${base}:run:${run}:spool`,
  /** List: the first rejected lines, as JSON. */
  rejected: (run: string) => `${base}:run:${run}:rejected`,
  /** Hash: task id → seq. */
  ids: (run: string) => `${base}:run:${run}:ids`,
  /** String with a ttl: the run that was opened under an idempotency key of this hash. */
  key: (hash: string) => `${base}:key:${hash}`,
  /** Sorted set of run ids, all of score 0: ids sort by time. */
  runs: `${base}:runs`,
  /** Set of run ids. */
  unfinished: `${base}:unfinished`,
  /** Hash: run id → what holds it back. */
  holds: `${base}:holds`,
  /** Hash: mailbox → tasks that hold room in it. */
  room: `${base}:room`,
  /** Hash: kind → ms of work a task. */
  paces: `${base}:paces`,
  /** Hash with a ttl: tokens in the bucket of that name, and the ms of Redis's clock it was at. */
  limit: (name: string) => `${base}:limit:${name}`,
  /** Set of mailbox names. */
  mailboxes: `${base}:mailboxes`,
  /** Hash: what a worker noted about a message before it ran it. */
  notes: (mailbox: string, id: string) => `${base}:notes:${mailbox}:${id}`,
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
}
