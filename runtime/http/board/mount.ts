/** The queue board at `/board`; the library is loaded when somebody first looks. */
import { Hono } from 'hono'
import type { BoardQueues } from './board.ts'

export interface BoardOptions {
  /**
   * The queues behind the mailboxes; undefined where mailboxes are none of BullMQ.
   * @throws UnavailableError while Redis is away
   */
  queues(): BoardQueues | undefined
}

/** @param options none: there are no queues to show */
export function boardAt(options: BoardOptions = { queues: () => undefined }): Hono {
  let loading: Promise<Hono> | undefined
  const load = () => {
    loading ??= import('./board.ts').then(({ boardRoutes }) => boardRoutes(options))
    return loading
  }
  const app = new Hono()
  for (const path of ['/board', '/board/*']) {
    app.all(path, async ({ req }) => (await load()).fetch(req.raw))
  }
  return app
}
