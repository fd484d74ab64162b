/** The outer edge of a node: its routes, its port, and the file that says where it listens. */
import type { Tell } from '../actors/dead-letters.ts'
import { service } from '../actors/service.ts'
import type { ChildSpec } from '../actors/supervisor.ts'
import type { AssemblyOptions } from './assembly.ts'
import { systemClock } from './clock.ts'
import { type AppOptions, httpApp } from './http/app.ts'
import { RunFeed } from './http/feed.ts'
import { type HttpServer, httpServer } from './http/server.ts'
import { removeNodeFile, writeNodeFile } from './node-file.ts'

export interface EdgeOptions {
  node: AssemblyOptions
  tell: Tell
  routes(feed: RunFeed): AppOptions
  /** Its routes can be asked, on no port yet. */
  opened(app: ReturnType<typeof httpApp>): Promise<void>
  listening(server: HttpServer): void
  closed(): Promise<void>
}

export function edge(options: EdgeOptions): ChildSpec {
  const { id, config, dataDir, listen, world, token, say, telemetry } = options.node
  let feed: RunFeed | undefined
  let server: HttpServer | undefined
  return service({
    tell: options.tell,
    open: async () => {
      feed = new RunFeed(world.ports.accounting, systemClock)
      await feed.open()
      const app = httpApp(options.routes(feed))
      await options.opened(app)
      if (!listen) return
      const { host, port } = config.http
      server = httpServer({
        host,
        port,
        ...(token === undefined ? {} : { token }),
        handle: (request) => telemetry.request(() => app.fetch(request)),
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
    },
    close: async () => {
      if (listen) removeNodeFile(dataDir, id)
      await options.closed()
      await feed?.close()
      await server?.stop()
    },
  })
}
