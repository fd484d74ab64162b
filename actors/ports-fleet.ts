/** What the actors need of the world to be one of several nodes: leases, and who is there. */
import type { WorkHistory } from '../machines/balancer.ts'

/* ---- leases: leadership for a limited time, with an epoch that only grows ---- */

/** What somebody holds who got a lease. */
export interface Grant {
  name: string
  /** `<node>/<boot>/<attempt>`: nobody else ever has the same. */
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
  /**
   * Takes it away from whoever holds it, and tells those who wait. Its holder may hear of it a
   * moment after somebody else got it; what he writes until then is refused by its epoch.
   * Undefined: nobody held it.
   */
  revoke(name: string, reason: string): Promise<LeaseRecord | undefined>
  /** By name. */
  list(): Promise<LeaseRecord[]>
  /**
   * Called with the name of a lease that was released or revoked, and with undefined when such
   * notices may have been missed. Resolves when notices come from now on; also when Redis is away,
   * and then undefined follows when they do. Returns an unsubscribe function.
   */
  watch(listener: (name: string | undefined) => void): Promise<() => Promise<void>>
  /**
   * A value kept under a lease, for whoever holds it next. Refused unless `grant` is the newest one
   * that is known, and so as soon as there is a newer one. A lease that is lost with nobody having
   * got it since is no reason to refuse.
   * @throws FencedError
   */
  put(grant: Pick<Grant, 'name' | 'epoch'>, key: string, value: string): Promise<void>
  get(name: string, key: string): Promise<string | undefined>
  /** @throws FencedError when there is a newer grant of the lease than this epoch */
  check(name: string, epoch: number): Promise<void>
  close(): Promise<void>
}

/** In whose name something is done; travels with tasks that a singleton submits. */
export interface FencingToken {
  lease: string
  /** Larger than that of any grant before. */
  epoch: number
}

/** Ask it before every effect that leaves this process, and write through it what must be right. */
export interface Fence extends Readonly<FencingToken> {
  /**
   * Whether the lease is lost as far as is known here, without asking anybody: what an effect that
   * nobody else can refuse should be preceded by.
   * @throws FencedError
   */
  assert(): void
  /**
   * Keeps a value under the lease, for whoever holds it next. Redis refuses it once there is a
   * newer grant.
   * @throws FencedError nothing was written
   * @throws UnavailableError no answer in time; it may be written all the same
   */
  put(key: string, value: string): Promise<void>
  /** What was last put under the lease, by this holder or an earlier one. */
  get(key: string): Promise<string | undefined>
  /**
   * Asks Redis whether there is a newer grant.
   * @throws FencedError there is
   * @throws UnavailableError no answer in time
   */
  check(): Promise<void>
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
  /** Where its pid means something; undefined: nobody but itself can tell whether it lives. */
  place?: string
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
  /** The store that its results go to; undefined: files of the node that collects. */
  store?: string
  /** How its work went lately, once it has done some. */
  history?: WorkHistory
  state: 'joining' | 'alive' | 'draining'
  /** The names under which its receivers hold messages. */
  holders: readonly string[]
}

export interface MemberRecord extends Omit<Member, 'state'> {
  state: MemberState
  /** Epoch ms, by the clock of Redis. */
  lastSeen: number
  /** A dead one whose mailboxes somebody has seen to: see `forget`. */
  swept?: true
}

export interface BeatOptions {
  /** Silence after which a node is dead, ms. */
  staleMs: number
  /**
   * Whether another boot of this id, seen lately, is dead all the same: its process on this host
   * has ended. Asked before this one is refused.
   */
  isGone?(twin: MemberRecord): boolean
}

/** What a node may be asked for by another one. */
export interface NodeRequest {
  type: 'drain'
  /** Why, for its log. */
  reason: string
}

/**
 * Who is there, by Redis's clock. A boot that was displaced by a later one of its id, or forgotten,
 * is dead for good; one that was only silent is back with its next beat.
 * @throws UnavailableError where Redis does not answer in time; it may have done it all the same
 */
export interface Members {
  /**
   * Register, or say again that this node is there. Displaces an earlier boot of the id that is
   * dead.
   * @throws ConflictError LIVE_TWIN when another boot of the same id is there and not dead
   * @throws ConflictError DISPLACED, of fault `fatal`, when this boot is dead for good
   */
  beat(member: Member, options: BeatOptions): Promise<void>
  /** Gone in order: nothing of it needs to be swept. */
  leave(id: string, boot: string): Promise<void>
  /**
   * Everybody, by id; of one id first the one that lives. The dead are among them for an hour.
   * `staleMs`: silence after which one is dead.
   */
  list(staleMs: number): Promise<MemberRecord[]>
  /**
   * Take a dead boot off the list of those to be swept: from now on it cannot come back. True for
   * exactly one caller; false when somebody else has, and when it is not dead (any more).
   */
  forget(id: string, boot: string, staleMs: number): Promise<boolean>
  /**
   * Asks a boot of a node for something, wherever it is. True says that it was handed over, not
   * that it is done; false that nobody listens there, and then nothing is kept.
   */
  ask(id: string, boot: string, request: NodeRequest): Promise<boolean>
  /**
   * Called with what this boot is asked for, once the promise has resolved; a boot has one
   * listener. Returns an unsubscribe function, which does not throw.
   */
  onAsked(
    id: string,
    boot: string,
    listener: (request: NodeRequest) => void,
  ): Promise<() => Promise<void>>
}
