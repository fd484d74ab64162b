/** The system log port on Redis, and how a Redis is set where everything is kept in it. */
import type { Redis } from 'ioredis'
import { describeError } from '../../actors/errors.ts'
import type {
  Inspection,
  SystemEntry,
  SystemLog,
  SystemOrder,
  SystemSnapshot,
} from '../../actors/ports-system.ts'
import { entriesMax } from '../../actors/ports-system.ts'
import type { Finding } from '../../machines/system-rules.ts'
import { systemClock } from '../clock.ts'
import { keys } from './keys.ts'
import { Script } from './script.ts'
import { withinTime } from './within-time.ts'

const appendScript = new Script('system-append')
const { systemHistory, systemEntries, systemSnapshots, systemOrder, systemOrdered } = keys

export interface RedisSystemOptions {
  redis: Redis
  /** A connection of its own, for what operators say. */
  subscriber: Redis
  timeoutMs: number
}

export function redisSystemLog({ redis, subscriber, timeoutMs }: RedisSystemOptions): SystemLog {
  const inTime = <T>(purpose: string, operation: () => Promise<T>): Promise<T> =>
    withinTime(redis, timeoutMs, purpose, operation)

  return {
    async append(entry, snapshot, order) {
      const all = [systemHistory, systemEntries, systemSnapshots, systemOrder]
      const word = order === undefined ? '' : JSON.stringify(order)
      const { id, node } = entry
      const said = [id, JSON.stringify(entry), node, JSON.stringify(snapshot)]
      await inTime('to note a transition', () =>
        appendScript.call(redis, all, [...said, entriesMax, word, systemOrdered]),
      )
    },

    order: () =>
      inTime('what operators said', async () => {
        const text = await redis.get(systemOrder)
        return text === null ? undefined : orderOf(text)
      }),

    snapshot: (node) =>
      inTime('how a node was', async () => {
        const text = await redis.hget(systemSnapshots, node)
        return text === null ? undefined : (parsed(text) as SystemSnapshot | undefined)
      }),

    history: ({ after, limit }) =>
      inTime('for the history of the system', async () => {
        const place = after === undefined ? -1 : await redis.lpos(systemHistory, after)
        if (place === null || limit <= 0) return []
        const ids = await redis.lrange(systemHistory, place + 1, place + limit)
        if (ids.length === 0) return []
        const texts = await redis.hmget(systemEntries, ...ids)
        return texts.flatMap((text) => {
          const entry = text === null ? undefined : (parsed(text) as SystemEntry | undefined)
          return entry === undefined ? [] : [entry]
        })
      }),

    async watch(listener) {
      const onMessage = (channel: string) => {
        if (channel === systemOrdered) listener()
      }
      subscriber.on('message', onMessage)
      try {
        // ioredis subscribes again by itself after an outage.
        await inTime('to tell what operators say', () => subscriber.subscribe(systemOrdered))
      } catch (error) {
        subscriber.off('message', onMessage)
        throw error
      }
      // Others of this process may listen: nobody unsubscribes from a channel so quiet.
      return async () => {
        subscriber.off('message', onMessage)
      }
    },
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Of another version, or broken: as if it were not there.
    return undefined
  }
}

/** Whoever cannot tell whether work may go on must not go on with it. */
function orderOf(text: string): SystemOrder {
  const order = parsed(text) as Partial<SystemOrder> | null | undefined
  const { isPaused = true, at = 0, reason = 'what operators said cannot be read' } = order ?? {}
  return { isPaused, at, reason, actor: order?.actor ?? 'system' }
}

export interface RedisInspectionOptions {
  redis: Redis
  timeoutMs: number
}

export function redisInspection({ redis, timeoutMs }: RedisInspectionOptions): Inspection {
  const setting = async (name: string): Promise<string | undefined> => {
    const [, value] = await redis.config('GET', name)
    return value
  }
  return {
    settings: () =>
      withinTime(redis, timeoutMs, 'for its settings', async () => {
        try {
          const [policy, appendOnly] = await Promise.all([
            setting('maxmemory-policy'),
            setting('appendonly'),
          ])
          return settingFindings(policy, appendOnly)
        } catch (error) {
          // Whoever rents a Redis may not be allowed to.
          const what = `the settings of Redis cannot be read: ${describeError(error).message}`
          return [{ severity: 'info', what }]
        }
      }),
    latencyMs: () =>
      withinTime(redis, timeoutMs, 'whether it answers', async () => {
        const began = systemClock.monotonic()
        await redis.ping()
        return systemClock.monotonic() - began
      }),
  }
}

function settingFindings(policy: string | undefined, appendOnly: string | undefined): Finding[] {
  const findings: Finding[] = []
  if (policy !== undefined && policy !== 'noeviction') {
    const what = `Redis: maxmemory-policy is ${policy}, and must be noeviction: work gets lost`
    findings.push({ severity: 'critical', what })
  }
  if (appendOnly === 'no') {
    const what = 'Redis: appendonly is no, so work is lost when it is killed; set it to yes'
    findings.push({ severity: 'warning', what })
  }
  return findings
}
