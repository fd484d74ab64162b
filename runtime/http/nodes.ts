/** `GET /v1/nodes`: who is there. */
import { Hono } from 'hono'
import { nodeLineOf } from '../../actors/membership.ts'
import type { MemberRecord } from '../../actors/ports-fleet.ts'

export interface NodeRoutesOptions {
  /** Everybody who is registered, the dead of the last hour among them. */
  list(): Promise<MemberRecord[]>
}

export function nodeRoutes({ list }: NodeRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/nodes', async () => Response.json({ items: (await list()).map(nodeLineOf) }))
  return app
}
