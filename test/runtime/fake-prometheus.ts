/** What speaks like a Prometheus, or no longer does. */

export interface FakePrometheus {
  url: string
  /** Paths with their queries, as they were asked for. */
  asked: string[]
  /** The headers of the last request. */
  headers(): Headers
  stop(): Promise<void>
}

type Answer = Response | Promise<Response>

export interface FakeOptions {
  /** To `/-/healthy`; by default, that it is. */
  healthy?: (request: Request) => Answer
  /** To a query, by its PromQL; by default a vector with the value 0. */
  query?: (promql: string, request: Request) => Answer
}

export function fakePrometheus({ healthy, query }: FakeOptions = {}): FakePrometheus {
  const asked: string[] = []
  let headers = new Headers()
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    idleTimeout: 0,
    development: false,
    fetch: (request) => {
      const { pathname, searchParams } = new URL(request.url)
      const promql = searchParams.get('query')
      asked.push(promql === null ? pathname : `${pathname} ${promql}`)
      headers = request.headers
      if (pathname.endsWith('/-/healthy')) return healthy?.(request) ?? new Response('Healthy.\n')
      if (pathname.endsWith('/api/v1/query')) {
        return query?.(promql ?? '', request) ?? vector('0')
      }
      return new Response('elsewhere', { status: 404 })
    },
  })
  return {
    url: `http://127.0.0.1:${server.port}`,
    asked,
    headers: () => headers,
    stop: () => server.stop(true),
  }
}

/** An instant vector of one series with this value. */
export function vector(value: unknown): Response {
  const result = [{ metric: {}, value: [1_700_000_000.123, value] }]
  return Response.json({ status: 'success', data: { resultType: 'vector', result } })
}

/** A body that begins, and never ends. */
export function dripping(): Response {
  const start = (controller: ReadableStreamDefaultController<Uint8Array>) =>
    controller.enqueue(new TextEncoder().encode('{"status":'))
  return new Response(new ReadableStream({ start }))
}

/** A body without end, as fast as it is read. */
export function endless(): Response {
  const chunk = new Uint8Array(1 << 16).fill(120)
  const pull = (controller: ReadableStreamDefaultController<Uint8Array>) =>
    controller.enqueue(chunk)
  return new Response(new ReadableStream({ pull }))
}
