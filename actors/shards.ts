/**
 * The shards of kinds: each a mailbox that one node of all works off, for as long as it holds the
 * shard's lease. Who is to have it is agreed without a word, by a hash over the nodes that are
 * there; the lease alone decides who has it, while some know of a node and others do not yet.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import { rendezvous } from '../machines/fnv.ts'
import { type Owned, serviceMachine } from '../machines/service.ts'
import { describeError, UsageError } from './errors.ts'
import { type LedOptions, led } from './led.ts'
import { mailboxKind } from './place.ts'
import type { MemberRecord, Members } from './ports-fleet.ts'
import { type ChildSpec, type NamedChild, planOf, supervisor } from './supervisor.ts'

export interface ShardOptions extends Omit<LedOptions, 'id' | 'lease' | 'specOf' | 'submit'> {
  members: Pick<Members, 'list'>
  /** Silence after which a node is dead, ms. */
  staleMs: number
  /** The id under which others know this node. */
  self: string
  /** The worker of a shard. */
  workerOf(mailbox: string): ChildSpec
}

/** How often it is looked whose each shard is, ms. */
const lookMs = 1000

export class Shards {
  readonly #options: ShardOptions
  /** Mailboxes of shards that somebody has sent to, of kinds that we know. */
  readonly #known = new Set<string>()
  readonly #ours = new Set<string>()
  #news = Promise.withResolvers<void>()

  constructor(options: ShardOptions) {
    this.#options = options
  }

  /** Somebody has sent to this shard. */
  found(mailbox: string): void {
    if (this.#known.has(mailbox)) return
    this.#known.add(mailbox)
    this.#news.resolve()
  }

  child(): NamedChild {
    return { id: 'shards', spec: () => this.#spec() }
  }

  #spec(): ChildSpec {
    const { policy } = this.#options
    return supervisor({
      ...this.#options,
      id: 'shards',
      policy: { ...policy, strategy: 'dynamic' },
      children: [{ id: 'keeper', spec: (parent) => this.#keeper(parent) }],
      specOf: (mailbox) => this.#shard(mailbox),
    })
  }

  #shard(mailbox: string): ChildSpec {
    const { workerOf } = this.#options
    const { kind = '', shard = 0 } = mailboxKind(mailbox) ?? {}
    return led({
      ...this.#options,
      id: mailbox,
      lease: `shard.${kind}.${shard}`,
      specOf: () => workerOf(mailbox),
      submit: () => Promise.reject(new UsageError('a shard submits no tasks')),
    })
  }

  #keeper(parent: AnyActorRef): ChildSpec {
    const ended = new AbortController()
    // Of an earlier life of the supervisor nothing is left.
    this.#ours.clear()
    return {
      logic: serviceMachine.provide({
        actors: {
          open: fromPromise<void, Owned>(async () => void this.#keep(parent, ended.signal)),
          close: fromPromise<void, Owned>(async () => ended.abort()),
        },
      }),
    }
  }

  async #keep(parent: AnyActorRef, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options
    while (!signal.aborted) {
      try {
        if (this.#known.size > 0) await this.#look(parent, signal)
      } catch (error) {
        log.warn(describeError(error), 'cannot tell whose the shards are')
      }
      this.#news = Promise.withResolvers<void>()
      await Promise.race([clock.tick(lookMs, signal), this.#news.promise])
    }
  }

  async #look(parent: AnyActorRef, signal: AbortSignal): Promise<void> {
    const { members, staleMs, self, policy, tell } = this.#options
    const records = await members.list(staleMs)
    if (signal.aborted) return
    for (const mailbox of this.#known) {
      const isOurs = ownerOf(mailbox, records) === self
      if (isOurs === this.#ours.has(mailbox)) continue
      if (isOurs) {
        this.#ours.add(mailbox)
        tell(parent, { type: 'child.add', child: planOf({ id: mailbox }, policy) })
      } else {
        this.#ours.delete(mailbox)
        tell(parent, { type: 'child.remove', id: mailbox })
      }
    }
  }
}

/** Who is to have a shard, as far as the nodes that are known say. */
function ownerOf(mailbox: string, records: readonly MemberRecord[]): string | undefined {
  const { kind = '' } = mailboxKind(mailbox) ?? {}
  const able = records.filter(
    ({ state, kinds }) => (state === 'alive' || state === 'suspect') && kinds.includes(kind),
  )
  return rendezvous(
    mailbox,
    able.map(({ id }) => id),
  )
}
