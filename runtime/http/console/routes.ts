/** The console: its page, and the stream of events that keeps the page up to date. */
import { Hono } from 'hono'
import { version } from '../../version.ts'
import { roleOf } from '../access.ts'
import { pageRoutes } from '../pages/assets.ts'
import { problem, problemOf } from '../problem.ts'
import { ConsoleFeed } from './feed.ts'
import type { ConsoleOptions } from './mount.ts'

const file = (path: string) => new URL(path, import.meta.url)

export function consoleRoutes(options: ConsoleOptions): Hono {
  const { nodes, deadLetters, system, escalations, telemetry, feed } = options
  const console = new ConsoleFeed({
    ...options,
    node: nodes.id,
    version: version(),
    nodes: () => nodes.list(),
    letters: () => deadLetters.redriving().letters,
    system: system?.system,
    health: () => system?.health?.(),
    escalations,
    counted: telemetry,
    closed: feed.closed,
  })
  const app = new Hono()
  app.onError((error) => problemOf(error))
  app.notFound(({ req }) => problem(404, 'NO_ROUTE', `there is nothing at ${req.path}`))
  app.get('/console/events', async (context) => {
    const { raw } = context.req
    const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }
    if (raw.method === 'HEAD') return new Response(null, { headers })
    const body = await console.open(roleOf(raw) === 'write', raw.signal)
    return new Response(body, { headers })
  })
  app.route(
    '/',
    pageRoutes({
      path: '/',
      name: 'console',
      html: file('./page/index.html'),
      script: file('./page/main.ts'),
      styles: [file('./page/console.css')],
    }),
  )
  return app
}
