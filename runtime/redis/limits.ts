/** The limits port on Redis: every node draws on the same buckets, by the clock of Redis. */
import type { Redis } from 'ioredis'
import type { Limits } from '../../actors/ports-limits.ts'
import { keys } from './keys.ts'
import { Script } from './script.ts'

const limit = new Script('limit')

export function redisLimits(redis: Redis): Limits {
  return {
    async take(buckets, tokens) {
      const policies = buckets.flatMap(({ rate, burst }) => [rate, burst])
      const names = buckets.map(({ name }) => keys.limit(name))
      const reply = await limit.call(redis, names, [tokens, ...policies])
      const [taken, waitMs] = reply as [number, number]
      return { tokens: taken, waitMs: waitMs < 0 ? Number.POSITIVE_INFINITY : waitMs }
    },
  }
}
