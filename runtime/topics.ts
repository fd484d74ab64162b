/** Publishing and subscribing, as one node does it. */
import type { Log } from '../actors/ports.ts'
import { type Publish, type PublisherOptions, publisher } from '../actors/publisher.ts'
import { subscriptionsSupervisor } from '../actors/subscription.ts'
import type { SubscriptionDefinition } from '../actors/subscription-work.ts'
import type { ChildSpec } from '../actors/supervisor.ts'
import type { Config } from '../config/schema.ts'
import type { AssemblyOptions, Shared } from './assembly.ts'
import { systemClock } from './clock.ts'
import { inNameOf } from './execute/stray-errors.ts'
import type { Ports } from './world.ts'

export interface NodePublisherOptions {
  config: Config
  ports: Pick<Ports, 'topics' | 'mailboxes' | 'headroom'>
  log: Log
}

export function nodePublisher(options: NodePublisherOptions): Publish {
  return publisher(publishing(options))
}

function publishing({ config, ports, log }: NodePublisherOptions): PublisherOptions {
  const { topics, mailboxes, headroom } = ports
  const depthMax = config.mailbox.topicDepthMax
  const newId = () => `m-${crypto.randomUUID()}`
  return { topics, mailboxes, headroom, depthMax, newId, clock: systemClock, log }
}

export function subscriptionChildren(
  options: Pick<AssemblyOptions, 'id' | 'config' | 'subscriptions' | 'throttle'> &
    Pick<AssemblyOptions, 'drain' | 'hurry' | 'graceMs'> & { boot: string },
  shared: Shared,
): ChildSpec {
  const { id: node, config, subscriptions, boot, drain, hurry, graceMs, throttle } = options
  const { retryBaseMs, retryCapMs, hangGraceMs, attempts, handlerTimeoutMs } = config.worker
  return subscriptionsSupervisor({
    ...shared,
    definitions: subscriptions.map(named),
    node,
    boot,
    drain,
    hurry,
    graceMs,
    throttle,
    publisher: publishing({ config, ports: shared, log: shared.log }),
    retry: { baseMs: retryBaseMs, capMs: retryCapMs, jitter: 0 },
    attempts,
    timeoutMs: handlerTimeoutMs,
    hangGraceMs,
  })
}

/** What a handler leaves behind, and throws when nobody waits for it, is known to be its own. */
function named(definition: SubscriptionDefinition): SubscriptionDefinition {
  const { name, handle } = definition
  const handleNamed: typeof handle = (message, context) =>
    inNameOf(name, () => handle.call(definition, message, context))
  return { ...definition, handle: handleNamed }
}
