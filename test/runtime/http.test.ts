import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import {
  answerOf,
  ndjson,
  noops,
  problemOf,
  type StartedNode,
  sleepLine,
  startNode,
  worlds,
} from './started-node.ts'

describe.each(worlds)('a node %s', (_world, open) => {
  let node: StartedNode
  let redis: RedisServer | undefined
  beforeAll(async () => {
    const opened = await open()
    node = opened.node
    redis = opened.redis
  })
  afterAll(async () => {
    await node.node.stop()
    await redis?.stop()
  })

  const json = (body: string | Uint8Array<ArrayBuffer>, type = 'application/json') =>
    node.ask('/v1/runs', { method: 'POST', body, headers: { 'content-type': type } })

  describe('takes a run', () => {
    test('as NDJSON: 202, its place, and what was not taken', async () => {
      const response = await node.submit(`${noops(2)}\n{"kind":"nop"}\n{"kind":"noop"`)
      expect(response.status).toBe(202)
      const answer = await answerOf(response)
      expect(response.headers.get('location')).toBe(`/v1/runs/${answer.run}`)
      expect(answer).toEqual({
        run: expect.stringMatching(/^r-[0-9a-z]{8,26}$/),
        accepted: 2,
        rejectedCount: 2,
        rejected: [
          { line: 4, path: 'kind', message: expect.stringContaining('mean "noop"') },
          { line: 5, path: '', message: expect.stringContaining('broken JSON') },
        ],
      })
    })

    test('as JSON, with a reason', async () => {
      const body = { tasks: [{ kind: 'noop' }, { kind: 'exec' }], reason: 'because' }
      const response = await json(JSON.stringify(body))
      expect(response.status).toBe(202)
      const { run, accepted, rejected } = await answerOf(response)
      expect({ accepted, rejected }).toMatchObject({
        accepted: 1,
        rejected: [{ line: 2, path: 'input.argv' }],
      })
      expect(await node.get(run)).toMatchObject({ id: run, reason: 'because', rejectedCount: 1 })
    })

    test.each(['; charset=utf-8', ';charset=UTF-8', ''])(
      'whatever the charset (%s)',
      async (end) => {
        expect((await json('{"tasks":[]}', `application/json${end}`)).status).toBe(202)
        const headers = { 'content-type': ndjson + end }
        const response = await node.submit(noops(1), headers)
        expect(await answerOf(response)).toMatchObject({ accepted: 1 })
      },
    )

    test('of nothing, and it is complete', async () => {
      const run = await node.run('')
      expect(run).toMatchObject({ state: 'completed', total: 0, rejectedCount: 0 })
    })

    test('of good and bad lines, and the good ones run', async () => {
      const bad = [
        'nonsense',
        '{"kind":"noop","input":5}',
        '[]',
        '{"kind":"exec","input":{"argv":[]}}',
      ]
      const lines = bad.flatMap((line) => [line, '{"kind":"noop"}', ''])
      const run = await node.run(lines.join('\n'))
      expect(run).toMatchObject({ state: 'completed', total: 4, rejectedCount: 4 })
      expect(run.counts).toMatchObject({ ok: 4, pending: 0 })
      expect(run.rejected.map(({ line }) => line)).toEqual([1, 4, 7, 10])
    })

    test('whose ids come twice only once', async () => {
      const lines = ['a', 'b', 'a', 'c', 'b', 'a'].map((id) => `{"kind":"noop","id":"${id}"}`)
      const run = await node.run(lines.join('\n'))
      expect(run.counts.ok).toBe(3)
      expect(run.rejected.map(({ line, path }) => [line, path])).toEqual([
        [3, 'id'],
        [5, 'id'],
        [6, 'id'],
      ])
      expect(run.rejected[0]?.message).toBe('expected an id that is new in this run, got "a" again')
    })

    test('remembers the first thousand rejections and counts the others', async () => {
      const run = await node.run('x\n'.repeat(1500))
      expect([run.total, run.rejectedCount, run.rejected.length]).toEqual([0, 1500, 1000])
      expect(run.rejected.at(-1)?.line).toBe(1000)
    })

    test('as a dry run, which knows what a line may depend on', async () => {
      const lines = [
        '{"kind":"noop","id":"late","dependsOn":["early"]}',
        '{"kind":"noop","id":"early"}',
        '{"kind":"noop","dependsOn":["early"]}',
        '{"kind":"noop","dependsOn":["early","late"]}',
      ].join('\n')
      const headers = { 'content-type': ndjson }
      const dry = await node.ask('/v1/runs?dryRun=1', { method: 'POST', body: lines, headers })
      const { accepted, rejected } = (await dry.json()) as Record<string, unknown>
      expect(accepted).toBe(2)
      expect(rejected).toMatchObject([
        { line: 1, path: 'dependsOn.0' },
        { line: 4, path: 'dependsOn.1' },
      ])
      const run = await node.run(lines)
      expect([run.total, run.rejected]).toEqual([2, rejected as Run['rejected']])
    })

    test('as a dry run, and runs nothing', async () => {
      const runs = async () => (await (await node.ask('/v1/runs?limit=1')).json()) as object
      const before = await runs()
      const lines = '{"kind":"noop","id":"a"}\n{"kind":"noop","id":"a"}\n{"kind":"nop"}\n'
      const response = await node.ask('/v1/runs?dryRun=1', {
        method: 'POST',
        body: lines,
        headers: { 'content-type': ndjson },
      })
      expect(response.status).toBe(200)
      expect(await response.json()).toMatchObject({ accepted: 1, rejectedCount: 2 })
      expect(await runs()).toEqual(before)
    })
  })

  describe('refuses', () => {
    test.each([
      ['broken JSON', '{"tasks":[', 'BROKEN_JSON'],
      ['an empty body', '', 'BROKEN_JSON'],
      ['no UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d), 'BROKEN_JSON'],
      ['an array', '[{"kind":"noop"}]', 'BAD_BODY'],
      ['null', 'null', 'BAD_BODY'],
      ['no tasks', '{}', 'BAD_BODY'],
      ['tasks that are no array', '{"tasks":{"kind":"noop"}}', 'BAD_BODY'],
      ['a field it does not know', '{"tasks":[],"task":[]}', 'BAD_BODY'],
      ['a reason that is no text', '{"tasks":[],"reason":5}', 'BAD_BODY'],
    ])('%s as JSON with 400', async (_what, body, code) => {
      const problem = await problemOf(await json(body))
      expect([problem.status, problem.code]).toEqual([400, code])
      expect(problem.detail).toMatch(/expected .+, got ./)
    })

    test.each([undefined, 'text/plain', 'application/jsonx', 'multipart/form-data'])(
      'a body of type %s with 415',
      async (type) => {
        const body = new TextEncoder().encode(noops(1))
        const headers = type === undefined ? {} : { 'content-type': type }
        const problem = await problemOf(
          await node.ask('/v1/runs', { method: 'POST', body, headers }),
        )
        expect(problem).toMatchObject({ status: 415, detail: expect.stringContaining(ndjson) })
      },
    )

    test('a JSON body of more than 16 MiB with 413, and takes NDJSON of that size', async () => {
      const filler = ' '.repeat(16 * 1_048_576)
      const problem = await problemOf(await json(`{"tasks":[]${filler}}`))
      expect(problem).toMatchObject({ status: 413, detail: expect.stringContaining(ndjson) })
      const lines = `{"kind":"noop"}${' '.repeat(1_000_000)}\n`.repeat(18)
      expect(await answerOf(await node.submit(lines))).toMatchObject({ accepted: 18 })
    })

    test.each([
      ['muster-content', 'abc', '64 hexadecimal digits, got "abc"'],
      ['muster-reason', '%zz', 'percent-encoded UTF-8, got "%zz"'],
      ['idempotency-key', 'k'.repeat(256), '1 to 255 printable ASCII characters'],
      ['idempotency-key', '', 'printable'],
      ['idempotency-key', 'a\tb', 'got "a\\tb"'],
    ])('the header %s: %s with 400', async (name, value, detail) => {
      const problem = await problemOf(await node.submit(noops(1), { [name]: value }))
      expect(problem.status).toBe(400)
      expect(problem.detail).toContain(detail)
    })

    test.each([
      ['/v1/runs?limit=0', 400, 'limit: expected 1 to 1000, got 0'],
      ['/v1/runs?limit=1001', 400, 'limit: expected 1 to 1000, got 1001'],
      ['/v1/runs?limit=ten', 400, 'limit: expected a whole number, got "ten"'],
      ['/v1/runs/r-00000000', 404, 'there is no run r-00000000'],
      ['/v1/runs/r-00000000/results', 404, 'there is no run'],
      ['/v1/runs/r-00000000/events', 404, 'there is no run'],
      ['/v1/runs/r-00000000/tasks/0', 404, 'there is no run'],
      ['/v1/run', 404, 'there is nothing at /v1/run'],
      ['/v1/runs/%E0%A4%A/results', 404, ''],
    ])('GET %s with %i', async (path, status, detail) => {
      const problem = await problemOf(await node.ask(path))
      expect(problem.status).toBe(status)
      expect(problem.detail).toContain(detail)
    })

    test('another method with 405, and tells which there are', async () => {
      const response = await node.ask('/v1/runs', { method: 'DELETE' })
      expect(response.headers.get('allow')).toBe('GET, POST, OPTIONS')
      expect(await problemOf(response)).toMatchObject({ status: 405 })
      expect((await node.ask('/healthz', { method: 'POST' })).status).toBe(405)
    })

    test('a foreign Host and a foreign Origin with 403', async () => {
      const host = await node.ask('/v1/runs', { headers: { host: 'evil.example' } })
      expect(await problemOf(host)).toMatchObject({ status: 403, code: 'FOREIGN_HOST' })
      const origin = await node.submit(noops(1), { origin: 'http://evil.example' })
      expect(await problemOf(origin)).toMatchObject({ status: 403, code: 'FOREIGN_ORIGIN' })
    })
  })

  describe('answers', () => {
    test('that it lives and is ready', async () => {
      expect(await (await node.ask('/healthz')).json()).toEqual({ status: 'ok' })
      const ready = await node.ask('/readyz')
      expect([ready.status, await ready.json()]).toEqual([200, { status: 'ready', reasons: [] }])
    })

    test('OPTIONS with the methods, and lets no other origin in', async () => {
      const response = await node.ask('/v1/runs', { method: 'OPTIONS' })
      expect([response.status, response.headers.get('allow')]).toEqual([204, 'GET, POST, OPTIONS'])
      expect(response.headers.get('access-control-allow-origin')).toBeNull()
    })

    test('HEAD like GET, without a body', async () => {
      const { id } = await node.run(noops(1))
      for (const path of ['/healthz', `/v1/runs/${id}`, `/v1/runs/${id}/events`]) {
        const response = await node.ask(path, { method: 'HEAD' })
        expect([response.status, await response.text()]).toEqual([200, ''])
      }
      expect((await node.ask('/v1/runs/r-00000000', { method: 'HEAD' })).status).toBe(404)
    })

    test('a task that is over, and says why another is not', async () => {
      const { id } = await node.run('{"kind":"fail","attempts":2,"input":{"times":1}}\n')
      const response = await node.ask(`/v1/runs/${id}/tasks/0`)
      const { result, attempts } = (await response.json()) as {
        result: ResultLine
        attempts: { attempt: number; error: { message: string } }[]
      }
      expect(result).toMatchObject({ run: id, seq: 0, outcome: 'ok', attempt: 2 })
      expect(attempts).toMatchObject([
        { attempt: 1, error: { message: 'failed on purpose, attempt 1' } },
      ])
      const beyond = await problemOf(await node.ask(`/v1/runs/${id}/tasks/1`))
      expect(beyond).toMatchObject({ status: 404, detail: expect.stringContaining('has 1 tasks') })
      const nonsense = await problemOf(await node.ask(`/v1/runs/${id}/tasks/-1`))
      expect(nonsense.status).toBe(400)
    })

    test('the list of runs page by page, newest first', async () => {
      const ids: string[] = []
      for (let index = 0; index < 5; index += 1) ids.unshift((await node.run(noops(1))).id)
      const listed: string[] = []
      let after: string | undefined
      do {
        const query = after === undefined ? '' : `&after=${after}`
        const page = await (await node.ask(`/v1/runs?limit=2${query}`)).json()
        const { items, next } = page as { items: Run[]; next?: string }
        expect(items.length).toBeLessThanOrEqual(2)
        listed.push(...items.map(({ id }) => id))
        after = next
      } while (after !== undefined)
      expect(listed.slice(0, 5)).toEqual(ids)
      expect(new Set(listed).size).toBe(listed.length)
    })
  })
})

describe('a node that is full', () => {
  test('refuses more with 429 and says when to come back', async () => {
    const dispatcher = { queueMax: 1, spoolMax: 1 }
    const node = await startNode({ ephemeral: true, dispatcher })
    try {
      const first = await node.submit(sleepLine(60_000).repeat(3))
      expect(await answerOf(first)).toMatchObject({ accepted: 3 })
      const response = await node.submit(noops(1))
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await problemOf(response)).toMatchObject({ status: 429, code: 'NOT_ACCEPTING_FULL' })
    } finally {
      await node.node.stop(0)
    }
  })

  test('set to wait takes it when there is room', async () => {
    const dispatcher = { queueMax: 1, spoolMax: 1, whenFull: 'wait' } as const
    const node = await startNode({ ephemeral: true, dispatcher })
    try {
      const first = node.run(sleepLine(50).repeat(4))
      const second = node.run(noops(10))
      expect((await first).counts.ok).toBe(4)
      expect((await second).counts.ok).toBe(10)
    } finally {
      await node.node.stop()
    }
  })
})

