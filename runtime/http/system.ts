/** How the system is, how it came to that, and how to change it: contract section 8. */
import { Hono } from 'hono'
import type { HealthView } from '../../actors/health.ts'
import type { SystemEntry, SystemHistoryQuery } from '../../actors/ports-system.ts'
import type { System } from '../../actors/system.ts'
import type { SystemView } from '../../actors/system-record.ts'
import { pageQuery, readJson, readQuery, systemBody } from './questions.ts'

export interface SystemRoutesOptions {
  system: Pick<System, 'view' | 'ask'>
  history(query: SystemHistoryQuery): Promise<SystemEntry[]>
  /** Undefined where nobody watches it. */
  health?(): HealthView | undefined
}

/** What `GET /v1/system` answers. */
export type SystemReport = SystemView & { health?: HealthView }

const pageDefault = 50

export function systemRoutes({ system, history, health }: SystemRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/system', () => {
    const now = health?.()
    const report: SystemReport = { ...system.view, ...(now === undefined ? {} : { health: now }) }
    return Response.json(report)
  })
  app.post('/v1/system', async ({ req }) => {
    const { state, reason, actor = 'operator' } = await readJson(systemBody, req.raw)
    // One that is missing is refused where the state is changed.
    return Response.json(await system.ask({ to: state, reason: reason ?? '', actor }))
  })
  app.get('/v1/system/history', async ({ req }) => {
    const { limit = pageDefault, after } = readQuery(pageQuery, req.raw)
    const items = await history({ limit, ...(after === undefined ? {} : { after }) })
    const next = items.length === limit ? items.at(-1)?.id : undefined
    return Response.json({ items, ...(next === undefined ? {} : { next }) })
  })
  return app
}
