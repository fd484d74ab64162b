/** The admission port on Redis: an exact count of tasks in each mailbox, over all nodes. */
import type { Redis } from 'ioredis'
import type { Admission } from '../../actors/ports.ts'
import { keys, SlotKeys } from './keys.ts'
import { Script } from './script.ts'

const reserve = new Script('reserve')
const moveRoom = new Script('move-room')

/** How long it is remembered that room was moved: as long as a message may come again. */
const movesKeepMs = 24 * 3_600_000

/** Each slot counts the tasks of its own runs, and lets in its share of the bound. */
export function redisAdmission(redis: Redis, slotKeys = new SlotKeys()): Admission {
  return {
    async reserve(mailbox, run, tasks, depthMax) {
      const room = [slotKeys.room(slotKeys.slotOf(run)), `${slotKeys.run(run)}:room`]
      const most = Math.max(1, Math.floor(depthMax / slotKeys.slots))
      return (await reserve.call(redis, room, [mailbox, tasks, most])) === 1
    },
    async used(mailbox) {
      const rooms = slotKeys.all().map((slot) => redis.hget(slotKeys.room(slot), mailbox))
      return (await Promise.all(rooms)).reduce((sum, room) => sum + Number(room ?? 0), 0)
    },
    async moveRoom(run, id, { from, to, tasks }) {
      const record = slotKeys.run(run)
      const room = slotKeys.room(slotKeys.slotOf(run))
      const all = [record, room, `${record}:room`, `${record}:room:moves`]
      await moveRoom.call(redis, all, [id, from, to, tasks, movesKeepMs])
    },
    async usedIn(mailboxes) {
      if (mailboxes.length === 0) return []
      const rooms = slotKeys.all().map((slot) => redis.hmget(slotKeys.room(slot), ...mailboxes))
      const bySlot = await Promise.all(rooms)
      return mailboxes.map((_, at) => bySlot.reduce((sum, of) => sum + Number(of[at] ?? 0), 0))
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
