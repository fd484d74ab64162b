/** All routes of a node. */
import { Hono } from 'hono'
import { problem, problemOf } from './problem.ts'
import { type RunRoutesOptions, runRoutes } from './runs.ts'

export interface AppOptions extends RunRoutesOptions {
  /** Why the node is not ready; empty when it is. */
  unready(): string[]
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
  app.route('/', runRoutes(options))
  app.notFound((context) =>
    problem(404, 'NO_ROUTE', `there is nothing at ${context.req.method} ${context.req.path}`),
  )
  app.onError((error) => {
    const response = problemOf(error)
    if (response.status === 500) options.log.error({ error: error.stack }, 'a request failed')
    return response
  })
  return app
}
