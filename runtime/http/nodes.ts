/** Who is there, and how to have one go: contract sections 4 and 8. */
import { Hono } from 'hono'
import { NotFoundError, UnavailableError } from '../../actors/errors.ts'
import { nodeLineOf } from '../../actors/membership.ts'
import type { MemberRecord, NodeRequest } from '../../actors/ports-fleet.ts'
import type { EndpointLine } from '../../actors/prober.ts'
import { readJson, reasonBody } from './questions.ts'

export interface NodeRoutesOptions {
  /** Everybody who is registered, the dead of the last hour among them. */
  list(): Promise<MemberRecord[]>
  /** What is probed, and how it was found. */
  endpoints(): Promise<EndpointLine[]>
  /** False: it does not listen. */
  ask(record: MemberRecord, request: NodeRequest): Promise<boolean>
  /** This node, which need not ask anybody to drain. */
  id: string
  boot: string
  drain(reason: string): void
  isDraining(): boolean
}

/** What a node answers that was asked to have one drain. */
export interface DrainAnswer {
  id: string
  /** The start of it that goes. */
  boot: string
  state: 'draining'
  /** It was draining already. */
  noop?: true
}

export function nodeRoutes(options: NodeRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/nodes', async () => Response.json({ items: (await options.list()).map(nodeLineOf) }))
  app.get('/v1/endpoints', async () => Response.json({ items: await options.endpoints() }))
  app.post('/v1/nodes/:id/drain', async ({ req }) => {
    const { reason = 'no reason was given' } = await readJson(reasonBody, req.raw)
    return Response.json(await drain(options, req.param('id'), reason), { status: 202 })
  })
  return app
}

async function drain(options: NodeRoutesOptions, id: string, reason: string): Promise<DrainAnswer> {
  // Also when Redis is away.
  if (id === options.id) {
    const isDraining = options.isDraining()
    options.drain(reason)
    return answerOf(options, isDraining)
  }
  const record = (await options.list()).find((each) => each.id === id)
  if (record === undefined || record.state === 'dead') {
    const what = record === undefined ? `there is no node ${id}` : `node ${id} is dead`
    throw new NotFoundError(`${what}; \`muster nodes\` lists those there are`)
  }
  if (record.state === 'draining') return answerOf(record, true)
  if (await options.ask(record, { type: 'drain', reason })) return answerOf(record, false)
  throw new UnavailableError(
    `node ${id} does not listen now (${record.state}, pid ${record.pid} on host ${record.host}): ` +
      'try again, or end it there with SIGTERM',
  )
}

function answerOf({ id, boot }: { id: string; boot: string }, isNoop: boolean): DrainAnswer {
  return { id, boot, state: 'draining', ...(isNoop ? { noop: true } : {}) }
}
