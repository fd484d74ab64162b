/** An audit's questions to a Prometheus, and what becomes of each kind of answer. */
import { afterEach, describe, expect, test } from 'bun:test'
import { describeError } from '../../actors/errors.ts'
import { readMetricsFile } from '../../runtime/audit/metrics-file.ts'
import { placeOf, readPrometheus } from '../../runtime/audit/prometheus.ts'
import { type Missing, queryKeys } from '../../runtime/audit/report.ts'
import { dripping, endless, type FakeOptions, fakePrometheus, vector } from './fake-prometheus.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

function fake(options: FakeOptions = {}) {
  const prometheus = fakePrometheus(options)
  cleanups.push(() => prometheus.stop())
  return prometheus
}

const { queries } = await readMetricsFile(`${import.meta.dir}/../../config/metrics.yaml`)
const times = { healthyMs: 300, queryMs: 300 }
const read = (url: string) => readPrometheus({ url, queries, ...times })

/** Why there is no audit. */
async function failure(url: string): Promise<{ code: string; message: string }> {
  try {
    await read(url)
  } catch (error) {
    return describeError(error)
  }
  throw new Error('expected no audit, got one')
}

test('every query is asked as it stands in the file, once the Prometheus is well', async () => {
  const prometheus = fake()
  await read(`${prometheus.url}//`)
  const [first, ...rest] = prometheus.asked
  expect(first).toBe('/-/healthy')
  const wanted = queryKeys.map((key) => `/api/v1/query ${queries[key]}`)
  expect(rest.toSorted()).toEqual(wanted.toSorted())
})

test('each answer is the vital of its query', async () => {
  const value = (promql: string) => queryKeys.findIndex((key) => queries[key] === promql) + 1
  const prometheus = fake({ query: (promql) => vector(`${value(promql)}`) })
  expect(await read(prometheus.url)).toEqual({
    measured: {
      p99LatencySeconds: 1,
      eventLoopLagSeconds: 2,
      blockingEvents: 3,
      blockingSeconds: 4,
      activeRequests: 5,
      queueWaitSeconds: 6,
      tasksStarted: 7,
      tasksCompleted: 8,
    },
    missing: [],
  })
})

describe('a value', () => {
  test.each<[unknown, number]>([
    ['1.5', 1.5],
    ['1e-05', 0.00001],
    ['+2E3', 2000],
    ['-3', -3],
    ['.5', 0.5],
    [7, 7],
  ])('of %p is %p', async (value, number) => {
    const { url } = fake({ query: () => vector(value) })
    const { measured, missing } = await read(url)
    expect(measured.eventLoopLagSeconds).toBe(number)
    expect(missing).toEqual([])
  })

  test('of the first series counts, of several', async () => {
    const series = (value: string) => ({ metric: {}, value: [1, value] })
    const data = { resultType: 'vector', result: [series('3'), series('9')] }
    const { url } = fake({ query: () => Response.json({ status: 'success', data }) })
    expect((await read(url)).measured.eventLoopLagSeconds).toBe(3)
  })

  test('is read from behind a redirect', async () => {
    const other = fake({ query: () => vector('4') })
    const to = (request: Request) =>
      Response.redirect(other.url + request.url.slice(request.url.indexOf('/', 8)))
    const { url } = fake({ healthy: to, query: (_, request) => to(request) })
    expect((await read(url)).measured.eventLoopLagSeconds).toBe(4)
  })
})

const result = (is: unknown) => Response.json({ status: 'success', data: { result: is } })
const refusal = { status: 'error', errorType: 'bad_data', error: '1:5: parse error' }
const loop = (_: string, request: Request) => Response.redirect(request.url)
const failed = 'query failed' as const

