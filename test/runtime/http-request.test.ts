/** The `http` kind against real servers, plain and with TLS. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createServer, type Socket } from 'node:net'
import type { HttpInput, HttpOutput } from '../../actors/http-input.ts'
import { type HttpOptions, httpExecutor } from '../../runtime/execute/http/request.ts'
import { authority, hasOpenssl } from '../kit/certificates.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { contextOf } from './command-runner.ts'

if (!hasOpenssl) console.log('skipped: https, because openssl is not installed')
const closers: (() => void)[] = []
afterAll(() => {
  for (const close of closers) close()
})

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

let base = ''
let connections = new Set<number | undefined>()
const seen: { method: string; path: string; headers: Headers; body: string }[] = []
beforeAll(() => {
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request, self) {
      const { pathname } = new URL(request.url)
      connections.add(self.requestIP(request)?.port)
      const { method, headers } = request
      seen.push({ method, path: pathname, headers, body: await request.text() })
      if (pathname === '/loop') return new Response(null, redirect(302, '/loop'))
      if (pathname === '/see') return new Response(null, redirect(303, '/found'))
      if (pathname === '/away') return new Response(null, redirect(302, 'http://away.test:1/'))
      if (pathname === '/meta') return new Response(null, redirect(302, 'http://169.254.169.254/'))
      if (pathname === '/broken') return new Response('no', { status: 503 })
      if (pathname === '/never') return new Promise<Response>(() => undefined)
      if (pathname === '/worst') return new Response(`${'a'.repeat(2 ** 20 - 1)}!`)
      if (pathname === '/chunks') return new Response(chunks(5))
      if (pathname === '/endless') return new Response(chunks(Number.POSITIVE_INFINITY))
      return new Response(`hello from ${pathname}`)
    },
  })
  base = `http://127.0.0.1:${server.port}`
  closers.push(() => void server.stop(true))
})
const redirect = (status: number, location: string) => ({ status, headers: { location } })

function chunks(count: number): ReadableStream<Uint8Array> {
  let left = count
  return new ReadableStream({
    async pull(controller) {
      left -= 1
      controller.enqueue(new TextEncoder().encode('x'.repeat(1000)))
      if (left <= 0) controller.close()
      await turn()
    },
  })
}

/** A server that answers with these bytes, whatever it is asked. */
async function answering(answer: string | ((socket: Socket) => void)): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      if (typeof answer === 'string') socket.end(answer, 'latin1')
      else answer(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => void server.close())
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`
}

async function ask(
  input: HttpInput,
  over: Partial<HttpOptions> & { taskMs?: number; signal?: AbortSignal } = {},
) {
  const { taskMs, signal, ...options } = over
  const defaults = { timeoutMs: 10_000, bytesMax: 2 ** 20, linkLocal: 'refuse' as const }
  const executor = httpExecutor({ ...defaults, ...options })
  await executor.start()
  try {
    const task = { input, ...(taskMs === undefined ? {} : { timeoutMs: taskMs }) }
    const execution = await executor.run(task, contextOf(signal))
    return { ...execution, output: execution.output as HttpOutput }
  } finally {
    await executor.stop()
  }
}

describe('http', () => {
  test('an answer of 200 is ok, with all that is known of it', async () => {
    const { outcome, output, error, trace } = await ask({ url: `${base}/a?b=c` })
    expect({ outcome, error }).toEqual({ outcome: 'ok', error: undefined })
    expect(output).toMatchObject({
      status: 200,
      body: 'hello from /a',
      bodyBytes: 13,
      truncated: false,
      url: `${base}/a?b=c`,
      address: '127.0.0.1',
      redirects: 0,
    })
    expect(output.headers?.['content-type']).toContain('text/plain')
    const phases = ['resolveMs', 'connectMs', 'tlsMs', 'processingMs', 'transferMs']
    expect(Object.keys(output.timings)).toEqual(phases)
    expect(output.timings.processingMs).toBeGreaterThan(0)
    expect(seen.at(-1)?.headers.get('traceparent')).toBe(trace ?? '')
  })

  test('method, headers and body are sent as they are said', async () => {
    const headers = { 'x-one': 'größe', 'content-type': 'text/x' }
    await ask({ url: `${base}/post`, method: 'POST', headers, body: 'tschüß' })
    const { method, body, headers: got } = seen.at(-1) ?? {}
    expect([method, body, got?.get('content-type')]).toEqual(['POST', 'tschüß', 'text/x'])
    expect((await ask({ url: base, method: 'HEAD' })).output).toMatchObject({
      status: 200,
      body: '',
    })
  })

  test('another status, body or certificate than expected is a failure that says so', async () => {
    const { outcome, error, output } = await ask({ url: `${base}/broken` })
    expect([outcome, error]).toEqual([
      'failed',
      { code: 'HTTP_STATUS', message: 'expected status 200 to 299, got 503' },
    ])
    expect(output.body).toBe('no')
    const met = { status: [500, 503], bodyMatches: '^n' }
    expect((await ask({ url: `${base}/broken`, expect: met })).outcome).toBe('ok')
    const body = await ask({ url: `${base}/x`, expect: { bodyMatches: 'bye$' } })
    expect(body.error?.code).toBe('HTTP_BODY')
    const plain = await ask({ url: `${base}/x`, expect: { certDaysLeft: 1 } })
    expect(plain.error?.message).toContain('this is not https')
  })

  test.each(['(a+)+$', '(a|aa)+$', '^(a?){30}b', 'a*a*a*b', '(.*)*x'])(
    'the worst body for %p keeps nobody waiting',
    async (bodyMatches) => {
      const url = `${base}/worst`
      const began = performance.now()
      const { error } = await ask({ url, expect: { bodyMatches } })
      expect(error?.code).toBe('HTTP_BODY')
      expect(performance.now() - began).toBeLessThan(10_000)
    },
  )

  test('redirects are followed so far, and methods change as in browsers', async () => {
    const found = await ask({ url: `${base}/see`, method: 'POST', body: 'x' })
    expect(found.output).toMatchObject({ body: 'hello from /found', redirects: 1 })
    expect(seen.at(-1)).toMatchObject({ method: 'GET', path: '/found', body: '' })
    const { error } = await ask({ url: `${base}/loop`, maxRedirects: 3 })
    expect(error?.code).toBe('TOO_MANY_REDIRECTS')
    const none = await ask({ url: `${base}/see`, maxRedirects: 0, expect: { status: 303 } })
    expect([none.outcome, none.output.redirects]).toEqual(['ok', 0])
  })

  test('a redirect whose words are not escaped is read as browsers read it', async () => {
    // The bytes of its UTF-8, as Latin-1 writes them.
    const location = Buffer.from(`${base}/é`).toString('latin1')
    const url = await answering(`HTTP/1.1 302 Found\r\nlocation: ${location}\r\n\r\n`)
    expect((await ask({ url })).output.url).toBe(`${base}/%C3%A9`)
  })

  test('a body is read in chunks, and cut where it is too long', async () => {
    expect((await ask({ url: `${base}/chunks` })).output.body).toBe('x'.repeat(5000))
    const { outcome, output } = await ask({ url: `${base}/endless`, maxBytes: 1500 })
    expect([outcome, output.body?.length, output.truncated]).toEqual(['ok', 1500, true])
  })

  test('what takes too long is a timeout that names the phase', async () => {
    const { outcome, error } = await ask({ url: `${base}/never` }, { taskMs: 100 })
    expect([outcome, error?.code]).toEqual(['timeout', 'TIMEOUT'])
    expect(error?.message).toBe('did not end within 100 ms; it was at: processing')
    const slow = () => new Promise<never>(() => undefined)
    const unresolved = await ask({ url: 'http://slow.test/' }, { taskMs: 50, lookup: slow })
    expect(unresolved.error?.message).toContain('it was at: resolve')
  })

  test('one that is cancelled ends at once', async () => {
    const cancel = new AbortController()
    const asked = ask({ url: `${base}/never` }, { signal: cancel.signal })
    cancel.abort()
    expect((await asked).error?.code).toBe('ABORTED')
  })

  test('connections are kept: 50 requests one after the other need one', async () => {
    connections = new Set()
    const executor = httpExecutor({ timeoutMs: 5000, bytesMax: 1000, linkLocal: 'refuse' })
    await executor.start()
    for (let count = 0; count < 50; count += 1) {
      await executor.run({ input: { url: `${base}/kept` } }, contextOf())
    }
    await executor.stop()
    expect(connections.size).toBe(1)
  })

  test('a kept connection that the server closed costs nothing', async () => {
    const url = await answering('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    const executor = httpExecutor({ timeoutMs: 5000, bytesMax: 1000, linkLocal: 'refuse' })
    await executor.start()
    for (let count = 0; count < 20; count += 1) {
      expect((await executor.run({ input: { url } }, contextOf())).outcome).toBe('ok')
    }
    await executor.stop()
  })

  test.each([
    ['nothing', '', 'ECONNRESET'],
    ['another protocol', 'SSH-2.0-OpenSSH_9\r\n', 'EPROTO'],
    ['half an answer', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf', 'ECONNRESET'],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx', 'EPROTO'],
    ['a bad chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', 'EPROTO'],
    ['an endless head', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(70_000)}`, 'EPROTO'],
  ])('%s for an answer is a failure, and nothing hangs', async (_what, answer, code) => {
    const { outcome, error } = await ask({ url: await answering(answer) })
    expect([outcome, error?.code]).toEqual(['failed', code])
  })

  test('an answer that comes byte by byte, after an interim one, is read', async () => {
    const text =
      'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n' +
      'Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nT: r\r\n\r\n'
    const url = await answering((socket) => {
      void (async () => {
        for (const byte of text) {
          socket.write(byte, 'latin1')
          await turn()
        }
      })()
    })
    expect((await ask({ url })).output).toMatchObject({ status: 200, body: 'abcde', bodyBytes: 5 })
  })

  test('nobody listening is a failure with its code', async () => {
    const gone = await answering('')
    closers.pop()?.()
    const { outcome, stage, error } = await ask({ url: gone.replace(/:\d+/, ':1') })
    expect([outcome, stage, error?.code]).toEqual(['failed', 'run', 'ECONNREFUSED'])
  })
})

