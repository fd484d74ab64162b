/** Escalations: contract section 8. */
import { Hono } from 'hono'
import {
  acknowledgeEscalation,
  type EscalationListOptions,
  listEscalations,
} from '../../actors/escalation-list.ts'
import { escalationsQuery, readJson, readQuery, reasonBody } from './questions.ts'

/** Asked for at each request: the port is made anew when Redis was opened anew. */
export type EscalationRoutesOptions = () => EscalationListOptions

export function escalationRoutes(options: EscalationRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/escalations', async ({ req }) => {
    const { all } = readQuery(escalationsQuery, req.raw)
    return Response.json({ items: await listEscalations(options(), { all: all === '1' }) })
  })
  app.post('/v1/escalations/:metric/ack', async ({ req }) => {
    const { reason } = await readJson(reasonBody, req.raw)
    return Response.json(await acknowledgeEscalation(options(), req.param('metric'), reason))
  })
  return app
}
