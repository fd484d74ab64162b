/**
 * The leases port on Redis, on connections of its own: a renewal must not stand behind a batch of
 * envelopes, and a command that was given up must not be done later. Every operation ends in time,
 * whether Redis is slow, stopped or away.
 */
import type { Redis } from 'ioredis'
import { describeError } from '../../actors/errors.ts'
import { fenced, holderOf } from '../../actors/lease.ts'
import type { Log } from '../../actors/ports.ts'
import type { Grant, LeaseRecord, Leases } from '../../actors/ports-fleet.ts'
import { redisClient } from './client.ts'
import { keys, SlotKeys } from './keys.ts'
import { Script } from './script.ts'
import { withinTime } from './within-time.ts'

const scripts = {
  acquire: new Script('lease-acquire'),
  renew: new Script('lease-renew'),
  release: new Script('lease-release'),
  revoke: new Script('lease-revoke'),
  read: new Script('lease-read'),
  put: new Script('lease-put'),
  check: new Script('lease-check'),
  raise: new Script('lease-raise'),
}

export interface RedisLeasesOptions {
  url: string
  operationTimeoutMs: number
  /** The slots whose writes are fenced; default: one. */
  slotKeys?: SlotKeys
  log: Log
}

/** @throws UsageError REDIS_URL when the URL cannot be understood */
export function redisLeases(options: RedisLeasesOptions): Leases {
  const { url, operationTimeoutMs, slotKeys = new SlotKeys(), log } = options
  const commands = { name: 'leases', kind: 'command', timeoutMs: operationTimeoutMs } as const
  const redis = redisClient(url, commands, { log }) as Redis
  const subscriber = redisClient(url, { name: 'freed', kind: 'subscriber' }, { log }) as Redis

  const inTime = <T>(what: string, operation: () => Promise<T>): Promise<T> =>
    withinTime(redis, operationTimeoutMs, `to ${what}`, operation)

  const read = async (name: string): Promise<LeaseRecord[]> =>
    recordOf(name, await scripts.read.call(redis, [keys.leaseLock(name)], []))

  /** Before anybody leads by it: from then on the other slots refuse who led before. */
  const raise = async (name: string, epoch: number): Promise<void> => {
    const others = slotKeys.all().slice(1)
    const raised = others.map((slot) =>
      scripts.raise.call(redis, [slotKeys.leaseEpoch(name, slot)], [epoch]),
    )
    await Promise.all(raised)
  }

  return {
    acquire: (name, owner, ttlMs) =>
      inTime(`acquire lease ${name}`, async () => {
        const [[isGranted, number]] = await Promise.all([
          scripts.acquire.call(
            redis,
            [keys.leaseLock(name), keys.leaseEpoch(name)],
            [owner, holderOf(owner), ttlMs],
          ) as Promise<[number, string | number]>,
          redis.sadd(keys.leases, name),
        ])
        if (isGranted !== 1) return { granted: false, heldForMs: Math.max(0, Number(number)) }
        await raise(name, Number(number))
        return { granted: true, epoch: Number(number) }
      }),

    renew: (grant, ttlMs) =>
      inTime(`renew lease ${grant.name}`, async () => {
        const lease = [keys.leaseLock(grant.name), keys.leaseEpoch(grant.name)]
        return (await scripts.renew.call(redis, lease, [grant.owner, grant.epoch, ttlMs])) === 1
      }),

    release: ({ name, owner, epoch }: Grant) =>
      inTime(`release lease ${name}`, async () => {
        const args = [owner, epoch, keys.freedLeases, name]
        return (await scripts.release.call(redis, [keys.leaseLock(name)], args)) === 1
      }),

    revoke: (name, reason) =>
      inTime(`revoke lease ${name}`, async () => {
        const args = [keys.freedLeases, name]
        const reply = await scripts.revoke.call(redis, [keys.leaseLock(name)], args)
        const [record] = recordOf(name, reply)
        if (record === undefined) return undefined
        log.warn({ lease: name, holder: record.holder, reason }, 'a lease was taken away')
        return record
      }),

    list: () =>
      inTime('list the leases', async () => {
        const names = await redis.smembers(keys.leases)
        return (await Promise.all(names.sort().map(read))).flat()
      }),

    watch: (listener) => watchFreed(subscriber, operationTimeoutMs, log, listener),

    put: ({ name, epoch }, key, value) =>
      inTime(`write under lease ${name}`, async () => {
        const lease = [keys.leaseLock(name), keys.leaseEpoch(name), keys.leaseValues(name)]
        const newest = await scripts.put.call(redis, lease, [epoch, key, value])
        if (newest !== null) throw fenced(name, epoch, Number(newest))
      }),

    get: (name, key) =>
      inTime(
        `read under lease ${name}`,
        async () => (await redis.hget(keys.leaseValues(name), key)) ?? undefined,
      ),

    check: (name, epoch) =>
      inTime(`check lease ${name}`, async () => {
        const lease = [keys.leaseLock(name), keys.leaseEpoch(name)]
        const newest = Number(await scripts.check.call(redis, lease, []))
        if (newest > epoch) throw fenced(name, epoch, newest)
      }),

    async close() {
      redis.disconnect()
      subscriber.disconnect()
    },
  }
}

/** None or one. */
function recordOf(name: string, reply: unknown): LeaseRecord[] {
  if (reply === null) return []
  const [holder, epoch, since, ttlMs] = reply as [string, string, string, number]
  return [{ name, holder, epoch: Number(epoch), since: Number(since), ttlMs }]
}

async function watchFreed(
  subscriber: Redis,
  timeoutMs: number,
  log: Log,
  listener: (name: string | undefined) => void,
): Promise<() => Promise<void>> {
  let isWatching = true
  let isLate = false
  const onMessage = (channel: string, name: string) => {
    if (channel === keys.freedLeases) listener(name)
  }
  // ioredis subscribes again by itself; what was published until then is lost to us. Asking again
  // is how to know when that was.
  const onReady = () => {
    subscriber.subscribe(keys.freedLeases).then(
      () => {
        if (isWatching) listener(undefined)
      },
      () => {
        // Lost again: then there is another ready to come.
      },
    )
  }
  subscriber.on('message', onMessage)
  const subscribed = subscriber.subscribe(keys.freedLeases).then(
    () => {
      if (!isWatching) return
      subscriber.on('ready', onReady)
      if (isLate) listener(undefined)
    },
    (error: unknown) => {
      if (subscriber.status === 'end') return
      const fields = { error: describeError(error).message }
      log.warn(
        fields,
        'notices of freed leases are refused; who waits gets a lease by its ttl only',
      )
    },
  )
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(() => {
    isLate = true
    resolve()
  }, timeoutMs)
  await Promise.race([subscribed, late])
  clearTimeout(timer)
  return async () => {
    isWatching = false
    subscriber.off('message', onMessage)
    subscriber.off('ready', onReady)
  }
}
