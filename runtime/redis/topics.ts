/**
 * The topics port on Redis. Who listens to what, and telling them, is BullMQ's relay, which is
 * experimental: this file alone knows it, its version is pinned, and the conformance suite holds
 * what is needed of it. What durable subscriptions there are is a set of ours.
 */
import { createRedisRelayBackend, type IRelayBackend, Relay } from 'bullmq'
import type { Redis } from 'ioredis'
import { describeError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import {
  type DurableGroup,
  softBacklog,
  type TopicListener,
  type TopicMessage,
  type Topics,
} from '../../actors/ports-topics.ts'
import { atMost, closeMs } from '../mailbox/receiver.ts'
import { keys } from './keys.ts'
import { withinTime } from './within-time.ts'

export interface RedisTopicsOptions {
  redis: Redis
  /** How long an operation may take, ms. */
  timeoutMs: number
  /** Silence after which whoever listens is forgotten, ms. */
  staleMs: number
  log: Log
}

/** In the relay's own prefix there is nothing else. */
const place = { prefix: keys.topics, namespace: 'soft', inboxMaxLength: softBacklog }
/** More than publishing allows, with what is around the data. */
const bytesMax = 2 * 1_048_576
/** Who lost its place in an outage finds that out with a heartbeat. */
const heartbeatMs = 1000
const troubleEveryMs = 1000

export function redisTopics({ redis, timeoutMs, staleMs, log }: RedisTopicsOptions): Topics {
  const relays = new Map<string, Relay>()
  let backend: IRelayBackend | undefined
  const inTime = <T>(purpose: string, operation: () => Promise<T>) =>
    withinTime(redis, timeoutMs, purpose, operation)

  /** To tell others one need not be registered. */
  const teller = (): IRelayBackend => {
    backend ??= createRedisRelayBackend({ connection: redis, ...place })
    return backend
  }

  const relayOf = (boot: string): Relay => {
    const known = relays.get(boot)
    if (known !== undefined) return known
    const relay = new Relay({
      connection: redis,
      nodeId: boot,
      leaseDuration: staleMs,
      heartbeatInterval: Math.ceil(Math.min(heartbeatMs, staleMs / 3)),
      ...place,
    })
    relay.on('error', troubleTeller(boot, log))
    relay.on('recovered', () => log.info({ boot }, 'listens to topics again; some may be missed'))
    relay.on('lag', (behind: number) =>
      log.warn({ boot, behind }, 'listeners to topics are behind'),
    )
    relays.set(boot, relay)
    return relay
  }

  /** The relay waits for Redis as long as it takes; whoever leaves does not. */
  const closeRelay = (relay: Relay) => atMost(closeMs, relay.close())

  return {
    tell: (message) =>
      inTime('to tell listeners to a topic', async () => {
        const options = { ts: message.at, retainMs: 0, maxSize: bytesMax }
        const told = await teller().publish(message.topic, JSON.stringify(message), options)
        return told.endpoints
      }),

    listen: (boot, pattern, listener) =>
      inTime('to listen to topics', async () => {
        const relay = relayOf(boot)
        const subscription = await relay.subscribe<TopicMessage>(pattern, ({ data }) =>
          hear(listener, data, pattern, log),
        )
        return async () => {
          try {
            await inTime('to listen to topics no more', () => subscription.unsubscribe())
          } catch (error) {
            log.warn({ pattern, ...describeError(error) }, 'a subscription ends by itself later')
          }
        }
      }),

    forget: (boot) =>
      inTime('to forget who listened to topics', async () => {
        const relay = relays.get(boot)
        relays.delete(boot)
        const isForgotten = await teller().unregisterNode(boot)
        // One of ours would register again with its next heartbeat.
        if (relay !== undefined) await closeRelay(relay)
        return isForgotten
      }),

    declare: (group) =>
      inTime('to note a durable subscription', async () => {
        await redis.sadd(keys.topicGroups, fieldOf(group))
      }),

    withdraw: (group) =>
      inTime('to withdraw a durable subscription', async () => {
        return (await redis.srem(keys.topicGroups, fieldOf(group))) === 1
      }),

    groups: () =>
      inTime('which durable subscriptions there are', async () => {
        const fields = await redis.smembers(keys.topicGroups)
        return fields.toSorted().map(groupOf)
      }),

    async close() {
      await Promise.all([...relays.values()].map(closeRelay))
      if (backend !== undefined) await atMost(closeMs, backend.close())
    },
  }
}

/** Neither a name nor a pattern has a space in it. */
function fieldOf({ group, pattern }: DurableGroup): string {
  return `${group} ${pattern}`
}

function groupOf(field: string): DurableGroup {
  const [group = '', pattern = ''] = field.split(' ')
  return { group, pattern }
}

function hear(listener: TopicListener, message: TopicMessage, pattern: string, log: Log): void {
  try {
    listener(message)
  } catch (error) {
    log.warn({ pattern, ...describeError(error) }, 'a listener failed')
  }
}

/** While Redis is away the relay has a good deal to say. */
function troubleTeller(boot: string, log: Log): (error: Error) => void {
  let toldAt = Number.NEGATIVE_INFINITY
  return (error) => {
    const now = performance.now()
    if (now - toldAt < troubleEveryMs) return
    toldAt = now
    log.warn({ boot, error: error.message }, 'trouble with listening to topics')
  }
}