/** What a query answers, and what is then missing. */
type Reason = Missing['reason']
const badAnswers: [string, NonNullable<FakeOptions['query']>, Reason, RegExp | undefined][] = [
  ['nothing at all', () => result([]), 'empty', undefined],
  ['NaN', () => vector('NaN'), 'not a number', /NaN/],
  ['+Inf', () => vector('+Inf'), 'not a number', /\+Inf/],
  ['-Inf', () => vector('-Inf'), 'not a number', /-Inf/],
  ['a number too big', () => vector('1e999'), 'not a number', /1e999/],
  ['a word', () => vector('many'), failed, /expected a number, got many/],
  ['an empty string', () => vector(''), failed, /expected a number, got nothing/],
  ['a hexadecimal', () => vector('0x10'), failed, /expected a number, got 0x10/],
  ['null', () => vector(null), failed, /expected data\.result\[0\]\.value\[1\]/],
  ['true', () => vector(true), failed, /expected data\.result\[0\]\.value\[1\]/],
  ['a scalar', () => result([1, '2']), failed, /expected data\.result\[0\]/],
  ['a matrix', () => result([{ values: [[1, '2']] }]), failed, /expected data\.result\[0\]/],
  ['a string for the result', () => result('x'), failed, /expected data\.result/],
  ['an error', () => Response.json(refusal), failed, /expected data\.result/],
  ['a list', () => Response.json([1]), failed, /expected data\.result/],
  ['a page', () => new Response('<html>log in</html>'), failed, /expected JSON, got <html>log in/],
  ['half an answer', () => new Response('{"data":{"res'), failed, /expected JSON/],
  ['no body', () => new Response(''), failed, /expected JSON, got nothing/],
  ['400', () => Response.json(refusal, { status: 400 }), failed, /^HTTP 400: 1:5: parse error$/],
  ['401', () => new Response('', { status: 401 }), failed, /^HTTP 401$/],
  ['500', () => new Response('oops', { status: 500 }), failed, /^HTTP 500$/],
  ['a redirect to nowhere', () => new Response('', { status: 302 }), failed, /^HTTP 302$/],
  ['a redirect to itself', loop, failed, /redirect/i],
  ['no answer', () => new Promise<Response>(() => {}), failed, /no answer within 0\.3 s/],
  ['an answer that never ends', dripping, failed, /no answer within 0\.3 s/],
  ['an answer of any length', endless, failed, /more than 1048576 bytes/],
]

describe('a query that answers with', () => {
  test.each(badAnswers)('%s counts as missing', async (_, query, reason, detail) => {
    const lag = queries.event_loop_lag
    const { url } = fake({
      query: (promql, request) => (promql === lag ? query(promql, request) : vector('1')),
    })
    const { measured, missing } = await read(url)
    expect(measured.eventLoopLagSeconds).toBeUndefined()
    expect(measured.p99LatencySeconds).toBe(1)
    expect(missing.map((one) => [one.query, one.reason])).toEqual([['event_loop_lag', reason]])
    if (detail === undefined) expect(missing[0]?.detail).toBeUndefined()
    else expect(missing[0]?.detail).toMatch(detail)
  })
})

test('a query that is absent or empty is not asked', async () => {
  const prometheus = fake()
  const some = { ...queries, event_loop_lag: '' }
  const { p99_latency: _, ...others } = some
  const { missing } = await readPrometheus({ url: prometheus.url, queries: others, ...times })
  expect(missing).toEqual([
    { query: 'p99_latency', reason: 'key absent' },
    { query: 'event_loop_lag', reason: 'key absent' },
  ])
  expect(prometheus.asked).toHaveLength(1 + queryKeys.length - 2)
})

describe('there is no audit of a Prometheus', () => {
  const rows: [string, NonNullable<FakeOptions['healthy']>, RegExp][] = [
    ['that is not well', () => new Response('', { status: 503 }), /HTTP 503/],
    ['that knows no such page', () => new Response('', { status: 404 }), /HTTP 404/],
    ['that wants to know who asks', () => new Response('', { status: 401 }), /HTTP 401/],
    ['that sends on to nowhere', () => new Response('', { status: 302 }), /HTTP 302/],
    ['that sends in a circle', ({ url }) => Response.redirect(url), /redirect/i],
    ['that is slow', () => new Promise<Response>(() => {}), /no answer within 0\.3 s/],
    ['that never ends', dripping, /no answer within 0\.3 s/],
  ]
  test.each(rows)('%s', async (_, healthy, reason) => {
    const prometheus = fake({ healthy })
    const { code, message } = await failure(prometheus.url)
    expect(code).toBe('TELEMETRY_UNREACHABLE')
    expect(message).toMatch(reason)
    expect(message).toContain(`unreachable at ${prometheus.url}/-/healthy`)
    expect(prometheus.asked.some((path) => path.includes('query'))).toBe(false)
  })

  test('that is not there', async () => {
    const { url, stop } = fakePrometheus()
    await stop()
    expect((await failure(url)).code).toBe('TELEMETRY_UNREACHABLE')
  })

  test('that does not speak HTTP', async () => {
    const socket = { open: (each: Bun.Socket) => void each.end('SSH-2.0-OpenSSH\r\n'), data() {} }
    const server = Bun.listen({ hostname: '127.0.0.1', port: 0, socket })
    cleanups.push(async () => server.stop(true))
    expect((await failure(`http://127.0.0.1:${server.port}`)).code).toBe('TELEMETRY_UNREACHABLE')
  })

  test.each(['localhost:9090', 'ftp://localhost', '', 'http://'])('at %p', async (url) => {
    expect((await failure(url)).message).toContain('expected an http or https URL')
  })
})

test('a user and a password in the URL are sent, and shown nowhere', async () => {
  const prometheus = fake()
  const url = prometheus.url.replace('//', '//us%65r:p%40ss@')
  await read(url)
  expect(prometheus.headers().get('authorization')).toBe(`Basic ${btoa('user:p@ss')}`)
  expect(placeOf(`${url}/prefix/`).url).toBe(`${prometheus.url}/prefix`)
})
