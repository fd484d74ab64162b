/** The part of the client that is about dead letters. */
import { NotFoundError } from '../actors/errors.ts'
import type { Letter, LetterReason } from '../actors/ports-letters.ts'
import type { Redriven } from '../actors/redrive.ts'
import { type HttpClient, queryString } from './client-http.ts'
import type { LetterLine, WholeLetterLine } from './http/letters.ts'

export type { LetterLine, Redriven, WholeLetterLine }

/** All that are given must fit. */
export interface LettersQuery {
  run?: string
  kind?: string
  mailbox?: string
  /** `stopped`: those between actors of the node that is asked. */
  reason?: LetterReason | 'stopped'
  state?: Letter['state']
}

export interface DeadLetterCalls {
  /** Every one, newest first, page by page; those between actors of the node last. */
  all(query?: LettersQuery): AsyncGenerator<LetterLine>
  /**
   * One of a mailbox, with what is in it.
   * @throws NotFoundError
   */
  get(id: string): Promise<WholeLetterLine>
  /**
   * Tasks run again in a new run each of their old ones; messages go back to their mailbox. By
   * filter only what nobody has redriven yet.
   */
  redrive(
    wanted: { ids: readonly string[] } | { filter: Omit<LettersQuery, 'state'> },
    reason: string,
  ): Promise<Redriven>
}

export function deadLetterCalls(http: HttpClient): DeadLetterCalls {
  const page = async (query: Record<string, string | undefined>) =>
    http.json<{ items: LetterLine[]; next?: string }>(
      await http.call(`/v1/deadletters${queryString(query)}`, {}),
    )
  return {
    async *all(query = {}) {
      let after: string | undefined
      do {
        const { items, next } = await page({ ...query, after })
        yield* items
        after = next
      } while (after !== undefined)
    },
    async get(id) {
      const [letter] = (await page({ id })).items
      if (letter?.scope === 'mailbox') return letter
      throw new NotFoundError(
        `there is no dead letter ${id}; \`muster deadletters ls\` lists those there are`,
      )
    },
    async redrive(wanted, reason) {
      const body = new Blob([JSON.stringify({ ...wanted, reason })])
      const headers = { 'content-type': 'application/json' }
      const call = { method: 'POST', headers, body: body.stream() }
      return http.json<Redriven>(await http.call('/v1/deadletters/redrive', call))
    },
  }
}
