/** All routes of a node. */
import { Hono } from 'hono'
import { describeError } from '../../actors/errors.ts'
import type { TreeNode } from '../../actors/tree.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { auditRoutes } from './audit.ts'
import { type BoardOptions, boardAt } from './board/mount.ts'
import { consoleAt } from './console/mount.ts'
import { type EscalationRoutesOptions, escalationRoutes } from './escalations.ts'
import { inTime } from './in-time.ts'
import { type InspectOptions, inspectAt } from './inspect/mount.ts'
import { type LeaseRoutesOptions, leaseRoutes } from './leases.ts'
import { type LetterRoutesOptions, letterRoutes } from './letters.ts'
import { type LoginRoutesOptions, loginRoutes } from './login.ts'
import { type MetricsRoutesOptions, metricsRoutes } from './metrics.ts'
import { type NodeRoutesOptions, nodeRoutes } from './nodes.ts'
import { openApiRoutes } from './openapi.ts'
import { problem, problemOf } from './problem.ts'
import { type RunRoutesOptions, runRoutes } from './runs.ts'
import { type SystemRoutesOptions, systemRoutes } from './system.ts'

export interface AppOptions extends RunRoutesOptions {
  /** Why what is in Redis cannot be had now. */
  away?(): string | undefined
  /** Why the node is not ready; empty when it is. */
  unready(): string[]
  tree(): TreeNode
  access?: LoginRoutesOptions
  inspect?: InspectOptions['inspect']
  board?: BoardOptions
  deadLetters: LetterRoutesOptions
  nodes: NodeRoutesOptions
  leases: LeaseRoutesOptions
  escalations?: EscalationRoutesOptions
  system?: SystemRoutesOptions
  metrics?: MetricsRoutesOptions
  telemetry?: Pick<Telemetry, 'tally' | 'lag' | 'vitals'>
}

export function httpApp(options: AppOptions): Hono {
  const app = new Hono()
  app.get('/healthz', () => Response.json({ status: 'ok' }))
  app.get('/readyz', () => {
    const reasons = options.unready()
    return Response.json(
      { status: reasons.length === 0 ? 'ready' : 'not ready', reasons },
      { status: reasons.length === 0 ? 200 : 503 },
    )
  })
  if (options.away !== undefined) app.use('/v1/*', inTime(options.away))
  app.get('/v1/tree', () => Response.json(options.tree()))
  if (options.access !== undefined) app.route('/', loginRoutes(options.access))
  app.route('/', runRoutes(options))
  app.route('/', nodeRoutes(options.nodes))
  app.route('/', leaseRoutes(options.leases))
  app.route('/', letterRoutes({ ...options.deadLetters, kinds: options.kinds }))
  if (options.metrics !== undefined) app.route('/', metricsRoutes(options.metrics))
  if (options.escalations !== undefined) app.route('/', escalationRoutes(options.escalations))
  if (options.system !== undefined) app.route('/', systemRoutes(options.system))
  const { telemetry, tree } = options
  if (telemetry !== undefined) app.route('/', auditRoutes({ vitals: telemetry.vitals, tree }))
  app.route('/', openApiRoutes())
  app.route('/', consoleAt(options))
  app.route('/', inspectAt(options))
  app.route('/', boardAt(options.board))
  app.notFound(({ req: { method, path } }) => {
    const allowed = ['GET', 'POST'].filter((other) =>
      // What is for all methods looks on, and answers none.
      app.router.match(other, path)[0].some(([[, route]]) => route.method !== 'ALL'),
    )
    if (allowed.length === 0) return problem(404, 'NO_ROUTE', `there is nothing at ${path}`)
    const headers = { allow: [...allowed, 'OPTIONS'].join(', ') }
    if (method === 'OPTIONS') return new Response(null, { status: 204, headers })
    const detail = `expected ${allowed.join(' or ')} at ${path}, got ${method}`
    return problem(405, 'METHOD', detail, headers)
  })
  app.onError((error) => {
    const response = problemOf(error)
    // Whoever has gone in the middle of a request hears no answer, and is no news.
    if (response.status === 500 && error.name !== 'AbortError') {
      const fields = { ...describeError(error), stack: error.stack }
      options.log.error(fields, 'a request failed')
    }
    return response
  })
  return app
}
