import { afterEach, describe, expect, test } from 'bun:test'
import {
  ConflictError,
  MusterError,
  NotAcceptingError,
  NotFoundError,
  TokenError,
  UnavailableError,
  UsageError,
} from '../../actors/errors.ts'
import type { Run } from '../../actors/ports-runs.ts'
import { noCounts } from '../../machines/outcome.ts'
import { connect } from '../../runtime/client.ts'
import { eventually } from '../kit/eventually.ts'

type Handler = (request: Request, path: string) => Response | Promise<Response>

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

/** A node as far as its HTTP goes. */
function serve(handler: Handler): string {
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    idleTimeout: 0,
    fetch: (request) => {
      const { pathname, search } = new URL(request.url)
      if (pathname === '/healthz') return new Response('ok')
      return handler(request, pathname + search)
    },
  })
  stops.push(() => server.stop(true))
  return `http://127.0.0.1:${server.port}`
}

function run(done: number, state: Run['state'] = 'running'): Run {
  const counts = { ...noCounts(), ok: done, pending: 3 - done }
  return { id: 'r-1', state, total: 3, counts, rejectedCount: 0, rejected: [], createdAt: 0 }
}

const accepted = { run: 'r-1', accepted: 3, rejectedCount: 0, rejected: [] }

function problem(status: number, body: Record<string, unknown> = {}, headers = {}): Response {
  return new Response(JSON.stringify({ type: 'about:blank', title: 'No', status, ...body }), {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  })
}

function streamOf(...parts: string[]): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(encoder.encode(part))
      controller.close()
    },
  })
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

/** What it failed with; undefined when it did not. */
function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  )
}

describe('submit', () => {
  test('task objects arrive as NDJSON with content, reason and key in the headers', async () => {
    const seen: Record<string, string | null> = {}
    let body = ''
    const url = serve(async (request) => {
      for (const name of ['content-type', 'muster-content', 'muster-reason', 'idempotency-key']) {
        seen[name] = request.headers.get(name)
      }
      body = await request.text()
      return Response.json(accepted, { status: 202, headers: { location: '/v1/runs/r-1' } })
    })
    const muster = await connect({ url })
    const handle = await muster.submit([{ kind: 'noop' }, { kind: 'sleep', input: { ms: 1 } }], {
      content: 'abc',
      reason: 'Prüfung',
      idempotencyKey: 'k',
    })
    expect(body).toBe('{"kind":"noop"}\n{"kind":"sleep","input":{"ms":1}}\n')
    expect(seen).toEqual({
      'content-type': 'application/x-ndjson',
      'muster-content': 'abc',
      'muster-reason': 'Pr%C3%BCfung',
      'idempotency-key': 'k',
    })
    expect(handle).toMatchObject({ id: 'r-1', accepted: 3, resumed: false })
  })

  test('the source is read no faster than the node reads', async () => {
    const total = 64 * 1024 * 1024
    const piece = new Uint8Array(64 * 1024).fill(10)
    let given = 0
    const read = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    const url = serve(async (request) => {
      let size = 0
      for await (const chunk of request.body ?? []) {
        if (size === 0) {
          read.resolve()
          await goOn.promise
        }
        size += chunk.length
      }
      return Response.json({ ...accepted, accepted: size })
    })
    const source = (async function* () {
      for (; given < total; given += piece.length) yield piece
    })()
    const muster = await connect({ url })
    const submission = muster.submit(source)
    await read.promise
    // The socket's buffers fill up, and then the source must stand still.
    let before = -1
    const stands = () => {
      const last = before
      before = given
      expect(given).toBe(last)
    }
    await eventually(stands, { intervalMs: 100 })
    expect(given).toBeLessThan(total / 2)
    goOn.resolve()
    expect((await submission).accepted).toBe(total)
  })

  test('the failure of the source is the failure of the submission', async () => {
    const url = serve(async (request) => {
      await request.text()
      return Response.json(accepted)
    })
    const muster = await connect({ url })
    const source = (async function* () {
      yield { kind: 'noop' }
      throw new RangeError('the disk is gone')
    })()
    expect(await failureOf(muster.submit(source))).toHaveProperty(
      'message',
      expect.stringContaining('the disk is gone'),
    )
  })

  test('an abort ends a submission that waits for its source', async () => {
    const url = serve(async (request) => {
      await request.text()
      return Response.json(accepted)
    })
    const controller = new AbortController()
    const sent = Promise.withResolvers<void>()
    const muster = await connect({ url })
    const source = (async function* () {
      yield { kind: 'noop' }
      await new Promise(() => {})
    })()
    const options = { signal: controller.signal, onSent: () => sent.resolve() }
    const submission = muster.submit(source, options)
    await sent.promise
    controller.abort(new Error('enough'))
    expect(await failureOf(submission)).toHaveProperty('message', expect.stringContaining('enough'))
  })

  test('the name of a run is known before the last task is sent', async () => {
    const url = serve((request) => {
      const body = new ReadableStream<Uint8Array>({
        async start(controller) {
          controller.enqueue(new TextEncoder().encode(' '))
          await request.text()
          controller.enqueue(new TextEncoder().encode(JSON.stringify(accepted)))
          controller.close()
        },
      })
      return new Response(body, { status: 202, headers: { location: '/v1/runs/r-1' } })
    })
    const opened = Promise.withResolvers<string>()
    const muster = await connect({ url })
    const source = (async function* () {
      yield { kind: 'noop' }
      await opened.promise
      yield { kind: 'noop' }
    })()
    const handle = await muster.submit(source, { onOpen: opened.resolve })
    expect([await opened.promise, handle.accepted]).toEqual(['r-1', 3])
  })

  test('check asks for a dry run', async () => {
    const url = serve(async (request, path) => {
      await request.text()
      return Response.json({ path, accepted: 1, rejectedCount: 0, rejected: [] })
    })
    const muster = await connect({ url })
    expect(await muster.check([{ kind: 'noop' }])).toMatchObject({ path: '/v1/runs?dryRun=1' })
  })
})

