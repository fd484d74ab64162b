/** Nodes in the tests' own process, each on a port of its own. */
import { expect } from 'bun:test'
import type { Run } from '../../actors/ports-runs.ts'
import { type CreateNodeOptions, createNode } from '../../runtime/index.ts'
import type { MusterNode } from '../../runtime/node.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

export interface StartedNode {
  node: MusterNode
  url: string
  /** Asks the node over its port; by GET, if nothing else is said. */
  ask(path: string, init?: RequestInit): Promise<Response>
  /** Submits lines of NDJSON. */
  submit(
    lines: string | ReadableStream<Uint8Array>,
    headers?: Record<string, string>,
  ): Promise<Response>
  /** Submits lines and waits for their end. */
  run(lines: string, headers?: Record<string, string>): Promise<Run>
  get(run: string): Promise<Run>
}

export const ndjson = 'application/x-ndjson'

/** Logs nothing: what goes wrong is a test's business. */
export async function startNode(options: CreateNodeOptions = {}): Promise<StartedNode> {
  const node = await createNode({
    dataDir: temporaryDirectory(),
    http: { port: 0 },
    log: { level: 'error' },
    ...options,
  })
  await node.start()
  const url = node.url ?? ''
  const ask: StartedNode['ask'] = (path, init) => fetch(url + path, init)
  const submit: StartedNode['submit'] = (body, headers) =>
    ask('/v1/runs', { method: 'POST', body, headers: { 'content-type': ndjson, ...headers } })
  const get = async (run: string) => (await (await ask(`/v1/runs/${run}`)).json()) as Run
  return {
    node,
    url,
    ask,
    submit,
    get,
    async run(lines, headers) {
      const { run } = (await (await submit(lines, headers)).json()) as { run: string }
      // The events end with the run.
      await (await ask(`/v1/runs/${run}/events`)).text()
      return get(run)
    },
  }
}

/** A body whose pieces are given one by one. */
export function openBody(): {
  body: ReadableStream<Uint8Array>
  give(text: string): void
  end(): void
} {
  let give: (text: string) => void = () => {}
  let end: () => void = () => {}
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      give = (text) => controller.enqueue(new TextEncoder().encode(text))
      end = () => controller.close()
    },
  })
  return { body, give: (text) => give(text), end: () => end() }
}

export const noops = (count: number) => '{"kind":"noop"}\n'.repeat(count)

export interface Answer {
  run: string
  accepted: number
  rejectedCount: number
  rejected: { line: number; path: string; message: string }[]
  resumed?: boolean
}

export const answerOf = async (response: Response) => (await response.json()) as Answer

export const sleepLine = (ms: number) => `{"kind":"sleep","input":{"ms":${ms}}}\n`

/** The nodes that must behave alike. */
export const worlds: [string, () => Promise<{ node: StartedNode; redis?: RedisServer }>][] = [
  ['in memory', async () => ({ node: await startNode({ ephemeral: true }) })],
  [
    'on Redis',
    async () => {
      const redis = await startRedis()
      return { redis, node: await startNode({ redis: { url: redis.url } }) }
    },
  ],
]

export interface Problem {
  type: string
  title: string
  status: number
  detail: string
  code: string
}

export async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const problem = (await response.json()) as Problem
  expect(problem.status).toBe(response.status)
  expect([problem.type, problem.title, problem.detail].map((text) => typeof text)).toEqual([
    'string',
    'string',
    'string',
  ])
  return problem
}
