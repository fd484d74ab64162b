/** The part of the client that is about the state of the system. */
import type { SystemEntry } from '../actors/ports-system.ts'
import type { SystemState } from '../machines/system-rules.ts'
import { type HttpClient, queryString } from './client-http.ts'
import type { SystemReport } from './http/system.ts'

/** What was changed; `noop`: it was in that state already. */
export type SystemAnswer = SystemReport & { noop?: true }

export interface SystemCalls {
  get(): Promise<SystemReport>
  /**
   * PAUSED, and what ends it, holds for all nodes; every other state for the node that is asked.
   * @param actor who wants it; `operator` by default
   * @throws ConflictError ILLEGAL_TRANSITION when it may not follow the present state
   */
  set(state: SystemState, reason: string, actor?: string): Promise<SystemAnswer>
  /** What the node counts and measures, as Prometheus reads it. */
  metrics(): Promise<string>
  /** Transitions of all nodes, newest first. */
  history(): AsyncGenerator<SystemEntry>
}

export function systemCalls(http: HttpClient): SystemCalls {
  return {
    get: async () => http.json(await http.call('/v1/system', {})),
    set: async (state, reason, actor) => {
      const said = JSON.stringify({ state, reason, ...(actor === undefined ? {} : { actor }) })
      const call = {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: new Blob([said]).stream(),
      }
      return http.json(await http.call('/v1/system', call))
    },
    metrics: async () => (await http.call('/metrics', { accept: 'text/plain' })).text(),
    async *history() {
      let after: string | undefined
      do {
        const path = `/v1/system/history${queryString({ after, limit: 1000 })}`
        const page: { items: SystemEntry[]; next?: string } = await http.json(
          await http.call(path, {}),
        )
        yield* page.items
        after = page.next
      } while (after !== undefined)
    },
  }
}
