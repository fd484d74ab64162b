/**
 * Gathers the results of scattered tasks: every correlation set of a process in one actor, in maps.
 * A result costs a look into two of them; the machine hears of deadlines and pressure alone.
 */
import type { AnyActorRef } from 'xstate'
import {
  endOf,
  flawOfSet,
  type GatherEnd,
  type GatherPolicy,
  type GatherSet,
  gatherMachine,
  gatherPolicy,
  isComplete,
  isHeldBack,
  judge,
  type Verdict,
} from '../machines/gather.ts'
import type { Tell } from './dead-letters.ts'
import { Deadlines } from './deadlines.ts'
import { ConflictError, NotAcceptingError, UnavailableError, UsageError } from './errors.ts'
import type { Clock } from './ports.ts'

/** What a gathering tells as it goes: each result when it comes, and how each set ended. */
export type Gathered<Result> =
  | { type: 'result'; correlation: string; source: string; result: Result }
  | ({ type: 'end' } & GatherEnd)

export interface GatherStats {
  /** Sets open, and those that ended. */
  open: number
  complete: number
  partial: number
  /** Results taken by a set, and those of them that nobody has read yet. */
  taken: number
  pending: number
  duplicates: number
  unexpected: number
  late: number
  /** Results without a set of theirs. */
  unknown: number
  /** How often intake was closed because too many results waited. */
  pressures: number
}

export interface GatherOptions {
  policy?: Partial<GatherPolicy>
  clock: Pick<Clock, 'monotonic'>
  tell: Tell
  /** Told of a result that no set takes: it is not to vanish. */
  stray?(correlation: string, source: string, verdict: 'late' | 'unknown'): void
}

/** When a full gatherer may be asked again, ms. */
const retryAfterMs = 1000
const deadlinesSpare = 1000

export class Gatherer<Result> {
  readonly #options: GatherOptions
  readonly #policy: GatherPolicy
  readonly #sets = new Map<string, { set: GatherSet; gathering: Gathering<Result> }>()
  readonly #deadlines = new Deadlines()
  /** Sets that are over, the oldest first, and when each may be forgotten. */
  readonly #tombstones = new Map<string, number>()
  readonly #counts = { complete: 0, partial: 0, taken: 0, duplicates: 0, unexpected: 0 }
  #late = 0
  #unknown = 0
  #pressures = 0
  #pending = 0
  #room: PromiseWithResolvers<void> | undefined
  #self: AnyActorRef | undefined
  #armedFor: number | undefined

  constructor(options: GatherOptions) {
    this.#options = options
    this.#policy = { ...gatherPolicy, ...options.policy }
  }