describe('errors', () => {
  test.each([
    [400, UsageError],
    [401, TokenError],
    [403, TokenError],
    [404, NotFoundError],
    [409, ConflictError],
    [413, UsageError],
    [500, MusterError],
    [502, UnavailableError],
    [503, UnavailableError],
  ])('HTTP %i is a %p with the detail in it', async (status, type) => {
    const muster = await connect({ url: serve(() => problem(status, { detail: 'because' })) })
    const error = await failureOf(muster.get('r-1'))
    expect(error).toBeInstanceOf(type)
    expect(error).toHaveProperty('message', expect.stringContaining('because'))
  })

  test.each([
    [429, {}, 'full'],
    [503, {}, 'paused'],
    [503, { code: 'NOT_ACCEPTING_DRAINING' }, 'draining'],
  ])('HTTP %i %j on submit is not accepting: %s', async (status, body, reason) => {
    const url = serve(() => problem(status, body, { 'retry-after': '7' }))
    const muster = await connect({ url })
    const error = await failureOf(muster.submit([{ kind: 'noop' }]))
    expect(error).toBeInstanceOf(NotAcceptingError)
    expect(error).toMatchObject({ reason, retryAfterMs: 7000 })
  })

  test('a URL nobody listens on is named', async () => {
    const url = 'http://127.0.0.1:1'
    expect(await failureOf(connect({ url }))).toBeInstanceOf(UnavailableError)
    expect(await failureOf(connect({ url }))).toHaveProperty(
      'message',
      expect.stringContaining(url),
    )
  })

  test('an answer that is no problem document is shown with its status', async () => {
    const url = serve(() => new Response('<h1>proxy</h1>', { status: 404 }))
    expect(await failureOf((await connect({ url })).get('r-1'))).toHaveProperty(
      'message',
      expect.stringContaining('HTTP 404 <h1>proxy</h1>'),
    )
  })

  test('the token goes along', async () => {
    const url = serve((request) => Response.json({ id: request.headers.get('authorization') }))
    const muster = await connect({ url, token: 's3cret' })
    expect(await muster.get('r-1')).toMatchObject({ id: 'Bearer s3cret' })
  })
})

