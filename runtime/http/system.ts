/** How the system is, how it came to that, and how to change it: contract section 8. */
import { Hono } from 'hono'
import { UsageError } from '../../actors/errors.ts'
import type { SystemEntry, SystemHistoryQuery } from '../../actors/ports-system.ts'
import type { System } from '../../actors/system.ts'
import { isSystemState, systemStates } from '../../machines/system-rules.ts'
import { describeValue } from '../rejection.ts'
import { readBody, readReason } from './reason.ts'

export interface SystemRoutesOptions {
  system: Pick<System, 'view' | 'ask'>
  history(query: SystemHistoryQuery): Promise<SystemEntry[]>
}

const pageDefault = 50
const pageMax = 1000
const actorMax = 100

export function systemRoutes({ system, history }: SystemRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/system', () => Response.json(system.view))
  app.post('/v1/system', async ({ req }) => {
    const body = await readBody(req.raw)
    const { state, actor = 'operator' } = body
    if (typeof state !== 'string' || !isSystemState(state)) {
      const expected = systemStates.join(', ')
      throw new UsageError(`state: expected one of ${expected}, got ${describeValue(state)}`)
    }
    if (typeof actor !== 'string' || actor.trim() === '' || actor.length > actorMax) {
      throw new UsageError(
        `actor: expected a text of 1 to ${actorMax} characters, got ${describeValue(actor)}`,
      )
    }
    // One that is missing is refused where the state is changed.
    const reason = (await readReason(body)) ?? ''
    return Response.json(await system.ask({ to: state, reason, actor: actor.trim() }))
  })
  app.get('/v1/system/history', async ({ req }) => {
    const limit = pageLimit(req.query('limit'))
    const after = req.query('after')
    const items = await history({ limit, ...(after === undefined ? {} : { after }) })
    const next = items.length === limit ? items.at(-1)?.id : undefined
    return Response.json({ items, ...(next === undefined ? {} : { next }) })
  })
  return app
}

function pageLimit(text: string | undefined): number {
  if (text === undefined) return pageDefault
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (limit >= 1 && limit <= pageMax) return limit
  throw new UsageError(`limit: expected 1 to ${pageMax}, got "${text}"`)
}
