/** The leases port in memory: the twin of runtime/redis/leases.ts. */
import { fenced, holderOf } from '../../actors/lease.ts'
import type { Log } from '../../actors/ports.ts'
import type { Grant, LeaseRecord, Leases } from '../../actors/ports-fleet.ts'

/** What a Redis would keep of leases. */
export interface LeaseStore {
  locks: Map<string, { owner: string; epoch: number; since: number; endsAt: number }>
  /** Of the newest grant; outlives the lock. */
  epochs: Map<string, number>
  /** By lease and key. */
  values: Map<string, Map<string, string>>
}

export interface MemoryLeasesOptions {
  /** Epoch ms: the one clock by which leases run out. */
  now(): number
  log: Log
  /** Where leases are kept; by default in a place of their own. */
  store?: LeaseStore
}

export function emptyLeaseStore(): LeaseStore {
  return { locks: new Map(), epochs: new Map(), values: new Map() }
}

export function memoryLeases(options: MemoryLeasesOptions): Leases {
  const { now, log, store = emptyLeaseStore() } = options
  const listeners = new Set<(name: string | undefined) => void>()

  const heldLock = (name: string) => {
    const lock = store.locks.get(name)
    return lock !== undefined && lock.endsAt > now() ? lock : undefined
  }
  const lockOf = (grant: Grant) => {
    const lock = heldLock(grant.name)
    return lock?.owner === grant.owner && lock.epoch === grant.epoch ? lock : undefined
  }
  const newestEpoch = (name: string) =>
    Math.max(store.epochs.get(name) ?? 0, heldLock(name)?.epoch ?? 0)

  const recordOf = (name: string): LeaseRecord[] => {
    const lock = heldLock(name)
    if (lock === undefined) return []
    const { owner, epoch, since, endsAt } = lock
    return [{ name, holder: holderOf(owner), epoch, since, ttlMs: endsAt - now() }]
  }

  const free = (name: string) => {
    store.locks.delete(name)
    // Listeners hear of it after the caller is done, as they would from Redis.
    queueMicrotask(() => {
      for (const listener of listeners) listener(name)
    })
  }

  return {
    async acquire(name, owner, ttlMs) {
      const lock = heldLock(name)
      if (lock !== undefined && lock.owner !== owner) {
        return { granted: false, heldForMs: lock.endsAt - now() }
      }
      const at = now()
      const { epoch, since } = lock ?? {
        epoch: Math.max(newestEpoch(name) + 1, Math.floor(at)),
        since: Math.floor(at),
      }
      store.locks.set(name, { owner, epoch, since, endsAt: at + ttlMs })
      store.epochs.set(name, epoch)
      return { granted: true, epoch }
    },

    async renew(grant, ttlMs) {
      const lock = lockOf(grant)
      if (lock === undefined) return false
      lock.endsAt = now() + ttlMs
      store.epochs.set(grant.name, grant.epoch)
      return true
    },

    async release(grant) {
      if (lockOf(grant) === undefined) return false
      free(grant.name)
      return true
    },

    async revoke(name, reason) {
      const [record] = recordOf(name)
      if (record === undefined) return undefined
      free(name)
      log.warn({ lease: name, holder: record.holder, reason }, 'a lease was taken away')
      return record
    },

    async list() {
      return [...store.locks.keys()].sort().flatMap(recordOf)
    },

    async watch(listener) {
      // The same listener twice is two of them.
      const own = (name: string | undefined) => listener(name)
      listeners.add(own)
      return async () => {
        listeners.delete(own)
      }
    },

    async put({ name, epoch }, key, value) {
      const newest = newestEpoch(name)
      if (newest !== epoch) throw fenced(name, epoch, newest)
      const values = store.values.get(name) ?? new Map<string, string>()
      store.values.set(name, values.set(key, value))
    },

    async get(name, key) {
      return store.values.get(name)?.get(key)
    },

    async check(name, epoch) {
      const newest = newestEpoch(name)
      if (newest > epoch) throw fenced(name, epoch, newest)
    },

    async close() {
      listeners.clear()
    },
  }
}
