/**
 * A child of the tree that lives only while its node leads: a supervisor over the contender for the
 * lease, and over the child, which is named after the epoch that it works under.
 */
import type { AnyActorRef, AnyMachineSnapshot } from 'xstate'
import { isLive } from './dead-letters.ts'
import type { Fence } from './ports-fleet.ts'
import { type SingletonOptions, singleton } from './singleton.ts'
import type { RunningSingleton, SingletonContext } from './singleton-work.ts'
import {
  addChild,
  type ChildSpec,
  planOf,
  removeChild,
  type SupervisorOptions,
  supervisor,
} from './supervisor.ts'
import { watch } from './watch.ts'

export interface LedOptions
  extends Omit<SupervisorOptions, 'children' | 'specOf'>,
    Omit<SingletonOptions, 'definition' | 'contender'> {
  /** The lease; `id` is the place in the tree. */
  lease: string
  /** A name for each life of the contender: see `contenders` of actors/lease.ts. */
  contender(): string
  /** The child, under the grant that it works under. */
  specOf(fence: Fence): ChildSpec
}

export function led(options: LedOptions): ChildSpec {
  const { lease: name, policy, specOf, tell } = options
  const fences = new Map<string, Fence>()

  const start = async (
    parent: AnyActorRef,
    { epoch, signal, fence }: SingletonContext,
  ): Promise<RunningSingleton> => {
    const id = `epoch-${epoch}`
    fences.set(id, fence)
    const leave = () => {
      fences.delete(id)
      // The end of a lease is told in the middle of things.
      queueMicrotask(() => {
        if (isLive(parent)) tell(parent, { type: 'child.remove', id })
      })
    }
    signal.addEventListener('abort', leave, { once: true })
    // One that fails is not started again under the same grant: the lease goes, others may lead.
    const child = await addChild(parent, planOf({ id, restart: 'temporary' }, policy), tell)
    const ended = Promise.withResolvers<never>()
    watch(child, (down) => {
      // It goes first when all stop; who led hears of that next.
      if (isStopping(parent)) return
      ended.reject('error' in down ? down.error : new Error(`${name} ended unasked`))
    })
    return { stop: () => removeChild(parent, id), ended: ended.promise }
  }

  return supervisor({
    ...options,
    children: [
      {
        id: 'leader',
        spec: (parent) =>
          singleton({
            ...options,
            contender: options.contender(),
            definition: { name, start: (context) => start(parent, context) },
          }),
      },
    ],
    specOf: (id) => {
      const fence = fences.get(id)
      if (fence === undefined) throw new Error(`expected a grant of ${name}, got ${id}`)
      return specOf(fence)
    },
  })
}

const isStopping = (parent: AnyActorRef): boolean =>
  (parent.getSnapshot() as AnyMachineSnapshot).matches('stopping')