describe('reading', () => {
  test('runs are paged by cursor', async () => {
    const url = serve((_request, path) =>
      path === '/v1/runs'
        ? Response.json({ items: [run(1), run(2)], next: 'c&1' })
        : Response.json({ items: path === '/v1/runs?after=c%261' ? [run(3)] : [] }),
    )
    const runs = await all((await connect({ url })).runs())
    expect(runs.map((each) => each.counts.ok)).toEqual([1, 2, 3])
  })

  test('results stream as NDJSON with the filter in the query', async () => {
    let asked: (string | null)[] = []
    const url = serve((request, path) => {
      asked = [path, request.headers.get('accept')]
      return new Response(streamOf('{"seq":0}\n{"se', 'q":1}\n'))
    })
    const muster = await connect({ url })
    const query = { outcomes: ['failed', 'dead'] as const, after: 4, limit: 10 }
    const lines = await all(muster.results('r-1', query))
    expect(lines.map((line) => line.seq)).toEqual([0, 1])
    expect(asked).toEqual([
      '/v1/runs/r-1/results?outcome=failed%2Cdead&after=4&limit=10',
      'application/x-ndjson',
    ])
  })
})

describe('events', () => {
  const event = (id: number, type: string, body: Run) =>
    `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(body)}\n\n`
  const sse = (...parts: string[]) =>
    new Response(streamOf(...parts), { headers: { 'content-type': 'text/event-stream' } })

  test('progress comes until done', async () => {
    const url = serve(() =>
      sse(': hello\n\n', event(1, 'progress', run(1)), event(2, 'done', run(3, 'completed'))),
    )
    const events = await all((await connect({ url })).events('r-1'))
    expect(events.map((each) => [each.type, each.run.counts.ok])).toEqual([
      ['progress', 1],
      ['done', 3],
    ])
  })

  test('a broken stream goes on after the last id that was seen', async () => {
    const lastIds: (string | null)[] = []
    const url = serve((request, path) => {
      if (!path.endsWith('/events')) return Response.json(run(1))
      lastIds.push(request.headers.get('last-event-id'))
      return lastIds.length === 1
        ? sse(event(7, 'progress', run(1)))
        : sse(event(8, 'done', run(3, 'completed')))
    })
    const events = await all((await connect({ url })).events('r-1'))
    expect(lastIds).toEqual([null, '7'])
    expect(events.at(-1)).toMatchObject({ type: 'done', run: { state: 'completed' } })
  })

  test('where events cannot be had, asking for the run does', async () => {
    let asked = 0
    const url = serve((_request, path) => {
      if (path.endsWith('/events')) return problem(500)
      asked += 1
      return Response.json(asked < 2 ? run(1) : run(3, 'completed'))
    })
    const muster = await connect({ url })
    const events = await all(muster.events('r-1'))
    expect(events.map((each) => each.type)).toEqual(['progress', 'done'])
  })

  test('a run that is not there is not waited for', async () => {
    const muster = await connect({ url: serve(() => problem(404)) })
    expect(await failureOf(all(muster.events('r-1')))).toBeInstanceOf(NotFoundError)
  })

  test('a node that stays away is given up', async () => {
    const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('ok') })
    const url = `http://127.0.0.1:${server.port}`
    const muster = await connect({ url, patienceMs: 300 })
    await server.stop(true)
    expect(await failureOf(all(muster.events('r-1')))).toBeInstanceOf(UnavailableError)
  })

  test('an abort ends the wait for events that do not come', async () => {
    const url = serve(() => new Response(new ReadableStream({ start() {} })))
    const controller = new AbortController()
    const muster = await connect({ url })
    const waiting = all(muster.events('r-1', { signal: controller.signal }))
    controller.abort(new Error('enough'))
    expect(await failureOf(waiting)).toHaveProperty('message', expect.stringContaining('enough'))
  })

  test('the results of a handle wait for the end of the run', async () => {
    const order: string[] = []
    const url = serve(async (request, path) => {
      order.push(path)
      if (request.method === 'POST') await request.text()
      if (path.endsWith('/events')) return sse(event(1, 'done', run(3, 'completed')))
      return path.endsWith('/results')
        ? new Response(streamOf('{"seq":0}\n'))
        : Response.json(accepted, { status: 202 })
    })
    const handle = await (await connect({ url })).submit([{ kind: 'noop' }])
    expect(await all(handle.results())).toHaveLength(1)
    expect(order).toEqual(['/v1/runs', '/v1/runs/r-1/events', '/v1/runs/r-1/results'])
  })
})
