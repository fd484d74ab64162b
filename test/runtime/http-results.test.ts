import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { connect } from 'node:net'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { readEvents, type ServerEvent } from '../../runtime/client-stream.ts'
import { eventually } from '../kit/eventually.ts'
import type { RedisServer } from '../kit/redis.ts'
import {
  answerOf,
  ndjson,
  noops,
  openBody,
  problemOf,
  type StartedNode,
  sleepLine,
  worlds,
} from './started-node.ts'

function hashOf(text: string): string {
  return new Bun.CryptoHasher('sha256').update(text).digest('hex')
}

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

  async function eventsOf(run: string, headers = {}): Promise<ServerEvent[]> {
    const response = await node.ask(`/v1/runs/${run}/events`, { headers })
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    if (response.body === null) throw new Error('expected a body, got none')
    return Array.fromAsync(readEvents(response.body))
  }

  describe('gives results', () => {
    const total = 4500
    const odd = (seq: number) => seq % 2 === 1
    let run: Run
    beforeAll(async () => {
      const line = (seq: number) =>
        odd(seq)
          ? `{"kind":"fail","id":"t-${seq}","attempts":1}`
          : `{"kind":"noop","id":"t-${seq}"}`
      run = await node.run(Array.from({ length: total }, (_, seq) => line(seq)).join('\n'))
      expect(run.counts).toMatchObject({ ok: total / 2, failed: total / 2, pending: 0 })
    })

    const seqs = (lines: readonly ResultLine[]) => lines.map(({ seq }) => seq)

    test('runs come as lines where lines are asked for, all of them or so many', async () => {
      for (let more = 0; more < 3; more += 1) await node.run(noops(1))
      const linesOf = async (query: string) => {
        const response = await node.ask(`/v1/runs${query}`, { headers: { accept: ndjson } })
        expect(response.headers.get('content-type')).toBe(ndjson)
        const lines = (await response.text()).split('\n')
        expect(lines.pop()).toBe('')
        return lines.map((line) => JSON.parse(line) as Run)
      }
      const response = await node.ask('/v1/runs?limit=1000')
      const { items } = (await response.json()) as { items: Run[] }
      const [first, second, third] = items
      expect(items.length).toBeGreaterThan(3)
      expect(await linesOf('')).toEqual(items)
      expect(await linesOf(`?after=${first?.id}&limit=2`)).toEqual([second, third] as Run[])
    })

    async function streamed(query: string): Promise<ResultLine[]> {
      const path = `/v1/runs/${run.id}/results${query}`
      const response = await node.ask(path, { headers: { accept: ndjson } })
      expect(response.headers.get('content-type')).toBe(ndjson)
      const text = await response.text()
      expect(text === '' || text.endsWith('\n')).toBe(true)
      const lines = text.split('\n').slice(0, -1)
      return lines.map((line) => JSON.parse(line) as ResultLine)
    }

    test('page by page', async () => {
      const found: ResultLine[] = []
      let after: string | undefined
      do {
        const query = after === undefined ? '' : `&after=${after}`
        const response = await node.ask(`/v1/runs/${run.id}/results?limit=1000${query}`)
        const { items, next } = (await response.json()) as { items: ResultLine[]; next?: string }
        found.push(...items)
        after = next
      } while (after !== undefined)
      expect(seqs(found)).toEqual(Array.from({ length: total }, (_, seq) => seq))
      expect(found[0]).toMatchObject({
        run: run.id,
        seq: 0,
        id: 't-0',
        kind: 'noop',
        outcome: 'ok',
      })
      expect(found.every(({ outcome, seq }) => outcome === (odd(seq) ? 'failed' : 'ok'))).toBe(true)
    })

    test('a hundred at a time, if nothing else is said', async () => {
      const response = await node.ask(`/v1/runs/${run.id}/results`)
      const { items, next } = (await response.json()) as { items: ResultLine[]; next?: string }
      expect([items.length, next]).toEqual([100, '99'])
    })

    test('as a stream, of any length, after any seq', async () => {
      expect(seqs(await streamed(''))).toEqual(Array.from({ length: total }, (_, seq) => seq))
      expect(seqs(await streamed('?after=4497'))).toEqual([4498, 4499])
      expect(await streamed('?limit=3')).toHaveLength(3)
      expect(await streamed('?limit=0')).toEqual([])
    })

    test('of the outcomes asked for', async () => {
      const failed = await streamed('?outcome=failed')
      expect(failed).toHaveLength(total / 2)
      expect(failed.every(({ seq, outcome }) => odd(seq) && outcome === 'failed')).toBe(true)
      expect(await streamed('?outcome=failed,ok&limit=10')).toHaveLength(10)
      expect(await streamed('?outcome=dead,timeout')).toEqual([])
      const page = await node.ask(`/v1/runs/${run.id}/results?outcome=failed&limit=2`)
      const { items, next } = (await page.json()) as { items: ResultLine[]; next?: string }
      expect([seqs(items), next]).toEqual([[1, 3], '3'])
    })

    test('of no outcome that does not exist', async () => {
      const problem = await problemOf(await node.ask(`/v1/runs/${run.id}/results?outcome=good`))
      expect(problem).toMatchObject({ status: 400 })
      expect(problem.detail).toStartWith('outcome: expected one of ok, failed')
    })
  })

  describe('tells of progress', () => {
    test('by events with ids, the last one done', async () => {
      const { run } = await answerOf(await node.submit(sleepLine(20) + sleepLine(600)))
      const events = await eventsOf(run)
      expect(events.length).toBeGreaterThanOrEqual(2)
      expect(events.map(({ event }) => event).slice(0, -1)).not.toContain('done')
      const done = events.at(-1)
      expect(done).toMatchObject({ event: 'done', id: '2' })
      expect(JSON.parse(done?.data ?? '')).toEqual(await node.get(run))
      const ids = events.map(({ id }) => Number(id))
      expect(ids).toEqual(ids.toSorted((a, b) => a - b))
    })

    test('of what is over at once, also to who comes back', async () => {
      const { id } = await node.run(noops(3))
      for (const headers of [{}, { 'last-event-id': '1' }]) {
        expect(await eventsOf(id, headers)).toMatchObject([{ event: 'done', id: '3' }])
      }
    })

    test('to any number of watchers, and forgets who leaves', async () => {
      const { body, give, end } = openBody()
      give(noops(1))
      const opened = await node.submit(body)
      const id = opened.headers.get('location')?.split('/').at(-1) ?? ''
      const left = new AbortController()
      const gone = await node.ask(`/v1/runs/${id}/events`, { signal: left.signal })
      await gone.body?.getReader().read()
      left.abort()
      const watchers = [eventsOf(id), eventsOf(id), eventsOf(id)]
      give(noops(1))
      end()
      for (const events of await Promise.all(watchers)) {
        expect(events.at(-1)).toMatchObject({ event: 'done', id: '2' })
      }
    })
  })

  describe('reads a source that goes on and on', () => {
    test('names the run early, runs what is there, and tells the rest at the end', async () => {
      const { body, give, end } = openBody()
      give(noops(10))
      const response = await node.submit(body)
      expect(response.status).toBe(202)
      const id = response.headers.get('location')?.split('/').at(-1) ?? ''
      await eventually(async () => {
        const run = await node.get(id)
        expect(run).toMatchObject({ state: 'accepting', total: 10, counts: { ok: 10 } })
      })
      give(`${noops(5)}nonsense`)
      await eventually(async () => expect((await node.get(id)).counts.ok).toBe(15))
      end()
      expect(await answerOf(response)).toMatchObject({
        run: id,
        accepted: 15,
        rejectedCount: 1,
        rejected: [{ line: 16 }],
      })
      expect(await eventsOf(id)).toMatchObject([{ event: 'done', id: '15' }])
    })

    test('twice at once, and goes on with the second when the first breaks off', async () => {
      const text = noops(500)
      const headers = { 'muster-content': hashOf(`${text}of the second`) }
      const { body, give } = openBody()
      const left = new AbortController()
      give(noops(10))
      const first = await node.ask('/v1/runs', {
        method: 'POST',
        body,
        headers: { 'content-type': ndjson, ...headers },
        signal: left.signal,
      })
      const run = first.headers.get('location')?.split('/').at(-1) ?? ''
      await eventually(async () => expect((await node.get(run)).counts.ok).toBe(10))
      const second = await node.submit(text, headers)
      expect(second.headers.get('location')).toBe(`/v1/runs/${run}`)
      left.abort()
      expect(await answerOf(second)).toMatchObject({ run, accepted: 500, resumed: true })
      await eventsOf(run)
      expect(await node.get(run)).toMatchObject({ state: 'completed', counts: { ok: 500 } })
    })

    test.each(['chunked', 'with a length'])(
      'cut off in mid-upload (%s), it stays open and is resumed by its content',
      async (how) => {
        const lines = Array.from(
          { length: 300 },
          (_, seq) => `{"kind":"noop","id":"${how} ${seq}"}\n`,
        )
        const text = lines.join('')
        const content = hashOf(text)
        const part = text.slice(0, text.length / 2)
        const framed = how === 'chunked'
        const head = [
          'POST /v1/runs HTTP/1.1',
          `Host: ${new URL(node.url).host}`,
          `Content-Type: ${ndjson}`,
          `Muster-Content: ${content}`,
          framed ? 'Transfer-Encoding: chunked' : `Content-Length: ${Buffer.byteLength(text)}`,
        ]
        const socket = connect(Number(new URL(node.url).port), '127.0.0.1')
        let heard = ''
        socket.on('data', (data) => {
          heard += String(data)
        })
        const size = Buffer.byteLength(part).toString(16)
        socket.write(`${head.join('\r\n')}\r\n\r\n${framed ? `${size}\r\n${part}\r\n` : part}`)
        const id = await eventually(() => {
          const found = /location: \/v1\/runs\/(\S+)/i.exec(heard)?.[1]
          expect(found).toBeDefined()
          return found ?? ''
        })
        await eventually(async () => expect((await node.get(id)).counts.ok).toBeGreaterThan(100))
        socket.destroy()
        // Until the node has noticed, the same content adds nothing to what is being read.
        const resumed = await eventually(async () => {
          const response = await node.submit(text, { 'muster-content': content })
          expect(response.status).toBe(202)
          return answerOf(response)
        })
        expect(resumed).toMatchObject({ run: id, resumed: true, accepted: 300, rejectedCount: 0 })
        await eventsOf(id)
        expect(await node.get(id)).toMatchObject({ state: 'completed', counts: { ok: 300 } })
      },
    )
  })
})
