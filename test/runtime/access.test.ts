import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseTokens } from '../../runtime/http/token.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { problemOf, type StartedNode, startNode } from './started-node.ts'

const writer = 'a-token-that-may-write'
const reader = 'a-token-that-may-read'

let node: StartedNode
let url: URL
beforeAll(async () => {
  const tokenFile = join(temporaryDirectory(), 'tokens')
  writeFileSync(tokenFile, `# of this test\n\nread ${reader}\n${writer}\n`)
  node = await startNode({ ephemeral: true, http: { port: 0, tokenFile } })
  url = new URL(node.url)
})
afterAll(() => node.node.stop())

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const json = { 'content-type': 'application/json' }
const post = (path: string, headers: Record<string, string>, body = '{}') =>
  node.ask(path, { method: 'POST', redirect: 'manual', headers: { ...json, ...headers }, body })

const form = (fields: Record<string, string>, headers: Record<string, string> = {}) =>
  node.ask('/login', {
    method: 'POST',
    redirect: 'manual',
    body: new URLSearchParams(fields),
    headers: { origin: url.origin, ...headers },
  })

async function cookieOf(token: string): Promise<string> {
  const response = await form({ token })
  expect(response.status).toBe(303)
  return response.headers.get('set-cookie')?.split(';')[0] ?? ''
}

describe('a token file', () => {
  test('gives each token its role; a bare one may write', () => {
    expect(parseTokens('write a\nread b\n\n# c\n  d  \n', 'it')).toEqual([
      { role: 'write', text: 'a' },
      { role: 'read', text: 'b' },
      { role: 'write', text: 'd' },
    ])
  })

  test.each(['', '# only this', 'read', 'admin x', 'write a b'])(
    'with "%s" is refused, and not shown',
    (text) => {
      const message = (() => {
        try {
          return JSON.stringify(parseTokens(text, 'it'))
        } catch (error) {
          return (error as Error).message
        }
      })()
      expect(message).toMatch(/^it(:| is empty)/)
      if (text.length > 4) expect(message).not.toContain(text)
    },
  )
})

describe('a token that may read', () => {
  test.each(['/v1/runs', '/v1/nodes', '/v1/tree', '/metrics', '/openapi.json'])(
    'opens %s',
    async (path) => {
      expect((await node.ask(path, { headers: bearer(reader) })).status).toBe(200)
    },
  )

  test.each([
    '/v1/runs',
    '/v1/runs/r-00000000/cancel',
    '/v1/system',
    '/v1/deadletters/redrive',
    '/v1/leases/collector/release',
  ])('changes nothing at %s', async (path) => {
    const problem = await problemOf(await post(path, bearer(reader)))
    expect([problem.status, problem.code]).toEqual([403, 'READ_ONLY'])
  })

  test('is not needed to learn that the node lives', async () => {
    expect((await node.ask('/healthz')).status).toBe(200)
    expect((await node.ask('/readyz')).status).toBe(200)
  })
})

test('a token that may write changes things', async () => {
  const response = await post('/v1/runs', bearer(writer), '{"tasks":[]}')
  expect(response.status).toBe(202)
})

test('wrong tokens are slowed down, and the right one passes again', async () => {
  const own = await startNode({
    ephemeral: true,
    http: { port: 0, tokenFile: tokenFileOf(writer) },
  })
  const ask = (token: string) => own.ask('/v1/runs', { headers: bearer(token) })
  try {
    const codes = new Set<number>()
    let refused: Response | undefined
    for (let guess = 0; guess < 40; guess += 1) {
      const response = await ask(`guess-${guess}`)
      codes.add(response.status)
      if (response.status === 429) refused = response
    }
    expect(codes).toEqual(new Set([401, 429]))
    expect(Number(refused?.headers.get('retry-after'))).toBeGreaterThan(0)
  } finally {
    await own.node.stop()
  }
})

function tokenFileOf(text: string): string {
  const file = join(temporaryDirectory(), 'tokens')
  writeFileSync(file, text)
  return file
}

