/** The system log port in memory: of one process. */
import {
  entriesMax,
  type Inspection,
  type SystemEntry,
  type SystemLog,
  type SystemOrder,
  type SystemSnapshot,
} from '../../actors/ports-system.ts'

export function memorySystemLog(): SystemLog {
  /** Newest first. */
  const entries: SystemEntry[] = []
  const snapshots = new Map<string, SystemSnapshot>()
  const listeners = new Set<() => void>()
  let said: SystemOrder | undefined
  return {
    async append(entry, snapshot, order) {
      if (entries.some(({ id }) => id === entry.id)) return
      entries.unshift(structuredClone(entry))
      entries.splice(entriesMax)
      snapshots.set(entry.node, structuredClone(snapshot))
      if (order === undefined) return
      said = structuredClone(order)
      for (const listener of listeners) queueMicrotask(listener)
    },
    order: async () => structuredClone(said),
    snapshot: async (node) => structuredClone(snapshots.get(node)),
    async history({ after, limit }) {
      const place = after === undefined ? -1 : entries.findIndex(({ id }) => id === after)
      if (after !== undefined && place < 0) return []
      return structuredClone(entries.slice(place + 1, place + 1 + Math.max(0, limit)))
    },
    async watch(listener) {
      // Each its own, though the same function be given twice.
      const own = () => listener()
      listeners.add(own)
      return async () => {
        listeners.delete(own)
      }
    },
  }
}

/** Memory has no settings, and answers at once. */
export function memoryInspection(): Inspection {
  return { settings: async () => [], latencyMs: async () => 0 }
}
