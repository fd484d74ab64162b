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
    const [priority, timestamp, opts] = await redis.hmget(
      queue.toKey(id),
      'priority',
      'timestamp',
      'opts',
    )
    if (Number(priority) !== low) continue
    if (Number(timestamp) + delayIn(opts) > since) break
    try {
      await new Job(queue, 'envelope', {}, {}, id).changePriority({ priority: normal })
      promoted += 1
    } catch (error) {
      log.debug({ mailbox: queue.name, id, error: String(error) }, 'a message is gone already')
    }
  }
  return promoted
}

/** It did not wait before it was due. */
function delayIn(opts: string | null | undefined): number {
  const { delay } = JSON.parse(opts ?? '{}') as { delay?: number }
  return delay ?? 0
}
