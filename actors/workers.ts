/**
 * The workers of a node: one for the mailbox of every kind it knows, and one for each ordered
 * partition as soon as somebody uses it.
 */
import { fromPromise } from 'xstate'
import { type Owned, serviceMachine } from '../machines/service.ts'
import type { SupervisorPolicy } from '../machines/supervision.ts'
import { mailboxKind, workMailbox } from './envelope.ts'
import type { Kinds } from './kind.ts'
import { type ChildSpec, type NamedChild, planOf, supervisor } from './supervisor.ts'
import { type WorkerOptions, worker } from './worker.ts'

export interface WorkersOptions
  extends Omit<WorkerOptions, 'mailbox' | 'kind' | 'ordered' | 'worker'> {
  kinds: Kinds
  /** Of the worker process that these are in, if they are in one. */
  process?: string
  policy: SupervisorPolicy
}

export function workersSupervisor(options: WorkersOptions): ChildSpec {
  const { kinds, mailboxes } = options

  const workerOf = (mailbox: string): ChildSpec => {
    const of = mailboxKind(mailbox)
    const kind = of === undefined ? undefined : kinds.get(of.kind)
    if (of === undefined || kind === undefined) {
      throw new Error(`expected the mailbox of a known kind, got ${mailbox}`)
    }
    const name = options.process === undefined ? mailbox : `${options.process}/${mailbox}`
    return worker({ ...options, mailbox, kind, worker: name, ordered: of.ordered })
  }

  const isOurs = (mailbox: string): boolean => {
    const of = mailboxKind(mailbox)
    return of !== undefined && kinds.has(of.kind)
  }

  /** Hears of new mailboxes and has a worker started for each of ours. */
  const scout: NamedChild = {
    id: 'scout',
    spec: (workers) => {
      let unsubscribe: (() => Promise<void>) | undefined
      return {
        logic: serviceMachine.provide({
          actors: {
            open: fromPromise<void, Owned>(async () => {
              const found = (mailbox: string) => {
                if (!isOurs(mailbox)) return
                const child = planOf({ id: mailbox }, options.policy)
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

  const executors = [...new Set([...kinds.values()].map((kind) => kind.executor))]
  const hands: NamedChild = {
    id: 'executors',
    spec: () => ({
      logic: serviceMachine.provide({
        actors: {
          open: fromPromise<void, Owned>(async () => {
            await Promise.all(executors.map((executor) => executor.start()))
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
    return { id: mailbox, spec: () => workerOf(mailbox) }
  })

  return supervisor({
    ...options,
    id: 'workers',
    children: [hands, ...own, scout],
    specOf: workerOf,
  })
}
