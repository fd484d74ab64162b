import { afterAll, beforeAll, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { operations } from '../../runtime/http/operations.ts'
import { type StartedNode, startNode } from './started-node.ts'

/** What a refusal is called when nobody is to blame for it but the asker. */
const refusals = [200, 202, 303, 400, 401, 404, 405, 408, 409, 413, 415]

let node: StartedNode
let run: string
beforeAll(async () => {
  node = await startNode({
    ephemeral: true,
    http: { port: 0, rate: 1_000_000, burst: 1_000_000 },
  })
  run = (await node.run('{"kind":"noop"}\n{"kind":"fail","attempts":1}\n')).id
})
afterAll(() => node.node.stop())

const word = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('', '0', '-1', '1e9', 'NaN', '9'.repeat(40), '../..', '%00', '__proto__', 'a,b'),
)
const pathWord = fc.oneof(
  word.filter((text) => text !== ''),
  fc.constant(''),
)
/** What a field may be that somebody gets wrong. */
const value = fc.oneof(
  fc.jsonValue(),
  word,
  fc.constantFrom('PAUSED', 'OPERATIONAL', 'soon,fail=1'),
)
const names = ['tasks', 'reason', 'state', 'outcomes', 'ids', 'filter', 'window', 'halt', 'actor']
const body = fc.oneof(
  word,
  fc.dictionary(fc.constantFrom(...names), value).map((object) => JSON.stringify(object)),
  fc.json(),
)
const queryNames = ['limit', 'after', 'outcome', 'fold', 'id', 'all', 'dryRun', 'state', 'x']
const query = fc.dictionary(fc.constantFrom(...queryNames), word)
const types = ['application/json', 'application/x-ndjson', 'text/plain', '', 'application/json;']
const methods = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS']

// It ends the node that is asked, in order: not a fault, but the end of this test.
const asked = operations.filter(({ path }) => path !== '/v1/nodes/{id}/drain')

function encoded(text: string): string {
  try {
    return encodeURIComponent(text) || '%20'
  } catch {
    // Half a surrogate pair.
    return '%ED%A0%80'
  }
}

test.each(asked.map(({ method, path }) => [method.toUpperCase(), path]))(
  'no nonsense makes %s %s fail',
  async (method = '', path = '') => {
    const request = fc.record({
      method: fc.oneof({ weight: 4, arbitrary: fc.constant(method) }, fc.constantFrom(...methods)),
      words: fc.array(fc.oneof(fc.constantFrom('known', '0'), pathWord), {
        minLength: 2,
        maxLength: 2,
      }),
      query,
      body,
      type: fc.constantFrom(...types),
    })
    await fc.assert(
      fc.asyncProperty(request, async (given) => {
        let index = 0
        const filled = path.replaceAll(/\{\w+\}/g, () => {
          const one = given.words[index++] ?? ''
          return one === 'known' ? run : encoded(one)
        })
        const search = Object.entries(given.query).map(([name, text]) => `${name}=${encoded(text)}`)
        const hasBody = !['GET', 'HEAD'].includes(given.method)
        const response = await node.ask(`${filled}?${search.join('&')}`, {
          method: given.method,
          redirect: 'manual',
          signal: AbortSignal.timeout(10_000),
          ...(hasBody ? { body: given.body, headers: { 'content-type': given.type } } : {}),
        })
        const text = await response.text()
        expect([204, ...refusals]).toContain(response.status)
        if (response.status < 400 || given.method === 'HEAD' || text.startsWith('<')) return
        expect(response.headers.get('content-type')).toBe('application/problem+json')
        const problem = JSON.parse(text) as Record<string, unknown>
        expect(problem['status']).toBe(response.status)
        for (const field of ['type', 'title', 'detail', 'code']) {
          expect(typeof problem[field]).toBe('string')
        }
      }),
      { numRuns: 60, seed: 9, endOnFailure: true },
    )
    // Nonsense may have happened to make sense.
    await node.ask('/v1/system', {
      method: 'POST',
      body: '{"state":"OPERATIONAL","reason":"the next test"}',
    })
  },
)
