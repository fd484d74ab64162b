/**
 * The escalations port on Redis: buckets of counts with a ttl, by its clock, for those of the nodes
 * need not agree. On a connection of its own, which is made when it is first used: a command that
 * was given up must not be done later, and no batch of envelopes may stand before it.
 */
import type { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import type { CountBatch, Escalations, WindowsReading } from '../../actors/ports-escalations.ts'
import type { Escalation } from '../../machines/escalation.ts'
import { type WindowShape, widthOf } from '../../machines/window.ts'
import { redisClient } from './client.ts'
import { bucketBase, keys } from './keys.ts'
import { Script } from './script.ts'
import { withinTime } from './within-time.ts'

const count = new Script('escalation-count')
const put = new Script('escalation-put')

export interface RedisEscalationsOptions {
  url: string
  shape: WindowShape
  operationTimeoutMs: number
  log: Log
}

export function redisEscalations(options: RedisEscalationsOptions): Escalations {
  const { url, shape, operationTimeoutMs: timeoutMs, log } = options
  let client: Redis | undefined
  const inTime = <T>(what: string, operation: (redis: Redis) => Promise<T>): Promise<T> => {
    const purpose = { name: 'escalations', kind: 'command', timeoutMs } as const
    const redis = (client ??= redisClient(url, purpose, { log }) as Redis)
    return withinTime(redis, timeoutMs, `to ${what}`, () => operation(redis))
  }
  const read = async (redis: Redis, batch: CountBatch): Promise<WindowsReading> => {
    const { source, number, counts } = batch
    const all = [keys.escalationMetrics, keys.escalations, keys.escalationSource(source)]
    const kept = [bucketBase, widthOf(shape), shape.buckets, 2 * shape.windowMs]
    const added = counts.flatMap((one) => [one.metric, one.count, Math.round(one.ageMs)])
    return readingOf(await count.call(redis, all, [...kept, number, ...added]))
  }
  return {
    count: (batch) => inTime('count what may escalate', (redis) => read(redis, batch)),
    look: () =>
      inTime('read the windows of escalations', (redis) =>
        read(redis, { source: 'nobody', number: 0, counts: [] }),
      ),
    put: (next, before) =>
      inTime(`write the escalation ${next.metric}`, async (redis) => {
        const args = [next.metric, before?.version ?? 0, JSON.stringify(next)]
        return (await put.call(redis, [keys.escalations], args)) === 1
      }),
    close: async () => client?.disconnect(),
  }
}

function readingOf(reply: unknown): WindowsReading {
  const [at, texts, ...rest] = reply as [number, string[], ...(string | number[])[]]
  const escalations = new Map<string, Escalation>()
  for (const text of texts) {
    const escalation = JSON.parse(text) as Escalation
    escalations.set(escalation.metric, escalation)
  }
  const windows = new Map<string, number[]>()
  for (let index = 0; index < rest.length; index += 2) {
    windows.set(rest[index] as string, rest[index + 1] as number[])
  }
  return { at, windows, escalations }
}
