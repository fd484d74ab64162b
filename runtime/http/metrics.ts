/** `GET /metrics`: what the node counts, as Prometheus reads it. */
import { Hono } from 'hono'

export interface MetricsRoutesOptions {
  /** The exposition text, as of now. */
  text(): Promise<string>
}

export function metricsRoutes({ text }: MetricsRoutesOptions): Hono {
  const app = new Hono()
  app.get('/metrics', async () => {
    const headers = { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }
    return new Response(await text(), { headers })
  })
  return app
}
