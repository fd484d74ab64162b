/** `GET /v1/audit`: how well this node's runtime is, by what it has measured of itself. */
import { Hono } from 'hono'
import { assessHealth, type Measured } from '../../machines/health.ts'
import { thresholdsIn } from '../audit/metrics-file.ts'
import { missingOf, reportOf } from '../audit/report.ts'

export interface AuditRoutesOptions {
  /** As of now. */
  measure(): Promise<Measured>
}

export function auditRoutes({ measure }: AuditRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/audit', async ({ req }) => {
    const thresholds = thresholdsIn(new URL(req.url).searchParams)
    const health = assessHealth(await measure(), thresholds)
    return Response.json(reportOf(health, missingOf(health)))
  })
  return app
}
