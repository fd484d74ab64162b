/** `GET /openapi.json`, made of the schemas that the routes check with. */
import { Hono } from 'hono'
import { z } from 'zod'
import { version } from '../version.ts'
import { schemas } from './answers.ts'
import { type Content, type Operation, operations } from './operations.ts'
import { written } from './questions.ts'
import { ndjson } from './requests.ts'

type Json = Record<string, unknown>

export function openApiRoutes(): Hono {
  const app = new Hono()
  let text: string | undefined
  app.get('/openapi.json', () => {
    text ??= JSON.stringify(openApi())
    return new Response(text, { headers: { 'content-type': 'application/json' } })
  })
  return app
}

/** The document, OpenAPI 3.1. */
function openApi(): Json {
  const paths: Record<string, Json> = {}
  for (const operation of operations) {
    paths[operation.path] ??= {}
    Object.assign(paths[operation.path] ?? {}, { [operation.method]: describe(operation) })
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Muster',
      version: version(),
      description: 'Runs work that must not get lost. Times are epoch milliseconds.',
    },
    components: {
      schemas: componentSchemas(),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        cookie: { type: 'apiKey', in: 'cookie', name: 'muster7070' },
      },
    },
    security: [{ bearer: [] }, { cookie: [] }, {}],
    paths,
  }
}

/** Each by itself; those that name themselves do so by their place in the document. */
function componentSchemas(): Json {
  const registry = z.registry<{ id: string }>()
  for (const [id, schema] of Object.entries(schemas)) registry.add(schema, { id })
  const { schemas: made } = z.toJSONSchema(registry, {
    io: 'input',
    uri: (id) => `#/components/schemas/${id}`,
    override,
  })
  return Object.fromEntries(
    Object.entries(made).map(([id, { $schema: _draft, $id: _id, ...schema }]) => [id, schema]),
  )
}

function jsonSchemaOf(schema: z.ZodType): Json {
  const { $schema: _draft, ...rest } = z.toJSONSchema(schema, { io: 'input', override })
  return rest
}

/** What is read from a text is documented as what it is read as. */
function override({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodType; jsonSchema: Json }) {
  const instead = written.get(zodSchema as z.ZodType)
  if (instead === undefined) return
  for (const key of Object.keys(jsonSchema)) delete jsonSchema[key]
  Object.assign(jsonSchema, instead)
}

function describe(operation: Operation): Json {
  const { method, path, summary, body, answers, isOpen = false } = operation
  const responses: Json = {}
  for (const [status, contents] of Object.entries(answers)) {
    responses[status] = {
      description: statusWords[status] ?? summary,
      content: contentOf(contents),
    }
  }
  for (const status of refusalsOf(operation)) {
    responses[status] ??= {
      description: 'Refused',
      content: { 'application/problem+json': { schema: refTo('Problem') } },
    }
  }
  return {
    operationId: idOf(method, path),
    summary,
    ...(isOpen ? { security: [] } : {}),
    parameters: parametersOf(operation),
    ...(body === undefined ? {} : { requestBody: bodyOf(body) }),
    responses,
  }
}

/** `get /v1/runs/{id}` is `getV1RunsId`. */
function idOf(method: string, path: string): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  return [method, ...words.map((word) => word.charAt(0).toUpperCase() + word.slice(1))].join('')
}

const statusWords: Record<string, string | undefined> = { 303: 'See other' }

/** What any request may meet, and what this one may. */
function refusalsOf({ refusals = [], query, isOpen = false, method }: Operation): number[] {
  const common = [403, 429, 500, 503, ...(isOpen ? [] : [401])]
  if (query !== undefined || method === 'post') common.push(400)
  if (method === 'post') common.push(408, 413)
  return [...new Set([...common, ...refusals])].sort((a, b) => a - b)
}

function parametersOf({ path, query, headers = {} }: Operation): Json[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: name === 'seq' ? { type: 'integer', minimum: 0 } : { type: 'string', minLength: 1 },
  }))
  const properties = query === undefined ? {} : (jsonSchemaOf(query)['properties'] as Json)
  const inQuery = Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    schema,
  }))
  const inHeaders = Object.entries(headers).map(([name, description]) => ({
    name,
    in: 'header',
    description,
    schema: { type: 'string' },
  }))
  return [...inPath, ...inQuery, ...inHeaders]
}

function bodyOf({ schema, lines, isOptional = false }: NonNullable<Operation['body']>): Json {
  return {
    required: !isOptional,
    content: {
      'application/json': { schema: jsonSchemaOf(schema) },
      ...(lines === undefined ? {} : { [ndjson]: { schema: refTo(lines) } }),
    },
  }
}

function contentOf(contents: readonly Content[]): Json {
  const byType = new Map<string, Json[]>()
  for (const content of contents) {
    const { type, schema } = mediaOf(content)
    byType.set(type, [...(byType.get(type) ?? []), schema])
  }
  return Object.fromEntries(
    [...byType].map(([type, all]) => [type, { schema: all.length > 1 ? { anyOf: all } : all[0] }]),
  )
}

function mediaOf(content: Content): { type: string; schema: Json } {
  if (typeof content === 'string') return { type: 'application/json', schema: refTo(content) }
  if ('text' in content) return { type: content.text, schema: {} }
  if ('lines' in content) return { type: ndjson, schema: refTo(content.lines) }
  return { type: 'application/json', schema: listOf(content.list) }
}

function listOf(name: string): Json {
  return {
    type: 'object',
    properties: {
      items: { type: 'array', items: refTo(name) },
      next: { type: 'string', description: 'for `after` of the next page, if there is one' },
    },
    required: ['items'],
  }
}

function refTo(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}
