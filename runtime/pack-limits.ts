/** How tasks are packed into envelopes, by the configuration, their paces and their limits. */
import type { PackLimits } from '../actors/envelope.ts'
import type { Kinds } from '../actors/kind.ts'
import type { Paces } from '../actors/paces.ts'
import { sourcePrefix } from '../config/key.ts'
import type { Config } from '../config/schema.ts'

/**
 * The tasks of an envelope run side by side. They are counted for a share of the slots of a worker,
 * or one with many slots would take so much at once that others have nothing left.
 */
const slotsShare = 1 / 8
const togetherMin = 8

export function packLimits(config: Config, kinds: Kinds, paces: Pick<Paces, 'of'>): PackLimits {
  const { worker, mailbox, dispatcher, limits } = config
  const hasSources = Object.keys(limits).some((name) => name.startsWith(sourcePrefix))
  const sourceOf: PackLimits['sourceOf'] = ({ labels }) => {
    const source = labels?.['source']
    const isLimited = source !== undefined && limits[sourcePrefix + source] !== undefined
    return isLimited ? source : undefined
  }
  /** What a limit lets begin in the time of an envelope: who waits longer loses more by a kill. */
  const within = (name: string): number => {
    const rate = limits[name]?.rate
    return rate === undefined ? Number.POSITIVE_INFINITY : (rate * worker.envelopeMs) / 1000
  }
  return {
    tasksMax: Math.min(worker.envelopeTasksMax, dispatcher.queueMax, mailbox.depthMax),
    bytesMax: worker.envelopeBytesMax,
    keyPartitions: mailbox.keyPartitions,
    shards: mailbox.shards,
    tasksOf: (kind, source) => {
      const { paceMs = 1, concurrency = 1 } = kinds.get(kind) ?? {}
      const together = Math.min(concurrency, Math.max(togetherMin, concurrency * slotsShare))
      const byPace = (worker.envelopeMs * together) / paces.of(kind, paceMs)
      const bySource = source === undefined ? byPace : within(sourcePrefix + source)
      return Math.floor(Math.min(byPace, within(kind), bySource))
    },
    // Without one, tasks are packed by a glance at their neighbours.
    ...(hasSources ? { sourceOf } : {}),
  }
}
