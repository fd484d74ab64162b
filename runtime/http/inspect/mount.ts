/** Live statecharts at `/inspect`; what they consist of is loaded when somebody first looks. */
import { Hono } from 'hono'
import type { AnyActorRef } from 'xstate'
import type { Clock } from '../../../actors/ports.ts'
import type { NodeRoutesOptions } from '../nodes.ts'

interface Inspected {
  /** The supervisor of all, once there is one. */
  root(): AnyActorRef | undefined
  /** Whether the actors may be shown to Stately's own inspector, which is of another origin. */
  bridge: boolean
}

export interface InspectOptions {
  inspect?: Inspected | undefined
  nodes: Pick<NodeRoutesOptions, 'id' | 'list'>
  clock: Clock
}

export function inspectAt(options: InspectOptions): Hono {
  let loading: Promise<Hono> | undefined
  const load = () => {
    loading ??= import('./routes.ts').then(({ inspectRoutes }) => inspectRoutes(options))
    return loading
  }
  const app = new Hono()
  for (const path of ['/inspect', '/inspect/*']) {
    app.get(path, async ({ req, env }) => (await load()).fetch(req.raw, env))
  }
  return app
}
