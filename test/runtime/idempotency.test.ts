import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { z } from 'zod'
import type { Run } from '../../actors/ports-runs.ts'
import { defineTask } from '../../runtime/index.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import {
  type Answer,
  answerOf,
  noops,
  openBody,
  type Problem,
  problemOf,
  type StartedNode,
  startNode,
} from './started-node.ts'

/** How often each was run, over all nodes. */
const effects = new Map<string, number>()
const count = defineTask({
  kind: 'count',
  input: z.object({ name: z.string() }),
  profile: 'io',
  run: async ({ name }) => {
    effects.set(name, (effects.get(name) ?? 0) + 1)
  },
})
const countLine = (name: string) => `{"kind":"count","input":{"name":"${name}"}}\n`
const countLines = (prefix: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => countLine(`${prefix}-${from + index}`)).join('')
const effectsOf = (prefix: string) => [...effects].filter(([name]) => name.startsWith(`${prefix}-`))

let keys = 0
const newKey = () => {
  keys += 1
  return `key ${keys}`
}
const under = (key: string) => ({ 'idempotency-key': key })

async function ended(node: StartedNode, run: string): Promise<Run> {
  await (await node.ask(`/v1/runs/${run}/events`)).text()
  return node.get(run)
}

test('a spool on the move is moved on by whoever goes on with its source', async () => {
  const redis = await startRedis()
  const dispatcher = { queueMax: 10 }
  const start = (id: string) =>
    startNode({ redis: { url: redis.url }, tasks: [count], node: { id }, dispatcher })
  const [one, two] = [await start('one'), await start('two')]
  try {
    for (let round = 0; round < 5; round += 1) {
      const key = newKey()
      const first = openBody()
      const left = new AbortController()
      first.give(countLines(key, 0, 600))
      const submitted = await fetch(`${one.url}/v1/runs`, {
        method: 'POST',
        body: first.body,
        headers: { 'content-type': 'application/x-ndjson', ...under(key) },
        signal: left.signal,
      })
      const run = submitted.headers.get('location')?.split('/').at(-1) ?? ''
      await eventually(async () => expect((await one.get(run)).total).toBe(600))
      left.abort()
      const again = await two.submit(countLines(key, 0, 700), under(key))
      expect(await answerOf(again)).toMatchObject({ run, accepted: 700 })
      const { counts } = await ended(two, run)
      expect(counts).toMatchObject({ ok: 700, pending: 0 })
    }
  } finally {
    await one.node.stop(0)
    await two.node.stop(0)
    await redis.stop()
  }
})

const worlds: [
  string,
  () => Promise<{ nodes: [StartedNode, StartedNode]; redis?: RedisServer }>,
][] = [
  [
    'in memory',
    async () => {
      const node = await startNode({ ephemeral: true, tasks: [count] })
      return { nodes: [node, node] }
    },
  ],
  [
    'of two nodes on Redis',
    async () => {
      const redis = await startRedis()
      const start = (id: string) =>
        startNode({ redis: { url: redis.url }, tasks: [count], node: { id } })
      return { redis, nodes: [await start('one'), await start('two')] }
    },
  ],
]

