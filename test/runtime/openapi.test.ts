import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { z } from 'zod'
import { operations } from '../../runtime/http/operations.ts'
import { memoryWorld } from '../actors/world.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { bareApp, everything } from './bare-app.ts'
import { ndjson, type StartedNode, startNode } from './started-node.ts'

type Json = Record<string, unknown>

interface Document {
  openapi: string
  components: { schemas: Record<string, Json> }
  paths: Record<string, Record<string, { responses: Record<string, { content?: Json }> }>>
}

let redis: RedisServer
let node: StartedNode
let document: Document
let run: string
beforeAll(async () => {
  redis = await startRedis()
  node = await startNode({ redis: { url: redis.url } })
  document = (await (await node.ask('/openapi.json')).json()) as Document
  const lines = '{"kind":"noop","id":"a"}\n{"kind":"fail","attempts":2}\n{"kind":"nop"}\n'
  run = (await node.run(lines)).id
})
afterAll(async () => {
  await node.node.stop()
  await redis.stop()
})

/** Pages have addresses of their own, and files beside them. */
const pages = /^\/(\*|$|board|inspect|console|charts|assets|pages)/

test('it is an OpenAPI 3.1 document', () => {
  expect(document.openapi).toBe('3.1.0')
  const refs = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)]
  expect(refs.length).toBeGreaterThan(30)
  for (const [, name = ''] of refs) expect(Object.keys(document.components.schemas)).toContain(name)
  const ids = operations.map(({ method, path }) => `${method} ${path}`)
  expect(new Set(ids).size).toBe(ids.length)
})

test('every route is in the document, and the other way round', () => {
  const app = bareApp(memoryWorld(), { list: () => [] }, everything())
  const mounted = app.routes
    .filter(({ method, path }) => method !== 'ALL' && !pages.test(path))
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)
  const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  expect([...new Set(mounted)].toSorted()).toEqual(documented.toSorted())
})

/** The schema of an answer, in which nothing may be that is not said. */
function schemaOf(path: string, method: string, status: number, type: string): z.ZodType {
  const response = document.paths[path]?.[method]?.responses[status]
  const content = response?.content?.[type] as { schema: Json } | undefined
  if (content === undefined) throw new Error(`${method} ${path}: no ${status} ${type}`)
  const text = JSON.stringify({ ...content.schema, $defs: document.components.schemas })
  const closed: unknown = JSON.parse(
    text.replaceAll('#/components/schemas/', '#/$defs/'),
    (_key, value: unknown) =>
      isObjectSchema(value) ? { additionalProperties: false, ...value } : value,
  )
  return z.fromJSONSchema(closed as Parameters<typeof z.fromJSONSchema>[0])
}

function isObjectSchema(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && 'type' in value && 'properties' in value
}

async function expectDocumented(
  response: Response,
  path: string,
  method = 'get',
  type = 'application/json',
): Promise<void> {
  const schema = schemaOf(path, method, response.status, type)
  const text = await response.text()
  const values = type === ndjson ? text.trim().split('\n') : [text]
  for (const value of values) {
    const parsed = schema.safeParse(JSON.parse(value))
    expect(parsed.success ? '' : `${method} ${path}: ${parsed.error.message}`).toBe('')
  }
}

describe('what a node answers is as documented', () => {
  test.each([
    '/v1/runs',
    '/v1/nodes',
    '/v1/tree',
    '/v1/leases',
    '/v1/system',
    '/v1/system/history',
    '/v1/audit',
    '/v1/escalations?all=1',
    '/v1/deadletters',
    '/healthz',
    '/readyz',
  ])('at %s', async (path) => {
    await expectDocumented(await node.ask(path), path.split('?')[0] ?? '')
  })

  test('of a run and its tasks', async () => {
    await expectDocumented(await node.ask(`/v1/runs/${run}`), '/v1/runs/{id}')
    const path = '/v1/runs/{id}/tasks/{seq}'
    for (const seq of [0, 1])
      await expectDocumented(await node.ask(`/v1/runs/${run}/tasks/${seq}`), path)
    const results = '/v1/runs/{id}/results'
    await expectDocumented(await node.ask(`/v1/runs/${run}/results`), results)
    const lines = await node.ask(`/v1/runs/${run}/results`, { headers: { accept: ndjson } })
    await expectDocumented(lines, results, 'get', ndjson)
  })

  test('to what is submitted, tried again and set', async () => {
    await expectDocumented(await node.submit('{"kind":"noop"}\nx\n'), '/v1/runs', 'post')
    const post = (path: string, body: object) =>
      node.ask(path, { method: 'POST', body: JSON.stringify(body) })
    const again = await post(`/v1/runs/${run}/retry`, { reason: 'why not' })
    expect(again.status).toBe(202)
    await expectDocumented(again, '/v1/runs/{id}/retry', 'post')
    const system = await post('/v1/system', { state: 'DEGRADED', reason: 'a test' })
    await expectDocumented(system, '/v1/system', 'post')
    await expectDocumented(await node.ask('/v1/system/history'), '/v1/system/history')
  })

  test('when it refuses', async () => {
    const type = 'application/problem+json'
    const wrong = await node.ask('/v1/runs?limit=many')
    await expectDocumented(wrong, '/v1/runs', 'get', type)
    await expectDocumented(await node.ask('/v1/runs/r-00000000'), '/v1/runs/{id}', 'get', type)
    const media = await node.ask('/v1/runs', { method: 'POST', body: 'x' })
    expect(media.status).toBe(415)
    await expectDocumented(media, '/v1/runs', 'post', type)
  })
})
