/**
 * The workers of a node: one for the mailbox of every kind it knows, and one for each ordered
 * partition as soon as somebody uses it.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import { type Owned, serviceMachine } from '../machines/service.ts'
import type { SupervisorPolicy } from '../machines/supervision.ts'
import type { Kinds } from './kind.ts'
import { mailboxKind, workMailbox } from './place.ts'
import type { ExecutorHost } from './ports.ts'
import { type ShardOptions, Shards } from './shards.ts'
import {
  addChild,
  type ChildSpec,
  type NamedChild,
  planOf,
  removeChild,
  supervisor,
} from './supervisor.ts'
import { type WorkerOptions, worker } from './worker.ts'

export interface WorkersOptions
  extends Omit<WorkerOptions, 'mailbox' | 'kind' | 'ordered' | 'worker'> {
  kinds: Kinds
  /** The id under which others know this node: whose mailboxes are ours. */
  self: string
  /** What it takes to have shards of kinds, in turn with other nodes. */
  shards?: Pick<
    ShardOptions,
    'members' | 'staleMs' | 'contender' | 'times' | 'stopLimitMs' | 'failovers'
  >
  /** Of the worker process that these are in, if they are in one. */
  process?: string
  policy: SupervisorPolicy
}

/** Of one kind: shared, of this node, of remote hosts, each with its ordered partitions. */
const mailboxesMax = 3 * 17
/** Beside those of kinds: executors and their aides, shards, scout. */
const othersMax = 50

export function workersSupervisor(options: WorkersOptions): ChildSpec {
  const { kinds, mailboxes } = options

  const workerOf = (mailbox: string): ChildSpec => {
    const of = mailboxKind(mailbox)
    const kind = of === undefined ? undefined : kinds.get(of.kind)
    if (of === undefined || kind === undefined) {
      throw new Error(`expected the mailbox of a known kind, got ${mailbox}`)
    }
    const name = options.process === undefined ? mailbox : `${options.process}/${mailbox}`
    const concurrency = of.remote === true ? kind.remoteConcurrency : undefined
    const served = concurrency === undefined ? kind : { ...kind, concurrency }
    return worker({ ...options, mailbox, kind: served, worker: name, ordered: of.ordered })
  }

  const isShard = (mailbox: string): boolean => {
    const of = mailboxKind(mailbox)
    return of?.shard !== undefined && kinds.has(of.kind)
  }

  const isOurs = (mailbox: string): boolean => {
    const of = mailboxKind(mailbox)
    if (of === undefined || of.shard !== undefined || !kinds.has(of.kind)) return false
    return of.node === undefined || of.node === options.self
  }

  const shards =
    options.shards === undefined
      ? undefined
      : new Shards({ ...options, ...options.shards, workerOf })

  /** Hears of new mailboxes and has a worker started for each of ours. */
  const scout: NamedChild = {
    id: 'scout',
    leavesFirst: true,
    spec: (workers) => {
      let unsubscribe: (() => Promise<void>) | undefined
      return {
        logic: serviceMachine.provide({
          actors: {
            open: fromPromise<void, Owned>(async () => {
              const found = (mailbox: string) => {
                if (isShard(mailbox)) shards?.found(mailbox)
                if (!isOurs(mailbox)) return
                const child = planOf({ id: mailbox, leavesFirst: true }, options.policy)
                options.tell(workers, { type: 'child.add', child })
              }
              unsubscribe = await mailboxes.onNew(found)
              for (const mailbox of await mailboxes.names()) found(mailbox)
            }),
            close: fromPromise<void, Owned>(async () => unsubscribe?.()),
          },
        }),
      }
    },
  }

  /** Actors of executors: they leave after all who have work, and before the executors. */
  const aides = new Map<string, () => ChildSpec>()
  const hostOf = (workers: AnyActorRef): ExecutorHost => ({
    clock: options.clock,
    tell: options.tell,
    ...(options.meter?.containers && { containers: options.meter.containers }),
    async supervise(id, spec) {
      // Of an earlier life of the executors: it is of no use to the present one.
      await removeChild(workers, id)
      aides.set(id, spec)
      await addChild(workers, planOf({ id }, options.policy), options.tell)
    },
  })

  const executors = [...new Set([...kinds.values()].map((kind) => kind.executor))]
  const hands: NamedChild = {
    id: 'executors',
    spec: (workers) => ({
      logic: serviceMachine.provide({
        actors: {
          open: fromPromise<void, Owned>(async () => {
            await Promise.all(executors.map((executor) => executor.start(hostOf(workers))))
          }),
          close: fromPromise<void, Owned>(async () => {
            await Promise.all(executors.map((executor) => executor.stop()))
          }),
        },
      }),
    }),
  }

  const own = [...kinds.keys()].map((kind): NamedChild => {
    const mailbox = workMailbox(kind, undefined, 1)
    return { id: mailbox, spec: () => workerOf(mailbox), leavesFirst: true }
  })

  return supervisor({
    ...options,
    policy: { ...options.policy, childrenMax: othersMax + kinds.size * mailboxesMax },
    id: 'workers',
    children: [
      hands,
      ...own,
      ...(shards === undefined ? [] : [{ ...shards.child(), leavesFirst: true }]),
      scout,
    ],
    specOf: (id) => aides.get(id)?.() ?? workerOf(id),
  })
}
