/** Priorities as BullMQ has them: strict, the lower number first. */
import { Job, type Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Log, Priority } from '../../actors/ports.ts'

export const priorityNumber: Record<Priority, number> = { critical: 1, high: 2, normal: 3, low: 4 }

const { critical, high, normal, low } = priorityNumber

/**
 * Makes the oldest messages of priority `low` the last ones of priority `normal`: at most
 * `countMax`, of which only times are read. One that is taken, or gone, meanwhile is left alone.
 * @returns how many
 */
export async function promoteOldLow(
  queue: Queue,
  redis: Redis,
  waitedMs: number,
  countMax: number,
  log: Log,
): Promise<number> {
  const counts = await queue.getCountsPerPriority([critical, high, normal, low])
  if ((counts[low] ?? 0) === 0) return 0
  // Those before them may get fewer or more meanwhile: what is found there is asked again.
  const first = (counts[critical] ?? 0) + (counts[high] ?? 0) + (counts[normal] ?? 0)
  const ids = await queue.getRanges(['prioritized'], first, first + countMax - 1, true)
  const since = Date.now() - waitedMs
  let promoted = 0
  for (const id of ids) {
    const [priority, ...times] = await redis.hmget(queue.toKey(id), 'priority', 'timestamp', 'opts')
    if (Number(priority) !== low) continue
    if (dueAt(times) > since) break
    try {
      await new Job(queue, 'envelope', {}, {}, id).changePriority({ priority: normal })
      promoted += 1
    } catch (error) {
      log.debug({ mailbox: queue.name, id, error: String(error) }, 'a message is gone already')
    }
  }
  return promoted
}

/** Of the messages that are next in their priority; undefined when none waits. */
export async function oldestAt(queue: Queue, redis: Redis): Promise<number | undefined> {
  const counts = await queue.getCountsPerPriority([critical, high, normal, low])
  const nexts: number[] = []
  let before = 0
  for (const priority of [critical, high, normal, low]) {
    const count = counts[priority] ?? 0
    if (count > 0) nexts.push(before)
    before += count
  }
  const found = await Promise.all(
    nexts.map(async (next) => {
      const [id] = await queue.getRanges(['prioritized'], next, next, true)
      const times = id === undefined ? [] : await redis.hmget(queue.toKey(id), 'timestamp', 'opts')
      // It may be taken, or gone, meanwhile.
      return typeof times[0] === 'string' ? [dueAt(times)] : []
    }),
  )
  return found.flat().toSorted((a, b) => a - b)[0]
}

/** It did not wait before it was due. */
function dueAt([timestamp, opts]: readonly (string | null)[]): number {
  const { delay } = JSON.parse(opts ?? '{}') as { delay?: number }
  return Number(timestamp) + (delay ?? 0)
}
