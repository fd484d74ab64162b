/** The console at `/`; what it consists of is loaded when somebody first looks. */
import { Hono } from 'hono'
import type { AppOptions } from '../app.ts'

export type ConsoleOptions = Pick<
  AppOptions,
  | 'accounting'
  | 'nodes'
  | 'leases'
  | 'deadLetters'
  | 'escalations'
  | 'system'
  | 'unready'
  | 'telemetry'
  | 'feed'
  | 'clock'
  | 'log'
>

export function consoleAt(options: ConsoleOptions): Hono {
  let loading: Promise<Hono> | undefined
  const load = () => {
    loading ??= import('./routes.ts').then(({ consoleRoutes }) => consoleRoutes(options))
    return loading
  }
  const app = new Hono()
  for (const path of ['/', '/console/*']) {
    app.get(path, async ({ req }) => (await load()).fetch(req.raw))
  }
  return app
}