describe.each(worlds)('a world %s', (_world, open) => {
  let one: StartedNode
  let two: StartedNode
  let redis: RedisServer | undefined
  beforeAll(async () => {
    const opened = await open()
    ;[one, two] = opened.nodes
    redis = opened.redis
  })
  afterAll(async () => {
    await one.node.stop()
    await two.node.stop()
    await redis?.stop()
  })

  const json = (body: unknown, key: string) =>
    one.ask('/v1/runs', {
      method: 'POST',
      body: JSON.stringify(body, undefined, 2),
      headers: { 'content-type': 'application/json', ...under(key) },
    })
  const refused = async (response: Promise<Response>): Promise<Problem> => {
    const problem = await problemOf(await response)
    expect(problem).toMatchObject({ status: 409, code: 'IDEMPOTENCY_CONFLICT' })
    return problem
  }

  describe('gives under one key', () => {
    test('the first run with 200, while it lives and when it is over', async () => {
      const key = newKey()
      const body = `${countLines(key, 0, 5)}nonsense\n`
      const first = await one.submit(body, under(key))
      expect(first.status).toBe(202)
      const answer = await answerOf(first)
      for (const node of [one, two]) {
        const again = await node.submit(body, under(key))
        expect(again.status).toBe(200)
        expect(again.headers.get('location')).toBe(`/v1/runs/${answer.run}`)
        expect(await answerOf(again)).toEqual({ ...answer, resumed: true })
        await ended(node, answer.run)
      }
      expect(effectsOf(key).map(([, times]) => times)).toEqual([1, 1, 1, 1, 1])
      expect(answer).toMatchObject({ accepted: 5, rejectedCount: 1 })
    })

    test('one run for lines that differ in nothing but blank ones and the last end', async () => {
      const key = newKey()
      const { run } = await answerOf(await one.submit(noops(2), under(key)))
      const same = await two.submit(`\n{"kind":"noop"}\n \t\n\n{"kind":"noop"}`, under(key))
      expect([same.status, (await answerOf(same)).run]).toEqual([200, run])
    })

    test('one run for a JSON body and the lines it stands for', async () => {
      const key = newKey()
      const tasks = [{ kind: 'noop' }, { kind: 'noop', id: 'b', input: { deep: [1, 'ü'] } }]
      const first = await json({ tasks }, key)
      expect(first.status).toBe(202)
      const { run } = await answerOf(first)
      const again = await json({ tasks, reason: 'again' }, key)
      expect([again.status, (await answerOf(again)).run]).toEqual([200, run])
      const lines = tasks.map((task) => JSON.stringify(task)).join('\n')
      expect((await two.submit(lines, under(key))).status).toBe(200)
      await refused(json({ tasks: tasks.toReversed() }, key))
    })

    test('the empty run to who brings nothing', async () => {
      const key = newKey()
      const { run } = await answerOf(await one.submit('', under(key)))
      const again = await two.submit('\n\n', under(key))
      expect([again.status, (await answerOf(again)).run]).toEqual([200, run])
      await refused(one.submit(noops(1), under(key)))
    })

    test('409 for another body, with the run and how far it is, and runs nothing', async () => {
      const key = newKey()
      const body = countLines(key, 0, 3)
      const { run } = await answerOf(await one.submit(body, under(key)))
      const others = {
        'another line': countLines(key, 0, 2) + countLine('other'),
        'another order': countLine(`${key}-1`) + countLine(`${key}-0`) + countLine(`${key}-2`),
        'one more': countLines(key, 0, 4),
        'one fewer': countLines(key, 0, 2),
        nothing: '',
        'white space in a line': body.replace('{', '{ '),
        'a line too long': body + 'x'.repeat(1_100_000),
      }
      for (const [what, other] of Object.entries(others)) {
        for (const node of [one, two]) {
          const { detail } = await refused(node.submit(other, under(key)))
          expect({ what, detail }).toEqual({ what, detail: expect.stringContaining(run) })
          expect(detail).toMatch(/\b3 lines\b/)
        }
      }
      await ended(one, run)
      expect(await one.get(run)).toMatchObject({ total: 3, counts: { ok: 3 } })
      expect(effects.has('other')).toBe(false)
      expect(effectsOf(key).map(([, times]) => times)).toEqual([1, 1, 1])
    })

    test('409 where only the end of a line that is too long is another', async () => {
      const key = newKey()
      const long = 'x'.repeat(1_500_000)
      const { rejectedCount } = await answerOf(await one.submit(`${long}a\n`, under(key)))
      expect(rejectedCount).toBe(1)
      expect((await two.submit(`${long}a\n`, under(key))).status).toBe(200)
      await refused(two.submit(`${long}b\n`, under(key)))
    })

    test('what its lines are, whatever is claimed of them', async () => {
      const key = newKey()
      const content = { 'muster-content': 'a'.repeat(64) }
      const { run } = await answerOf(await one.submit(noops(1), { ...content, ...under(key) }))
      const other = { 'muster-content': 'b'.repeat(64) }
      const same = await two.submit(noops(1), { ...other, ...under(key) })
      expect([same.status, (await answerOf(same)).run]).toEqual([200, run])
      await refused(two.submit(noops(2), { ...content, ...under(key) }))
      // Without the key it is another matter.
      const unnamed = await answerOf(await one.submit(noops(1), content))
      expect(unnamed.run).not.toBe(run)
      const another = await one.submit(noops(1), { ...content, ...under(newKey()) })
      expect([another.status, (await answerOf(another)).run]).not.toContain(unnamed.run)
    })
  })

  describe('a source that goes on and on', () => {
    test('is waited for by the same, which is compared to its end', async () => {
      const key = newKey()
      const [first, same, other] = [openBody(), openBody(), openBody()]
      const head = countLines(key, 0, 3)
      first.give(head)
      const answered = await one.submit(first.body, under(key))
      const run = answered.headers.get('location')?.split('/').at(-1) ?? ''
      await eventually(async () => expect((await one.get(run)).total).toBe(3))
      same.give(head)
      other.give(head)
      const [waiting, refusal] = [same, other].map(({ body }) => two.submit(body, under(key)))
      first.give(countLines(key, 3, 6))
      same.give(countLines(key, 3, 6))
      other.give(countLines(key, 4, 7))
      if (refusal !== undefined) await refused(refusal)
      first.end()
      same.end()
      expect(await answerOf(answered)).toMatchObject({ run, accepted: 6 })
      const again = await waiting
      expect([again?.status, await again?.json()]).toMatchObject([200, { run, accepted: 6 }])
      await ended(one, run)
      expect(effectsOf(key).map(([, times]) => times)).toEqual([1, 1, 1, 1, 1, 1])
    })

    test.each(['one', 'two'])('and breaks off is gone on with, on node %s', async (where) => {
      const key = newKey()
      const first = openBody()
      first.give(countLines(key, 0, 4))
      const left = new AbortController()
      const submitted = fetch(`${one.url}/v1/runs`, {
        method: 'POST',
        body: first.body,
        headers: { 'content-type': 'application/x-ndjson', ...under(key) },
        signal: left.signal,
      })
      const run = (await submitted).headers.get('location')?.split('/').at(-1) ?? ''
      await eventually(async () => expect((await one.get(run)).total).toBe(4))
      const heir = where === 'one' ? one : two
      const conflicting = await problemOf(await heir.submit(countLines(key, 1, 9), under(key)))
      expect(conflicting).toMatchObject({ status: 409, code: 'IDEMPOTENCY_CONFLICT' })
      expect(conflicting.detail).toContain('first 4 lines')
      left.abort()
      const again = await heir.submit(countLines(key, 0, 9), under(key))
      expect(again.status).toBe(200)
      expect(await answerOf(again)).toMatchObject({ run, accepted: 9, resumed: true })
      const { counts } = await ended(heir, run)
      expect(counts).toMatchObject({ ok: 9, pending: 0 })
      expect(effectsOf(key).map(([, times]) => times)).toEqual(Array(9).fill(1))
      // What went on with it counts from now on.
      expect((await one.submit(countLines(key, 0, 9), under(key))).status).toBe(200)
      await refused(one.submit(countLines(key, 0, 4), under(key)))
    })
  })

  test('a hundred at once from two nodes are one run, and every task has one effect', async () => {
    const key = newKey()
    const body = countLines(key, 0, 300)
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const response = await (index % 2 === 0 ? one : two).submit(body, under(key))
        return { status: response.status, answer: (await response.json()) as Answer }
      }),
    )
    const [many, opening] = [200, 202].map((of) => answers.filter(({ status }) => status === of))
    expect([many?.length, opening?.length]).toEqual([99, 1])
    expect(new Set(answers.map(({ answer: { run } }) => run)).size).toBe(1)
    expect(new Set(answers.map(({ answer: { accepted } }) => accepted))).toEqual(new Set([300]))
    const { counts, total } = await ended(one, answers[0]?.answer.run ?? '')
    expect([total, counts.ok]).toEqual([300, 300])
    expect(effectsOf(key)).toHaveLength(300)
    expect(new Set(effectsOf(key).map(([, times]) => times))).toEqual(new Set([1]))
  })

  test('of two bodies sent at once under one key, one is run and the other refused', async () => {
    const key = newKey()
    const bodies = [countLines(`${key}a`, 0, 40), countLines(`${key}b`, 0, 40)]
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        (index % 4 < 2 ? one : two).submit(bodies[index % 2] ?? '', under(key)),
      ),
    )
    const statuses = answers.map(({ status }) => status)
    const won = statuses.indexOf(202) % 2
    statuses.forEach((status, index) => {
      expect(index % 2 === won ? [200, 202] : [409]).toContain(status)
    })
    const { run } = await answerOf(answers[statuses.indexOf(202)] ?? new Response('{}'))
    await ended(one, run)
    expect(effectsOf(`${key}${won === 0 ? 'a' : 'b'}`)).toHaveLength(40)
    expect(effectsOf(`${key}${won === 0 ? 'b' : 'a'}`)).toHaveLength(0)
  })

  describe('tasks of one dedupeKey', () => {
    const line = (key: string, more: object = {}) =>
      `${JSON.stringify({ kind: 'count', input: { name: `${key}-0` }, dedupeKey: key, ...more })}\n`

    test('run once, in whichever run, and the others say who has it', async () => {
      const key = newKey()
      const first = await one.run(line(key) + noops(1) + line(key))
      expect(first.counts).toMatchObject({ ok: 2, unreached: 1 })
      const second = await two.run(line(key))
      expect(second).toMatchObject({ state: 'completed', total: 1, counts: { unreached: 1 } })
      // Which of them keeps the results is decided by a lease.
      const task = `/v1/runs/${second.id}/tasks/0`
      const answers = await Promise.all([one, two].map((node) => node.ask(task)))
      const found = answers.find(({ ok }) => ok) ?? new Response('{}')
      const { result } = (await found.json()) as {
        result: { outcome: string; error: { code: string; message: string } }
      }
      expect(result).toMatchObject({ outcome: 'unreached', error: { code: 'DUPLICATE' } })
      expect(result.error.message).toContain(`${first.id}/0`)
      expect(effects.get(`${key}-0`)).toBe(1)
    })

    test('run again after its time', async () => {
      const key = newKey()
      await one.run(line(key, { dedupeTtlMs: 200 }))
      await eventually(async () => {
        const { counts } = await two.run(line(key, { dedupeTtlMs: 200 }))
        expect(counts.ok).toBe(1)
      })
      expect(effects.get(`${key}-0`)).toBe(2)
    })

    test('a time without a key is refused', async () => {
      const run = await one.run('{"kind":"noop","dedupeTtlMs":5}')
      expect(run.rejected).toMatchObject([
        { line: 1, path: 'dedupeTtlMs', message: 'expected a "dedupeKey" beside it, got 5 alone' },
      ])
    })
  })
})
