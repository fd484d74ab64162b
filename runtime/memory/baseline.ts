/** The baseline store in memory: what is usual is known as long as the process lives. */
import type { BaselineStore } from '../../actors/ports-health.ts'

export function memoryBaseline(): BaselineStore {
  let text: string | undefined
  return {
    load: async () => {
      const kept: unknown = text === undefined ? undefined : JSON.parse(text)
      return kept
    },
    save: async (kept) => {
      text = JSON.stringify(kept)
    },
  }
}