describe('a browser', () => {
  const page = { accept: 'text/html,application/xhtml+xml' }

  test('that knows no token is shown the way to the login', async () => {
    const response = await node.ask('/v1/nodes?x=1', { redirect: 'manual', headers: page })
    expect(response.status).toBe(303)
    expect(response.headers.get('location')).toBe(
      `/login?next=${encodeURIComponent('/v1/nodes?x=1')}`,
    )
    const login = await node.ask('/login?next=/v1/nodes')
    expect(login.status).toBe(200)
    expect(login.headers.get('content-security-policy')).toContain("default-src 'none'")
    const html = await login.text()
    expect(html).toContain('name="next" value="/v1/nodes"')
    expect(html).not.toContain('http')
  })

  test('gets a cookie that no script reads and no other site sends', async () => {
    const response = await form({ token: writer, next: '/v1/runs' })
    expect(response.status).toBe(303)
    expect(response.headers.get('location')).toBe('/v1/runs')
    const cookie = response.headers.get('set-cookie') ?? ''
    expect(cookie).toMatch(
      /^muster\d+=[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict$/,
    )
    expect(cookie).not.toContain(writer)
  })

  test('with the cookie reads and writes as its token may', async () => {
    const own = { cookie: await cookieOf(writer), origin: url.origin }
    expect((await node.ask('/v1/runs', { headers: { cookie: own.cookie } })).status).toBe(200)
    expect((await post('/v1/runs', own, '{"tasks":[]}')).status).toBe(202)
    const readOnly = { cookie: await cookieOf(reader), origin: url.origin }
    const problem = await problemOf(await post('/v1/runs', readOnly, '{"tasks":[]}'))
    expect([problem.status, problem.code]).toEqual([403, 'READ_ONLY'])
  })

  test('with the cookie writes only from a page of this node', async () => {
    const cookie = await cookieOf(writer)
    for (const headers of [
      {},
      { 'sec-fetch-site': 'none' },
      { 'sec-fetch-site': 'cross-site' },
      { origin: 'http://evil.example' },
      { origin: 'null' },
    ]) {
      const problem = await problemOf(await post('/v1/runs', { cookie, ...headers }))
      expect([problem.status, problem.code]).toEqual([403, 'FOREIGN_ORIGIN'])
    }
    const fromOwn = { cookie, 'sec-fetch-site': 'same-origin' }
    expect((await post('/v1/runs', fromOwn, '{"tasks":[]}')).status).toBe(202)
  })

  test('that logs out is out', async () => {
    const cookie = await cookieOf(writer)
    const gone = await post('/logout', { cookie, origin: url.origin })
    expect(gone.status).toBe(303)
    expect(gone.headers.get('set-cookie')).toContain('Max-Age=0')
    expect((await node.ask('/v1/runs', { headers: { cookie } })).status).toBe(401)
  })

  test('with a wrong token or a made-up cookie stays out', async () => {
    const wrong = await form({ token: `${writer}x` })
    expect(wrong.status).toBe(401)
    expect(wrong.headers.get('set-cookie')).toBeNull()
    const cookie = `muster${url.port}=${'A'.repeat(43)}`
    expect((await node.ask('/v1/runs', { headers: { cookie } })).status).toBe(401)
  })

  test.each(['//evil.example', '/\\evil.example', 'https://evil.example', 'evil', '/a\r\nb: c'])(
    'is not led to %j after the login',
    async (next) => {
      expect((await form({ token: writer, next })).headers.get('location')).toBe('/')
    },
  )

  test('cannot be made to log in by another site', async () => {
    const response = await form({ token: writer }, { origin: 'http://evil.example' })
    expect(response.status).toBe(403)
  })
})

describe('a page elsewhere', () => {
  test('that rebinds its name to this address is refused', async () => {
    const headers = { host: `evil.example:${url.port}`, ...bearer(writer) }
    for (const path of ['/', '/v1/runs', '/healthz', '/login', '/metrics']) {
      const problem = await problemOf(await node.ask(path, { headers }))
      expect([problem.status, problem.code]).toEqual([403, 'FOREIGN_HOST'])
    }
  })

  test('shows nothing of this node as an image, a script or a frame', async () => {
    for (const dest of ['image', 'script', 'iframe']) {
      const mode = dest === 'iframe' ? 'navigate' : 'no-cors'
      const headers = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': mode }
      const response = await node.ask('/healthz', {
        headers: { ...headers, 'sec-fetch-dest': dest },
      })
      expect((await problemOf(response)).code).toBe('FOREIGN_ORIGIN')
    }
  })

  test('may link to this node', async () => {
    const headers = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
    }
    expect((await node.ask('/login', { headers })).status).toBe(200)
  })
})

test('every answer says that it is nothing else, and of whom', async () => {
  for (const path of ['/healthz', '/nowhere', '/login']) {
    const { headers } = await node.ask(path)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('cross-origin-resource-policy')).toBe('same-origin')
  }
})
