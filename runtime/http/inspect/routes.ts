/** The page of the statecharts, what it asks for, and the WebSocket on which actors are watched. */
import { Hono } from 'hono'
import type { Detail } from '../../../actors/inspection.ts'
import { InspectionHub, type Viewer } from '../../../actors/inspection-hub.ts'
import { pageRoutes } from '../pages/assets.ts'
import { problem } from '../problem.ts'
import { canUpgrade, type Socket, type SocketLife } from '../sockets.ts'
import type { InspectOptions } from './mount.ts'

/** At a time; each costs what it is told. */
const viewersMax = 32
/** The only page to which the bridge hands anything. */
const statelyOrigin = 'https://stately.ai'
/** WebSocket: try again later. */
const tryAgainLater = 1013

const file = (path: string) => new URL(path, import.meta.url)

export function inspectRoutes({ inspect, nodes, clock }: InspectOptions): Hono {
  const root = () => inspect?.root()
  const hub = new InspectionHub({ root, name: nodes.id, clock })
  const bridge = inspect?.bridge === true
  const app = new Hono()
  app.onError((error) => {
    throw error
  })

  app.get('/inspect/ws', ({ req, env }) => {
    if (req.header('upgrade')?.toLowerCase() !== 'websocket' || !canUpgrade(env)) {
      const detail = 'expected a WebSocket handshake; the page that makes one is at /inspect'
      return problem(426, 'WEBSOCKET', detail, { upgrade: 'websocket' })
    }
    if (hub.viewers >= viewersMax) {
      const detail = `${viewersMax} viewers watch already; close one of their pages`
      return problem(503, 'BUSY', detail, { 'retry-after': '10' })
    }
    const detail = req.query('detail') === 'page' ? 'page' : 'full'
    if (env.upgrade(req.raw, { data: watching(hub, detail) })) return new Response(null)
    return problem(400, 'WEBSOCKET', 'the WebSocket handshake is broken')
  })

  app.get('/inspect/nodes', async () => {
    const items = (await nodes.list())
      .filter(({ state }) => state !== 'dead')
      .map((member) => ({ id: member.id, state: member.state, url: member.url }))
    return Response.json({ node: nodes.id, bridge, items })
  })

  app.get('/inspect/charts/:file{[A-Za-z]+[.]svg}', async ({ req }) => {
    const chart = Bun.file(file(`./charts/${req.param('file')}`))
    if (!(await chart.exists())) return problem(404, 'NO_CHART', 'there is no such machine')
    return new Response(await chart.text(), {
      headers: {
        'content-type': 'image/svg+xml',
        'content-security-policy': "default-src 'none'",
        'cache-control': 'no-cache',
      },
    })
  })

  app.route(
    '/',
    pageRoutes({
      path: '/inspect',
      name: 'inspect',
      html: file('./page/index.html'),
      script: file('./page/main.ts'),
      styles: [file('./page/inspect.css')],
    }),
  )
  if (!bridge) {
    app.get('/inspect/stately', () => {
      const detail = 'state would leave this origin; set http.statelyBridge = "on" to allow it'
      return problem(404, 'NO_BRIDGE', detail)
    })
    return app
  }
  return app.route(
    '/',
    pageRoutes({
      path: '/inspect/stately',
      name: 'inspect/stately',
      html: file('./page/stately.html'),
      script: file('./page/stately.ts'),
      styles: [file('./page/inspect.css')],
      policy: { 'frame-src': statelyOrigin },
    }),
  )
}

function watching(hub: InspectionHub, detail: Detail): SocketLife {
  let viewer: Viewer | undefined
  return {
    opened(socket: Socket) {
      viewer = hub.add(
        {
          write: (frame) => socket.sendText(frame),
          buffered: () => socket.getBufferedAmount(),
          close: (reason) => socket.close(tryAgainLater, reason),
        },
        detail,
      )
    },
    heard: (text) => viewer?.select(/^select (x:\d+)?$/.exec(text)?.[1]),
    drained: () => viewer?.drained(),
    closed: () => viewer?.leave(),
  }
}
