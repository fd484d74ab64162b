/** A node's subscriptions under test, on the memory twins. */
import type { AnyActorRef } from 'xstate'
import { createActor } from 'xstate'
import { type PublisherOptions, publisher } from '../../actors/publisher.ts'
import { type SubscriptionsOptions, subscriptionsSupervisor } from '../../actors/subscription.ts'
import type { SubscriptionDefinition } from '../../actors/subscription-work.ts'
import { isReady } from '../../actors/supervisor.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import { eventually } from '../kit/eventually.ts'
import { memoryWorld } from './world.ts'

export function subscribing(over: Partial<PublisherOptions> = {}) {
  const world = memoryWorld()
  let published = 0
  const publishing: PublisherOptions = {
    ...world,
    depthMax: 100,
    newId: () => `m-${(published += 1)}`,
    ...over,
  }
  const drain = new AbortController()
  const trees: AnyActorRef[] = []

  const start = async (
    definitions: readonly SubscriptionDefinition[],
    options: Partial<SubscriptionsOptions> = {},
  ): Promise<AnyActorRef> => {
    const spec = subscriptionsSupervisor({
      ...world,
      definitions,
      boot: 'b-1',
      node: 'n-1',
      publisher: publishing,
      attempts: 3,
      timeoutMs: 5000,
      hangGraceMs: 5000,
      retry: { baseMs: 1, capMs: 1, jitter: 0 },
      random: () => 0.5,
      policy: defaultPolicy,
      drain: drain.signal,
      graceMs: () => 1000,
      ...options,
    })
    const tree = createActor(spec.logic, { input: spec.input }) as AnyActorRef
    trees.push(tree)
    tree.subscribe({ error: () => undefined })
    tree.start()
    await eventually(() => {
      if (!isReady(tree.getSnapshot())) throw new Error('the subscriptions are not ready')
    })
    return tree
  }

  return {
    ...world,
    publish: publisher(publishing),
    drain,
    start,
    end: () => {
      for (const tree of trees) tree.stop()
    },
    /** Dead letters, by the order in which they came. */
    parked: async () => {
      const { items } = await world.letters.list({ limit: 100 })
      return items.toReversed()
    },
  }
}