describe('where http may go', () => {
  test.each([
    'http://169.254.169.254/latest/',
    'http://2852039166/',
    'http://0xa9.0xfe.0xa9.0xfe/',
    'http://[::ffff:169.254.169.254]/',
    'http://metadata.test/',
  ])('%s is refused for good', async (url) => {
    const lookup = async () => [{ address: '169.254.169.254' }]
    const { outcome, stage, error } = await ask({ url }, { lookup })
    expect([outcome, stage, error?.code]).toEqual(['failed', 'terminal', 'ADDRESS_REFUSED'])
    expect(error?.message).toContain('worker.httpLinkLocal')
  })

  test('a redirect is checked as the first request is', async () => {
    const { error, output } = await ask({ url: `${base}/meta` })
    expect(error?.code).toBe('ADDRESS_REFUSED')
    // What the one before answered is not told as if it came from there.
    expect(output).toMatchObject({ url: 'http://169.254.169.254/', redirects: 1 })
    expect([output.status, output.body]).toEqual([undefined, undefined])
    const lookup = async () => [{ address: 'fe80::1' }]
    expect((await ask({ url: `${base}/away` }, { lookup })).error?.code).toBe('ADDRESS_REFUSED')
  })

  test('a name is looked up once, and what was checked is what is connected to', async () => {
    let lookups = 0
    const lookup = async () => {
      lookups += 1
      return [{ address: lookups === 1 ? '127.0.0.1' : '169.254.169.254' }]
    }
    const url = base.replace('127.0.0.1', 'rebinding.test')
    const { outcome, output } = await ask({ url }, { lookup })
    expect([outcome, output.address, lookups]).toEqual(['ok', '127.0.0.1', 1])
  })

  test('the configuration may allow it', async () => {
    const lookup = async () => [{ address: '169.254.255.255' }]
    const over = { lookup, linkLocal: 'allow' as const, taskMs: 100 }
    expect((await ask({ url: 'http://meta.test:9/' }, over)).error?.code).not.toBe(
      'ADDRESS_REFUSED',
    )
  })
})

