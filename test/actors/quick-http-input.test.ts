/** The quick look at the input of an http task against its schema. */
import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { httpInputBy } from '../../actors/http-input.ts'
import { isPlainHttpInput } from '../../actors/quick-http-input.ts'
import { testSeed } from '../kit/random.ts'

const good = new Set(['^ok$', ''])
const schema = httpInputBy((source) => (good.has(source) ? undefined : 'not a pattern'))
const isPlain = (value: unknown) => isPlainHttpInput(value, (source) => good.has(source))

/** Origins and paths that are right, nearly right and wrong. */
const origins = [
  'http://h',
  'https://example.com:8443',
  'http://[::1]:80',
  'http://10.0.0.1',
  'http://256.1.1.1',
  'http://h:99999',
  'http://[::1',
  'http://u:p@h',
  'http://',
  'ftp://h',
  'http://xn--a',
  'http://a..b',
  'http:\\\\h',
  'HTTP://H',
]
const paths = ['', '/', '/a?b=c#d', '?x', '#', '\\@x', '/%zz', '/ü', '/ ', '@x', ':1', '/\u0000']
const url = fc
  .tuple(fc.constantFrom(...origins), fc.constantFrom(...paths))
  .map(([origin, path]) => origin + path)
const anything = fc.oneof(
  url,
  fc.string({ maxLength: 5 }),
  fc.constantFrom<unknown>('GET', 'get', '^ok$', '(', 99, 100, 599, 600, 200.5, null, true, [], {}),
  fc.constantFrom<unknown>([200], [200, 404], { a: 1 }, Number.NaN, -1, 0, 20, 21),
)
const objects = (names: readonly string[], values: fc.Arbitrary<unknown>) =>
  fc
    .array(fc.tuple(fc.constantFrom(...names, 'unknown', '__proto__'), values), { maxLength: 4 })
    // As JSON.parse makes them: also with a field of their own called __proto__.
    .map((entries): unknown =>
      JSON.parse(
        `{${entries.map(([name, value]) => `"${name}":${JSON.stringify(value)}`).join(',')}}`,
      ),
    )
const expects = objects(['status', 'bodyMatches', 'certDaysLeft'], anything)
const names = ['url', 'method', 'headers', 'body', 'expect', 'maxRedirects', 'maxBytes']
const inputs = fc
  .tuple(objects(names, fc.oneof(anything, expects)), fc.option(url), fc.option(expects))
  .map(([input, to, wanted]): unknown =>
    Object.assign(input as object, to && { url: to }, wanted && { expect: wanted }),
  )

describe('the quick look at the input of a request', () => {
  test('takes nothing that the schema does not take', () => {
    let taken = 0
    fc.assert(
      fc.property(fc.oneof(inputs, anything), (input) => {
        if (!isPlain(input)) return
        taken += 1
        const read = schema.safeParse(input)
        expect(read.success).toBe(true)
        expect(read.data as unknown).toEqual(input)
      }),
      { numRuns: 20_000, seed: testSeed() },
    )
    expect(taken).toBeGreaterThan(100)
  })

  test('takes what most probes say', () => {
    const to = { url: 'https://example.com:8443/healthz?deep=1' }
    expect(isPlain(to)).toBe(true)
    expect(isPlain({ ...to, method: 'HEAD', expect: { status: 204 } })).toBe(true)
    expect(isPlain({ ...to, method: 'POST', body: '{}', expect: { bodyMatches: '^ok$' } })).toBe(
      true,
    )
  })

  test('takes no pattern that nobody has looked at', () => {
    expect(isPlain({ url: 'http://h/', expect: { bodyMatches: '(' } })).toBe(false)
  })

  test('goes on when more origins were asked than it remembers', () => {
    for (let port = 1; port <= 2500; port += 1) {
      expect(isPlain({ url: `http://h:${port}/` })).toBe(true)
    }
    expect(isPlain({ url: 'http://h:65536/' })).toBe(false)
  })
})
