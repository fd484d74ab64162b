import { describe, expect, test } from 'bun:test'
import { hostname } from 'node:os'
import { guard } from '../../runtime/http/guard.ts'

const url = 'http://127.0.0.1:7070'

interface Asked {
  host?: string
  origin?: string
  authorization?: string
  path?: string
}

function refusal(asked: Asked, options: { host?: string; token?: string } = {}) {
  const { host = '127.0.0.1:7070', path = '/v1/runs', ...rest } = asked
  const tokens =
    options.token === undefined ? [] : [{ role: 'write' as const, text: options.token }]
  const refuse = guard({ host: options.host ?? '127.0.0.1', tokens })
  return refuse(new Request(url + path, { headers: { host, ...rest } }))
}

async function codeOf(response: Response | undefined): Promise<string | undefined> {
  if (response === undefined) return undefined
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const { code, status } = (await response.json()) as { code: string; status: number }
  expect(status).toBe(response.status)
  return `${status} ${code}`
}

describe('the Host', () => {
  test.each(['127.0.0.1', 'localhost:7070', 'LOCALHOST', '[::1]:7070', hostname()])(
    '%s names this node',
    (host) => expect(refusal({ host })).toBeUndefined(),
  )

  test('that is listened on names this node', () => {
    expect(refusal({ host: 'node-1.example:80' }, { host: 'node-1.example' })).toBeUndefined()
    expect(refusal({ host: '[fe80::1]:80' }, { host: 'fe80::1' })).toBeUndefined()
  })

  test.each([
    'evil.example',
    'evil.example:7070',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'evil.example@localhost',
    '',
  ])('"%s" is refused', async (host) => {
    expect(await codeOf(refusal({ host }))).toBe('403 FOREIGN_HOST')
  })

  test('is checked even where no token is asked for', async () => {
    const asked = { host: 'evil.example', path: '/healthz' }
    expect(await codeOf(refusal(asked))).toBe('403 FOREIGN_HOST')
  })
})

describe('the Origin', () => {
  test('of this node may ask', () => {
    expect(refusal({ origin: url })).toBeUndefined()
  })

  test.each([
    'http://evil.example',
    'http://127.0.0.1:7071',
    'http://localhost:7070',
    'null',
    'file://',
    'nonsense',
  ])('%s is refused', async (origin) => {
    expect(await codeOf(refusal({ origin }))).toBe('403 FOREIGN_ORIGIN')
  })
})

describe('a token', () => {
  const token = 'sesame'

  test('that is the right one opens', () => {
    expect(refusal({ authorization: 'Bearer sesame' }, { token })).toBeUndefined()
    expect(refusal({ authorization: 'bearer sesame' }, { token })).toBeUndefined()
  })

  test.each([
    'Bearer sesam',
    'Bearer sesame!',
    'Basic sesame',
    'sesame',
    'Bearer',
    'Bearer  sesame',
  ])('given as "%s" does not', async (authorization) => {
    const response = refusal({ authorization }, { token })
    expect(response?.headers.get('www-authenticate')).toBe('Bearer realm="muster"')
    expect(await codeOf(response)).toBe('401 TOKEN')
  })

  test('that is missing is asked for, except to learn that the node lives', async () => {
    expect(await codeOf(refusal({}, { token }))).toBe('401 TOKEN')
    expect(await codeOf(refusal({ path: '/nowhere' }, { token }))).toBe('401 TOKEN')
    expect(await codeOf(refusal({ path: '/healthz/../v1/runs' }, { token }))).toBe('401 TOKEN')
    expect(refusal({ path: '/healthz' }, { token })).toBeUndefined()
    expect(refusal({ path: '/readyz?verbose' }, { token })).toBeUndefined()
  })

  test('is no pass for a foreign origin', async () => {
    const asked = { origin: 'http://evil.example', authorization: 'Bearer sesame' }
    expect(await codeOf(refusal(asked, { token }))).toBe('403 FOREIGN_ORIGIN')
  })
})
