/** The outer edge of a node: its routes, its port, and the file that says where it listens. */
import type { Tell } from '../actors/dead-letters.ts'
import { service } from '../actors/service.ts'
import type { ChildSpec } from '../actors/supervisor.ts'
import type { AssemblyOptions } from './assembly.ts'
import { systemClock } from './clock.ts'
import { type AppOptions, httpApp } from './http/app.ts'
import { RunFeed } from './http/feed.ts'
import { AddressRate } from './http/rate.ts'
import { type HttpServer, httpServer } from './http/server.ts'
import { Sessions } from './http/sessions.ts'
import { sockets } from './http/sockets.ts'
import { removeNodeFile, writeNodeFile } from './node-file.ts'

/** Wrong tokens from one address. */
const guessing = { perSecond: 1, burst: 20 }

export interface EdgeOptions {
  node: AssemblyOptions
  tell: Tell
  routes(feed: RunFeed): Omit<AppOptions, 'access'>
  /** Its routes can be asked, on no port yet. */
  opened(app: ReturnType<typeof httpApp>): Promise<void>
  listening(server: HttpServer): void
  closed(): Promise<void>
}

export function edge(options: EdgeOptions): ChildSpec {
  const { id, config, dataDir, listen, world, tokens, say, telemetry } = options.node
  const now = () => systemClock.monotonic()
  const access = {
    tokens,
    sessions: new Sessions(now),
    guesses: new AddressRate({ ...guessing, now }),
  }
  let feed: RunFeed | undefined
  let server: HttpServer | undefined
  return service({
    tell: options.tell,
    open: async () => {
      feed = new RunFeed(world.ports.accounting, systemClock)
      await feed.open()
      const app = httpApp({ ...options.routes(feed), access })
      await options.opened(app)
      if (!listen) return
      server = httpServer({
        ...access,
        config: config.http,
        handle: (request, bun) => telemetry.request(() => app.fetch(request, bun)),
        websocket: sockets,
      })
      options.listening(server)
      const { url } = server
      try {
        writeNodeFile(dataDir, { id, pid: process.pid, url, startedAt: systemClock.now() })
      } catch (error) {
        await server.stop()
        throw error
      }
      say(`node ${id} listens on ${url}, data in ${dataDir}, Redis at ${world.address}`)
      say(`console: ${url}/`)
    },
    close: async () => {
      if (listen) removeNodeFile(dataDir, id)
      await options.closed()
      await feed?.close()
      await server?.stop()
    },
  })
}
