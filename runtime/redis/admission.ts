/** The admission port on Redis: an exact count of tasks in each mailbox, over all nodes. */
import type { Redis } from 'ioredis'
import type { Admission } from '../../actors/ports.ts'
import { keys } from './keys.ts'
import { Script } from './script.ts'

const reserve = new Script('reserve')

export function redisAdmission(redis: Redis): Admission {
  return {
    async reserve(mailbox, run, tasks, depthMax) {
      const room = [keys.room, `${keys.run(run)}:room`]
      return (await reserve.call(redis, room, [mailbox, tasks, depthMax])) === 1
    },
    async used(mailbox) {
      return Number((await redis.hget(keys.room, mailbox)) ?? 0)
    },
    async paces() {
      const paces = await redis.hgetall(keys.paces)
      return Object.fromEntries(Object.entries(paces).map(([kind, ms]) => [kind, Number(ms)]))
    },
    async recordPaces(paces) {
      if (Object.keys(paces).length > 0) await redis.hset(keys.paces, paces)
    },
  }
}
