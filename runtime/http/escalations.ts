/** Escalations: contract section 8. */
import { Hono } from 'hono'
import { UsageError } from '../../actors/errors.ts'
import {
  acknowledgeEscalation,
  type EscalationListOptions,
  listEscalations,
} from '../../actors/escalation-list.ts'
import { readReason } from './reason.ts'

/** Asked for at each request: the port is made anew when Redis was opened anew. */
export type EscalationRoutesOptions = () => EscalationListOptions

export function escalationRoutes(options: EscalationRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/escalations', async ({ req }) => {
    const all = req.query('all')
    if (all !== undefined && all !== '1' && all !== '0') {
      throw new UsageError(`all: expected 1 or 0, got ${JSON.stringify(all)}`)
    }
    return Response.json({ items: await listEscalations(options(), { all: all === '1' }) })
  })
  app.post('/v1/escalations/:metric/ack', async ({ req }) => {
    const reason = await readReason(req.raw)
    return Response.json(await acknowledgeEscalation(options(), req.param('metric'), reason))
  })
  return app
}
