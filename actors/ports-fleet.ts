/** What the actors need of the world to be one of several nodes: leases, and who is there. */

/* ---- leases: leadership for a limited time, with an epoch that only grows ---- */

/** What somebody holds who got a lease. */
export interface Grant {
  name: string
  /** Node, boot and attempt: nobody else ever has the same. */
  owner: string
  /** Fencing token: larger than that of any grant before. */
  epoch: number
}

export type Acquired =
  | { granted: true; epoch: number }
  /** Somebody else holds it, for so long at most if it is not renewed. */
  | { granted: false; heldForMs: number }

/** A lease that is held: contract section 4, `lease ls`. */
export interface LeaseRecord {
  name: string
  /** Node id. */
  holder: string
  epoch: number
  /** Epoch ms of the grant. */
  since: number
  /** Time left, if it is not renewed. */
  ttlMs: number
}

/**
 * Every operation ends within the operation timeout of the port.
 * @throws UnavailableError where Redis does not answer in time; it may have done it all the same
 */
export interface Leases {
  /** By the same owner again, while he holds it: the same epoch, and the whole ttl anew. */
  acquire(name: string, owner: string, ttlMs: number): Promise<Acquired>
  /** False: it is lost, for this grant for ever. */
  renew(grant: Grant, ttlMs: number): Promise<boolean>
  /** Tells those who wait. False: it was lost before. */
  release(grant: Grant): Promise<boolean>
  /** Takes it away from whoever holds it, and tells those who wait. Undefined: nobody did. */
  revoke(name: string, reason: string): Promise<LeaseRecord | undefined>
  list(): Promise<LeaseRecord[]>
  /**
   * Called with the name of a lease that was released or revoked, and with undefined when such
   * notices may have been missed. Returns an unsubscribe function.
   */
  watch(listener: (name: string | undefined) => void): Promise<() => Promise<void>>
  /**
   * A value kept under a lease. Refused as soon as there is a newer grant than `grant`.
   * @throws FencedError
   */
  put(grant: Pick<Grant, 'name' | 'epoch'>, key: string, value: string): Promise<void>
  get(name: string, key: string): Promise<string | undefined>
  /** @throws FencedError when there is a newer grant of the lease than this epoch */
  check(name: string, epoch: number): Promise<void>
  close(): Promise<void>
}

/* ---- members: who is there ---- */

export type MemberState = 'joining' | 'alive' | 'suspect' | 'draining' | 'dead'

/** A node as it describes itself. */
export interface Member {
  id: string
  /** New at every start of the node. */
  boot: string
  host: string
  pid: number
  /** Where it listens, if it does. */
  url?: string
  roles: readonly string[]
  labels: Readonly<Record<string, string>>
  /** Kinds of tasks it runs. */
  kinds: readonly string[]
  version: string
  startedAt: number
  /** Tasks at hand. */
  load: number
  state: 'joining' | 'alive' | 'draining'
  /** The names under which its receivers hold messages. */
  holders: readonly string[]
}

export interface MemberRecord extends Omit<Member, 'state'> {
  state: MemberState
  /** Epoch ms, by the clock of Redis. */
  lastSeen: number
}

export interface Members {
  /**
   * Register, or say again that this node is there.
   * @throws ConflictError LIVE_TWIN when another boot of the same id is there and not stale
   */
  beat(member: Member, staleMs: number): Promise<void>
  /** Gone in order: nothing of it needs to be swept. */
  leave(id: string, boot: string): Promise<void>
  /** Those of the last hour, the dead ones included. `staleMs`: silence after which one is dead. */
  list(staleMs: number): Promise<MemberRecord[]>
  /** Take a dead boot off the list of those to be swept; false when somebody else has. */
  forget(id: string, boot: string): Promise<boolean>
}
