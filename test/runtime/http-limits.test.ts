import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { eventually } from '../kit/eventually.ts'
import { type RawClient, rawClient } from '../kit/socket.ts'
import { noops, problemOf, type StartedNode, sleepLine, startNode } from './started-node.ts'

let node: StartedNode
const clients: RawClient[] = []
beforeAll(async () => {
  node = await startNode({
    ephemeral: true,
    http: { port: 0, bodyMs: 700, streamSilenceMs: 700, idleMs: 8000 },
  })
})
afterAll(async () => {
  for (const client of clients) client.close()
  await node.node.stop()
})

async function open(): Promise<RawClient> {
  const client = await rawClient(node.url)
  clients.push(client)
  return client
}

const head = (first: string, ...fields: string[]) =>
  [`${first} HTTP/1.1`, 'host: localhost', ...fields, '', ''].join('\r\n')

const gigabyte = 1_000_000_000

describe('a body of a gigabyte', () => {
  test.each(['/v1/runs', '/v1/system', '/v1/deadletters/redrive', '/v1/runs/r-00000000/cancel'])(
    'for %s is refused when it is announced',
    async (path) => {
      const client = await open()
      const json = 'content-type: application/json'
      client.send(head(`POST ${path}`, json, `content-length: ${gigabyte}`))
      await client.closed
      expect(client.text).toStartWith('HTTP/1.1 413')
      expect(client.text).toContain('"code":"TOO_LARGE"')
    },
  )

  test('that is not announced is refused at 16 MiB', async () => {
    let sent = 0
    const piece = new Uint8Array(1_048_576).fill(32)
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += piece.length
        if (sent > gigabyte) controller.close()
        else controller.enqueue(piece)
      },
    })
    const headers = { 'content-type': 'application/json' }
    const response = await node
      .ask('/v1/runs', { method: 'POST', headers, body })
      .catch(() => undefined)
    // The connection may be gone before the answer is read.
    if (response !== undefined) expect((await problemOf(response)).status).toBe(413)
    expect(sent).toBeLessThan(100_000_000)
    expect((await node.ask('/healthz')).status).toBe(200)
  })
})

describe('is cut off', () => {
  test('who sends a JSON body drop by drop', async () => {
    const client = await open()
    client.send(head('POST /v1/system', 'content-length: 1000'))
    const drip = setInterval(() => client.send(' '), 50)
    expect(await client.closed).toBeLessThan(30_000)
    clearInterval(drip)
    expect(client.text).toStartWith('HTTP/1.1 408')
  })

  test('who submits lines and then says nothing more; what came is run', async () => {
    const client = await open()
    const ndjson = 'content-type: application/x-ndjson'
    client.send(head('POST /v1/runs', ndjson, 'content-length: 1000'))
    client.send(noops(3))
    await client.closed
    const { items } = (await (await node.ask('/v1/runs?limit=1')).json()) as {
      items: { id: string; counts: { ok: number } }[]
    }
    await eventually(async () => {
      expect((await node.get(items[0]?.id ?? '')).counts.ok).toBe(3)
    })
  })

  test('who asks once and keeps the connection for nothing', async () => {
    const client = await open()
    client.send(head('GET /healthz'))
    expect(await client.closed).toBeLessThan(30_000)
    expect(client.text).toStartWith('HTTP/1.1 200')
  })

  test('who does not read the results it asked for', async () => {
    const run = await node.run(noops(40_000))
    const client = await open()
    client.hang(14_000)
    client.send(head(`GET /v1/runs/${run.id}/results`, 'accept: application/x-ndjson'))
    await client.closed
    // Not the last piece, which ends what is whole.
    expect(client.text).not.toEndWith('0\r\n\r\n')
  })
})

test('who reads events of a run on which nothing happens is not cut off', async () => {
  const response = await node.submit(sleepLine(12_000))
  const { run } = (await response.json()) as { run: string }
  const text = await (await node.ask(`/v1/runs/${run}/events`)).text()
  expect(text).toContain(': \n\n')
  expect(text).toContain('event: done')
})

test('fifty slow clients do not keep anybody waiting', async () => {
  const slow = await Promise.all(Array.from({ length: 50 }, open))
  const starts = [
    'GET /v1/runs HTTP/1.1\r\nhost: loc',
    head('POST /v1/system', 'content-length: 100'),
    head('POST /v1/runs', 'content-type: application/x-ndjson', 'transfer-encoding: chunked'),
  ]
  for (const [index, client] of slow.entries()) client.send(starts[index % starts.length] ?? '')
  const startedAt = performance.now()
  const run = await node.run(noops(1000))
  expect(run.counts.ok).toBe(1000)
  expect(performance.now() - startedAt).toBeLessThan(15_000)
  await Promise.all(slow.map((client) => client.closed))
})

describe('too much at once', () => {
  test('of one address is refused, and said when to come back', async () => {
    const own = await startNode({ ephemeral: true, http: { port: 0, rate: 5, burst: 10 } })
    const answers = await Promise.all(Array.from({ length: 30 }, () => own.ask('/v1/tree')))
    const refused = answers.filter(({ status }) => status === 429)
    expect(refused.length).toBeGreaterThanOrEqual(15)
    expect(refused[0]?.headers.get('retry-after')).toBe('1')
    if (refused[0] !== undefined) expect((await problemOf(refused[0])).code).toBe('BUSY')
    // Whoever looks whether it lives is answered all the same.
    const probes = await Promise.all(Array.from({ length: 30 }, () => own.ask('/healthz')))
    expect(new Set(probes.map(({ status }) => status))).toEqual(new Set([200]))
    await own.node.stop()
  })

  test('under way is refused with 503', async () => {
    const own = await startNode({ ephemeral: true, http: { port: 0, requestsMax: 10 } })
    const { run } = (await (await own.submit(sleepLine(3000))).json()) as { run: string }
    const left = new AbortController()
    const events = () => own.ask(`/v1/runs/${run}/events`, { signal: left.signal })
    await Promise.all(Array.from({ length: 10 }, events))
    const busy = await own.ask('/healthz')
    expect(busy.status).toBe(503)
    expect(busy.headers.get('retry-after')).toBe('1')
    left.abort()
    await eventually(async () => expect((await own.ask('/healthz')).status).toBe(200))
    await own.node.stop()
  })
})

test.each([
  ['a header of 20 kB', head('GET /healthz', `x-long: ${'a'.repeat(20_000)}`), '431'],
  ['500 headers', head('GET /healthz', ...Array<string>(500).fill('x-a: b')), '431'],
  ['an address of 30 kB', head(`GET /${'a'.repeat(30_000)}`), '431'],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.9\r\n\r\n', '400'],
])('%s is refused', async (_what, text, status) => {
  const client = await open()
  client.send(text)
  await client.closed
  expect(client.text).toStartWith(`HTTP/1.1 ${status}`)
})
