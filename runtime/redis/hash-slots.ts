/** Over how many hash slots of a Redis Cluster runs and mailboxes are spread. */
import type { Redis } from 'ioredis'
import { UsageError } from '../../actors/errors.ts'
import { isCluster } from './client.ts'
import { keys } from './keys.ts'

/** Enough for a few primaries; each more costs a connection's share of every question to all. */
const clusterSlots = 8

/**
 * All nodes of a Redis go by what the first of them said.
 * @param wanted 0 leaves it to what there is
 * @throws UsageError when another number is in force
 */
export async function agreedSlots(redis: Redis, wanted: number): Promise<number> {
  const proposed = wanted > 0 ? wanted : isCluster(redis) ? clusterSlots : 1
  await redis.set(keys.slots, proposed, 'NX')
  const agreed = Number(await redis.get(keys.slots))
  if (wanted === 0 || agreed === wanted) return agreed
  throw new UsageError(
    `redis.hashSlots: expected ${agreed}, as what is on this Redis is spread, got ${wanted}`,
  )
}
