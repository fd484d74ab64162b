/** Over how many hash slots of a Redis Cluster runs and mailboxes are spread. */
import type { Redis } from 'ioredis'
import { UsageError } from '../../actors/errors.ts'
import { isCluster } from './client.ts'
import { keys } from './keys.ts'

/** Enough for a few primaries; each more costs a connection's share of every question to all. */
const clusterShards = 8

/**
 * All nodes of a Redis go by what the first of them said.
 * @param wanted 0 leaves it to what there is
 * @throws UsageError when another number is in force
 */
export async function agreedShards(redis: Redis, wanted: number): Promise<number> {
  const proposed = wanted > 0 ? wanted : isCluster(redis) ? clusterShards : 1
  await redis.set(keys.shards, proposed, 'NX')
  const agreed = Number(await redis.get(keys.shards))
  if (wanted === 0 || agreed === wanted) return agreed
  throw new UsageError(
    `redis.shards: expected ${agreed}, which what is on this Redis is spread over, got ${wanted}`,
  )
}
