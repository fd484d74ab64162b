/** Dead letters of mailboxes from outside: over HTTP, and by the command line without a node. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import type { Letters } from '../../actors/ports-letters.ts'
import { bullMailboxes } from '../../runtime/mailbox/bullmq.ts'
import { redisLetters } from '../../runtime/redis/letters.ts'
import { letterOf, messageLetter } from '../conformance/letters.ts'
import { message } from '../conformance/mailboxes.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { musterIn } from './cli-process.ts'
import { problemOf, type StartedNode, startNode } from './started-node.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }

let server: RedisServer
let redis: Redis
let letters: Letters
beforeAll(async () => {
  server = await startRedis()
  redis = new Redis(server.path, { maxRetriesPerRequest: null })
})
beforeEach(async () => {
  await redis.flushall()
  letters = redisLetters({ redis })
})
afterAll(async () => {
  redis.disconnect()
  await server.stop()
})

const noop = { kind: 'noop', task: { kind: 'noop', input: {} } }

async function withNode(act: (node: StartedNode) => Promise<void>): Promise<void> {
  const started = await startNode({ redis: { url: server.url } })
  try {
    await act(started)
  } finally {
    await started.node.stop()
  }
}

interface Listed {
  items: Record<string, unknown>[]
  next?: string
}

describe('over HTTP', () => {
  const get = async ({ ask }: StartedNode, query = '') =>
    (await (await ask(`/v1/deadletters${query}`)).json()) as Listed
  const post = ({ ask }: StartedNode, body: unknown) => {
    const headers = { 'content-type': 'application/json' }
    return ask('/v1/deadletters/redrive', { method: 'POST', headers, body: JSON.stringify(body) })
  }

  test('letters are listed page by page, and one is shown whole', async () => {
    for (let seq = 0; seq < 5; seq += 1) await letters.put([letterOf('r-1', seq)])
    await letters.put([messageLetter('m-1')])
    await withNode(async (node) => {
      const first = await get(node, '?limit=4')
      expect(first.items.map(({ id }) => id)).toEqual(['work.job/m-1', 'r-1.4', 'r-1.3', 'r-1.2'])
      expect(first.items[1]).toMatchObject({ scope: 'mailbox', reason: 'poison', redrives: 0 })
      expect(first.items[1]?.['task']).toBeUndefined()
      const rest = await get(node, `?limit=4&after=${first.next}`)
      expect(rest.items.map(({ id }) => id)).toEqual(['r-1.1', 'r-1.0'])
      expect(rest.next).toBeUndefined()
      expect((await get(node, '?reason=schema')).items.length).toBe(1)
      expect((await get(node, '?run=r-1&reason=schema')).items).toEqual([])
      const [whole] = (await get(node, `?id=${encodeURIComponent('work.job/m-1')}`)).items
      expect(whole).toMatchObject({ message: { id: 'm-1' } })
      expect((await get(node, '?id=r-9.9')).items).toEqual([])
    })
  })

  test('redriven tasks run, in a run whose parent is the old one', async () => {
    await letters.put([letterOf('r-1', 0, noop), letterOf('r-1', 1, noop)])
    await withNode(async (node) => {
      const answer = await post(node, { filter: { kind: 'noop' }, reason: 'mended' })
      expect(answer.status).toBe(200)
      const { redriven } = (await answer.json()) as { redriven: { id: string; run: string }[] }
      expect(redriven.map(({ id }) => id)).toEqual(['r-1.0', 'r-1.1'])
      const run = redriven[0]?.run ?? ''
      await eventually(async () => {
        expect(await node.get(run)).toMatchObject({ state: 'completed', counts: { ok: 2 } })
      })
      expect(await node.get(run)).toMatchObject({ parent: 'r-1', reason: 'mended' })
      expect((await get(node, '?state=open')).items).toEqual([])
    })
  })

  test.each([
    [{ ids: ['r-1.0'] }, 'reason'],
    [{ reason: 'because' }, 'expected ids or a filter'],
    [{ ids: ['r-1.0'], filter: {}, reason: 'because' }, 'both'],
    [{ ids: [], reason: 'because' }, 'ids'],
    [{ filter: { color: 'red' }, reason: 'because' }, 'color'],
    [{ filter: { reason: 'bad luck' }, reason: 'because' }, 'filter.reason'],
    [{ filter: {}, reason: ' ' }, 'reason'],
  ])('%j is refused', async (body, words) => {
    await letters.put([letterOf('r-1', 0, noop)])
    await withNode(async (node) => {
      const problem = await problemOf(await post(node, body))
      expect([problem.status, problem.detail]).toEqual([400, expect.stringContaining(words)])
      expect((await get(node)).items).toMatchObject([{ redrives: 0 }])
      expect((await problemOf(await node.ask('/v1/deadletters?limit=0'))).status).toBe(400)
    })
  })

  test('results of a newer node are kept, counted, and not sent back too early', async () => {
    const sender = bullMailboxes({
      connect: () => new Redis(server.path, { maxRetriesPerRequest: null }),
      lockMs: 4000,
      stalledIntervalMs: 2000,
      log,
    })
    await withNode(async (node) => {
      const newer = message('results', 'newer')
      const body = { ...newer.body, v: 2 } as unknown as typeof newer.body
      await sender.send([{ ...newer, body }])
      await eventually(async () => {
        expect((await get(node)).items).toMatchObject([
          { id: 'results/newer', reason: 'schema', run: 'r-conformance' },
        ])
        expect(await sender.depth('results')).toEqual({ waiting: 0, active: 0, delayed: 0 })
      })
      const { refused } = (await (
        await post(node, { ids: ['results/newer'], reason: 'try' })
      ).json()) as { refused: unknown[] }
      expect(refused).toMatchObject([{ code: 'ENVELOPE_VERSION' }])
      expect(await (await node.ask('/metrics')).text()).toContain(
        'muster_deadletters_total{mailbox="results",reason="schema"} 1',
      )
    })
    await sender.close()
  })
})

describe('by the command line, with no node alive', () => {
  const folder = temporaryDirectory()
  const muster = (words: string[]) =>
    musterIn(folder)(['--redis', server.url, 'deadletters', ...words])

  test('ls, show and redrive work on what is in Redis', async () => {
    await letters.put([letterOf('r-1', 0, noop), letterOf('r-1', 1), messageLetter('m-1')])
    const table = await muster(['ls', '--run', 'r-1'])
    expect(table.code).toBe(0)
    const rows = table.out.trimEnd().split('\n')
    expect(rows[0]).toMatch(/^ID +AGE +REASON +MAILBOX +KIND +STATE +REDRIVES +ERROR$/)
    expect(rows.slice(1).map((row) => row.split(/ +/)[0])).toEqual(['r-1.1', 'r-1.0'])
    const lines = (await muster(['ls', '--json', '--reason-class', 'schema'])).out
      .trim()
      .split('\n')
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { scope: 'mailbox', id: 'work.job/m-1', reason: 'schema', state: 'open' },
    ])
    const shown = await muster(['show', 'r-1.0'])
    expect(shown.out).toMatch(/^reason +poison$/m)
    expect(shown.out).toMatch(/^crashes +work\.job on n-1, which began it at 1970/m)
    expect(JSON.parse((await muster(['show', 'r-1.0', '--json'])).out)).toMatchObject({
      task: { kind: 'noop' },
    })

    const done = await muster(['redrive', 'r-1.0', '--reason', 'mended', '--json'])
    expect(done.code).toBe(0)
    const { redriven } = JSON.parse(done.out) as { redriven: { run: string }[] }
    expect(done.err).toContain('no node runs here')
    await withNode(async (node) => {
      await eventually(async () => {
        const run = await node.get(redriven[0]?.run ?? '')
        expect(run).toMatchObject({ state: 'completed', parent: 'r-1', counts: { ok: 1 } })
      })
    })
  })

  test('what cannot be done says why', async () => {
    await letters.put([letterOf('r-1', 0, noop)])
    expect(await muster(['redrive', 'r-1.0'])).toMatchObject({
      code: 64,
      err: expect.stringContaining('--reason TEXT'),
    })
    expect(await muster(['redrive', '--reason', 'because'])).toMatchObject({
      code: 64,
      err: expect.stringContaining('expected IDs or a filter'),
    })
    expect(await muster(['show', 'r-9.9'])).toMatchObject({ code: 66 })
    expect(await muster(['redrive', 'r-9.9', '--reason', 'because'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no such dead letter'),
    })
    expect(await muster(['ls', '--kind', 'other'])).toMatchObject({ code: 0, out: '' })
  })
})
