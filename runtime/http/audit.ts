/** `GET /v1/audit`: how well this node's runtime is, by what it has measured of itself. */
import { Hono } from 'hono'
import { silenceOf, type TreeNode } from '../../actors/tree.ts'
import { assessHealth } from '../../machines/health.ts'
import { thresholdsIn } from '../audit/metrics-file.ts'
import { missingOf, reportOf } from '../audit/report.ts'
import { systemClock } from '../clock.ts'
import type { VitalsWindow } from '../telemetry/vitals.ts'

export interface AuditRoutesOptions {
  vitals: Pick<VitalsWindow, 'measure'>
  tree(): TreeNode
}

export function auditRoutes({ vitals, tree }: AuditRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/audit', async ({ req }) => {
    const thresholds = thresholdsIn(new URL(req.url).searchParams)
    // A block that has just ended is noted by a timer that was due before this one.
    await systemClock.wait(0)
    const health = assessHealth(vitals.measure(silenceOf(tree())), thresholds)
    return Response.json(reportOf(health, missingOf(health)))
  })
  return app
}
