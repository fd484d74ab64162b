/** Who leads what, and how to take it away: contract sections 4 and 8. */
import { Hono } from 'hono'
import { NotFoundError } from '../../actors/errors.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import { neededReasonBody, readJson } from './questions.ts'

/** Asked for at each request: the port is made anew when Redis was opened anew. */
export type LeaseRoutesOptions = () => Pick<Leases, 'list' | 'revoke'>

export function leaseRoutes(leases: LeaseRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/leases', async () => Response.json({ items: await leases().list() }))
  app.post('/v1/leases/:name/release', async ({ req }) => {
    const name = req.param('name')
    const { reason } = await readJson(neededReasonBody, req.raw)
    const record = await leases().revoke(name, reason)
    if (record !== undefined) return Response.json(record)
    throw new NotFoundError(`nobody holds a lease ${name}; \`muster lease ls\` lists those held`)
  })
  return app
}