describe('a node that does not dispatch', () => {
  test('refuses a run with 503', async () => {
    const node = await startNode({ ephemeral: true, node: { roles: ['worker', 'collector'] } })
    try {
      const response = await node.submit(noops(1))
      expect(response.headers.get('retry-after')).toBe('5')
      expect((await problemOf(response)).status).toBe(503)
    } finally {
      await node.node.stop()
    }
  })
})

describe('a node whose Redis is full', () => {
  test('answers 503 with the reason, and takes runs again when there is room', async () => {
    const server = await startRedis()
    const node = await startNode({ redis: { url: server.url }, log: { level: 'error' } })
    const redis = new Redis(server.path)
    try {
      await redis.config('SET', 'maxmemory', '1mb')
      const response = await node.submit(noops(1))
      expect(response.headers.get('retry-after')).toBe('2')
      const problem = await problemOf(response)
      expect(problem).toMatchObject({ status: 503, code: 'REDIS_REFUSES' })
      expect(problem.detail).toContain('OOM')
      await redis.config('SET', 'maxmemory', '0')
      // The node looks once a second.
      await eventually(async () =>
        expect(await node.run(noops(3))).toMatchObject({ counts: { ok: 3 } }),
      )
    } finally {
      await redis.quit()
      await node.node.stop()
      await server.stop()
    }
  })
})