describe.skipIf(!hasOpenssl)('https', () => {
  const trusted = hasOpenssl ? authority(temporaryDirectory()) : undefined
  const lookup = async () => [{ address: '127.0.0.1' }]

  async function at(
    names: string,
    days: number,
    input: Partial<HttpInput> = {},
    host = 'good.test',
  ) {
    const { key, cert } = trusted?.issue(names, days) ?? { key: '', cert: '' }
    const tls = { key: Bun.file(key), cert: Bun.file(cert) }
    const server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      tls,
      fetch: () => new Response('s'),
    })
    try {
      const url = `https://${host}:${server.port}/`
      return await ask({ url, ...input }, { lookup, caFile: trusted?.file })
    } finally {
      await server.stop(true)
    }
  }

  test('a good certificate is ok, and the days that it has left are told', async () => {
    const expected = { certDaysLeft: 9 }
    const { outcome, output } = await at('DNS:good.test', 10, { expect: expected })
    expect([outcome, output.certDaysLeft, output.body]).toEqual(['ok', 9, 's'])
    expect(output.timings.tlsMs).toBeGreaterThan(0)
    const { error } = await at('DNS:good.test', 10, { expect: { certDaysLeft: 30 } })
    expect(error).toEqual({
      code: 'CERT_DAYS_LEFT',
      message: 'expected a certificate for 30 more days, got 9',
    })
  })

  test('the certificate that counts is that of the last answer', async () => {
    const plain = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('p') })
    const location = `http://127.0.0.1:${plain.port}/`
    const { key, cert } = trusted?.issue('DNS:good.test', 90) ?? { key: '', cert: '' }
    const safe = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      tls: { key: Bun.file(key), cert: Bun.file(cert) },
      fetch: () => Response.redirect(location, 302),
    })
    const input = { url: `https://good.test:${safe.port}/`, expect: { certDaysLeft: 1 } }
    const { error, output } = await ask(input, { lookup, caFile: trusted?.file })
    await Promise.all([plain.stop(true), safe.stop(true)])
    expect([error?.code, output.certDaysLeft, output.url]).toEqual([
      'CERT_DAYS_LEFT',
      undefined,
      location,
    ])
  })

  test('an address as host is checked against the addresses of the certificate', async () => {
    expect((await at('IP:127.0.0.1', 10, {}, '127.0.0.1')).outcome).toBe('ok')
    expect((await at('IP:127.0.0.2', 10, {}, '127.0.0.1')).outcome).toBe('failed')
  })

  test('one of another name, an expired one and one of nobody known are refused', async () => {
    const other = await at('DNS:other.test', 10)
    expect([other.outcome, other.error?.code]).toEqual(['failed', 'ERR_TLS_CERT_ALTNAME_INVALID'])
    expect(other.output.status).toBeUndefined()
    const expired = await at('DNS:good.test', -1)
    expect([expired.outcome, expired.error?.code]).toEqual(['failed', 'CERT_HAS_EXPIRED'])
    expect(expired.output.certDaysLeft).toBeLessThan(0)
    const { key, cert } = trusted?.issue('DNS:good.test', 10) ?? { key: '', cert: '' }
    const tls = { key: Bun.file(key), cert: Bun.file(cert) }
    const server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      tls,
      fetch: () => new Response('s'),
    })
    const unknown = await ask({ url: `https://good.test:${server.port}/` }, { lookup })
    await server.stop(true)
    expect(unknown.error?.code).toMatch(/UNABLE_TO_|SELF_SIGNED/)
  })
})