  /** The specification of its one actor; it is told of by `adopt`. */
  readonly logic = gatherMachine.provide({
    actions: { expire: () => this.#expire(), endAll: () => this.#endAll() },
  })

  /** The actor that keeps its time. */
  adopt(self: AnyActorRef): void {
    this.#self = self
  }

  get stats(): GatherStats {
    const pending = this.#pending
    const [open, late, unknown] = [this.#sets.size, this.#late, this.#unknown]
    return { open, ...this.#counts, pending, late, unknown, pressures: this.#pressures }
  }

  /** Whether results are refused for now. */
  get isHeld(): boolean {
    return this.#room !== undefined
  }

  /** Resolves when results are taken again; at once when they are. */
  room(): Promise<void> {
    return this.#room?.promise ?? Promise.resolve()
  }

  /**
   * Opens sets, all or none, before anything is sent. Each ends when every source has answered, or
   * `timeoutMs` after this.
   * @throws UsageError for a set that could never be right; ConflictError CORRELATION_IN_USE for
   * one that is open, or was a moment ago; NotAcceptingError when too many are open
   */
  open(wanted: ReadonlyMap<string, ReadonlySet<string>>, timeoutMs: number): Gathering<Result> {
    const { clock } = this.#options
    if (this.#self === undefined) throw new UnavailableError('nothing is gathered here any more')
    const now = clock.monotonic()
    this.#forget(now)
    for (const [id, expected] of wanted) {
      const flaw = flawOfSet(Buffer.byteLength(id), expected.size, this.#policy)
      if (flaw !== undefined) throw new UsageError(flaw)
      if (!this.#sets.has(id) && !this.#tombstones.has(id)) continue
      const message = `correlation: expected one that is not in use, got ${JSON.stringify(id)}`
      throw new ConflictError(message, 'CORRELATION_IN_USE')
    }
    const most = this.#policy.setsMax
    if (this.#sets.size + wanted.size > most) {
      const message = `${this.#sets.size} of ${most} correlation sets are open: try again later`
      throw new NotAcceptingError('full', message, retryAfterMs)
    }
    const gathering = new Gathering<Result>(wanted.size, {
      took: (results) => this.#took(results),
      left: (pending) => this.#leave(gathering, pending),
    })
    const dueAt = now + timeoutMs
    for (const [id, expected] of wanted) {
      const counts = { duplicates: 0, unexpected: 0 }
      const set = { id, expected, received: new Set<string>(), openedAt: now, dueAt, ...counts }
      this.#sets.set(id, { set, gathering })
      this.#deadlines.add(dueAt, id)
    }
    // Of sets that were complete in time deadlines are left.
    if (this.#deadlines.size > 2 * this.#sets.size + deadlinesSpare) {
      this.#deadlines.keep((id) => this.#sets.has(id))
    }
    this.#arm()
    return gathering
  }

  /** One result. Only `taken` counts; one that is `held` may be offered again after `room`. */
  offer(correlation: string, source: string, result: Result): Verdict {
    if (this.isHeld) return 'held'
    const known = this.#sets.get(correlation)
    if (known === undefined) return this.#stray(correlation, source)
    const { set, gathering } = known
    const verdict = judge(set, source)
    if (verdict !== 'taken') {
      this.#counts[verdict === 'duplicate' ? 'duplicates' : 'unexpected'] += 1
      return verdict
    }
    this.#counts.taken += 1
    this.#pending += 1
    gathering.put({ type: 'result', correlation, source, result })
    if (isComplete(set)) this.#end(set, gathering)
    this.#press()
    return 'taken'
  }

  #stray(correlation: string, source: string): 'late' | 'unknown' {
    const isLate = this.#tombstones.has(correlation)
    if (isLate) this.#late += 1
    else this.#unknown += 1
    const verdict = isLate ? 'late' : 'unknown'
    this.#options.stray?.(correlation, source, verdict)
    return verdict
  }

  #end(set: GatherSet, gathering: Gathering<Result>): void {
    const now = this.#options.clock.monotonic()
    const end = endOf(set, now)
    this.#sets.delete(set.id)
    this.#forget(now)
    this.#tombstones.set(set.id, now + this.#policy.tombstoneMs)
    this.#counts[end.status] += 1
    gathering.put({ type: 'end', ...end })
    if (this.#sets.size === 0) this.#arm()
  }

  #forget(now: number): void {
    for (const [id, until] of this.#tombstones) {
      if (until > now && this.#tombstones.size < this.#policy.tombstonesMax) return
      this.#tombstones.delete(id)
    }
  }

  #expire(): void {
    // The timer is spent, whatever it was for.
    this.#armedFor = Number.NaN
    const now = this.#options.clock.monotonic()
    for (;;) {
      const id = this.#deadlines.take(now)
      if (id === undefined) break
      const known = this.#sets.get(id)
      // Of an earlier set of that name there may be a deadline left.
      if (known !== undefined && known.set.dueAt <= now) this.#end(known.set, known.gathering)
    }
    this.#arm()
  }

  #endAll(): void {
    this.#self = undefined
    for (const { set, gathering } of this.#sets.values()) this.#end(set, gathering)
    this.#room?.resolve()
    this.#room = undefined
  }

  /** Nobody listens any more: what is open of it ends, and what waits is let go. */
  #leave(gathering: Gathering<Result>, pending: number): void {
    if (!gathering.isOver) {
      for (const known of this.#sets.values()) {
        if (known.gathering === gathering) this.#end(known.set, gathering)
      }
    }
    this.#took(pending)
  }

  #took(results: number): void {
    this.#pending -= results
    this.#press()
  }

  #press(): void {
    const isOn = isHeldBack(this.isHeld, this.#pending, this.#policy)
    if (isOn === this.isHeld) return
    const { tell } = this.#options
    if (isOn) {
      this.#room = Promise.withResolvers()
      this.#pressures += 1
    } else {
      this.#room?.resolve()
      this.#room = undefined
    }
    if (this.#self !== undefined) tell(this.#self, { type: 'gather.pressure', isOn })
  }

  #arm(): void {
    if (this.#self === undefined) return
    const next = this.#sets.size === 0 ? undefined : this.#deadlines.next
    if (this.#sets.size === 0) this.#deadlines.clear()
    if (next === this.#armedFor) return
    this.#armedFor = next
    const inMs = next === undefined ? next : Math.max(0, next - this.#options.clock.monotonic())
    this.#options.tell(this.#self, { type: 'gather.due', inMs })
  }
}

interface GatheringOwner {
  /** So many results were read, or wait no longer at the cost of others. */
  took(results: number): void
  /** Nobody reads any further; so many results were not. */
  left(pending: number): void
}

/** The results of sets that were opened together, as they come; over when all of them are. */
export class Gathering<Result> implements AsyncIterable<Gathered<Result>> {
  readonly #owner: GatheringOwner
  #queue: Gathered<Result>[] = []
  #head = 0
  #open: number
  #more: PromiseWithResolvers<void> | undefined
  readonly #over = Promise.withResolvers<void>()
  #failure: { error: unknown } | undefined
  #isLeft = false
  /** Results that count as waiting. */
  #pending = 0

  /** @param sets how many sets it is of */
  constructor(sets: number, owner: GatheringOwner) {
    this.#open = sets
    this.#owner = owner
  }

  /** Whether every set has ended. */
  get isOver(): boolean {
    return this.#open === 0
  }

  /** Resolves when every set has ended. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  put(gathered: Gathered<Result>): void {
    if (gathered.type === 'end') this.#open -= 1
    else this.#pending += 1
    if (!this.#isLeft) this.#queue.push(gathered)
    // What is over comes to an end even if nobody reads it: it must not hold back the others.
    if (this.isOver && !this.#isLeft) this.#release(this.#pending)
    if (this.isOver) this.#over.resolve()
    this.#more?.resolve()
  }

  /** What it stands on has failed: whoever reads hears of that after what has come. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.#more?.resolve()
  }

  /** Ends its sets; results that nobody has read are let go. */
  leave(): void {
    if (this.#isLeft) return
    this.#isLeft = true
    this.#queue = []
    this.#head = 0
    const unread = this.#pending
    this.#pending = 0
    this.#owner.left(unread)
  }

  /** To be read once: what is read is gone. Whoever stops reading leaves. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Gathered<Result>, undefined> {
    try {
      for (;;) {
        const next = this.#next()
        if (next !== undefined) yield next
        else if (this.#failure !== undefined) throw this.#failure.error
        else if (this.isOver) return
        else {
          this.#more = Promise.withResolvers()
          await this.#more.promise
          this.#more = undefined
        }
      }
    } finally {
      this.leave()
    }
  }

  #next(): Gathered<Result> | undefined {
    const next = this.#queue[this.#head]
    if (next === undefined) {
      this.#queue = []
      this.#head = 0
      return undefined
    }
    this.#head += 1
    if (next.type === 'result' && this.#pending > 0) this.#release(1)
    return next
  }

  #release(results: number): void {
    this.#pending -= results
    if (results > 0) this.#owner.took(results)
  }
}
