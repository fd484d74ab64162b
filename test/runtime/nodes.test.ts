import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import picocolors from 'picocolors'
import { type NodeLine, nodeLineOf } from '../../actors/membership.ts'
import type { MemberRecord, NodeRequest } from '../../actors/ports-fleet.ts'
import { unknownEndpoint } from '../../machines/prober.ts'
import { nodeTable } from '../../runtime/cli/nodes.ts'
import { connect } from '../../runtime/client.ts'

import { nodeRoutes } from '../../runtime/http/nodes.ts'
import { problemOf } from '../../runtime/http/problem.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { memberOf } from '../conformance/members.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { musterIn } from './cli-process.ts'

const staleMs = 30_000
const startMs = 1_700_000_000_000
let now = startMs
const members = memoryMembers(() => now)
/** Reasons for which this node, `a`, was told to drain. */
const told: string[] = []
const endpoint = { name: 'web', url: 'http://web/health', ...unknownEndpoint, isUsable: true }
const routes = nodeRoutes({
  list: () => members.list(staleMs),
  endpoints: async () => [endpoint],
  ask: ({ id, boot }, request) => members.ask(id, boot, request),
  id: 'a',
  boot: 'a1',
  drain: (reason) => told.push(reason),
  isDraining: () => told.length > 0,
})
routes.onError(problemOf)

let server: Bun.Server<undefined>
beforeAll(async () => {
  await members.beat(memberOf('b', 'b1', { host: 'h2', pid: 7 }), { staleMs })
  now += 40_000
  await members.beat(memberOf('a', 'a1', { labels: {}, state: 'draining' }), { staleMs })
  await members.beat(memberOf('b', 'b2'), { staleMs })
  server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch: (request) =>
      new URL(request.url).pathname === '/healthz' ? new Response('ok') : routes.fetch(request),
  })
})
afterAll(() => server.stop(true))

const fields = 'id boot pid host state roles labels kinds load lastSeen'.split(' ')
const [a, b, dead] = [
  { id: 'a', boot: 'a1', state: 'draining', labels: {}, lastSeen: startMs + 40_000 },
  { id: 'b', boot: 'b2', state: 'alive', lastSeen: startMs + 40_000 },
  { id: 'b', boot: 'b1', state: 'dead', pid: 7, host: 'h2', lastSeen: startMs },
]

describe('GET /v1/nodes', () => {
  test('lists every node, the dead ones too, with what is public and no more', async () => {
    const response = await routes.request('/v1/nodes')
    expect(response.status).toBe(200)
    const { items } = (await response.json()) as { items: Record<string, unknown>[] }
    expect(items).toMatchObject([a, b, dead])
    for (const item of items) expect(Object.keys(item)).toEqual(fields)
  })

  test('is read by the client', async () => {
    const muster = await connect({ url: server.url.href })
    const listed = await members.list(staleMs)
    expect(await muster.nodes()).toEqual(listed.map(nodeLineOf))
  })
})

test('GET /v1/endpoints lists the hosts that are probed, and is read by the client', async () => {
  const response = await routes.request('/v1/endpoints')
  expect(await response.json()).toEqual({ items: [endpoint] })
  const muster = await connect({ url: server.url.href })
  expect(await muster.endpoints()).toEqual([endpoint])
})

describe('POST /v1/nodes/:id/drain', () => {
  const drain = async (id: string, body: string): Promise<Record<string, unknown>> => {
    const response = await routes.request(`/v1/nodes/${id}/drain`, { method: 'POST', body })
    const answer = (await response.json()) as Record<string, unknown>
    return { ...answer, status: response.status }
  }

  test('of this node tells it, with the reason, and once more is no news', async () => {
    told.length = 0
    const answer = { status: 202, id: 'a', boot: 'a1', state: 'draining' }
    expect(await drain('a', '{"reason":" a new disk "}')).toEqual(answer)
    expect(await drain('a', '')).toEqual({ ...answer, noop: true })
    expect(told).toEqual(['a new disk', 'no reason was given'])
  })

  test('of another node asks the boot of it that lives', async () => {
    const asked: NodeRequest[] = []
    const unlisten = await members.onAsked('b', 'b2', (request) => asked.push(request))
    const muster = await connect({ url: server.url.href })
    const answer = await muster.drain('b', { reason: 'ä' })
    expect(answer).toEqual({ id: 'b', boot: 'b2', state: 'draining' })
    await unlisten()
    expect(asked).toEqual([{ type: 'drain', reason: 'ä' }])
  })

  test('of one that drains already asks nobody', async () => {
    await members.beat(memberOf('c', 'c1', { state: 'draining' }), { staleMs })
    const answer = { id: 'c', boot: 'c1', state: 'draining', noop: true }
    expect(await drain('c', '{}')).toEqual({ status: 202, ...answer })
    await members.leave('c', 'c1')
  })

  test('of one that does not listen is refused for now, and says where it is', async () => {
    const { status, detail } = await drain('b', '')
    expect(status).toBe(503)
    expect(detail).toContain('pid 100 on host h1')
  })

  test('of one that is dead, or that nobody knows, is a 404', async () => {
    now += staleMs + 1
    expect(await drain('b', '')).toMatchObject({
      status: 404,
      detail: expect.stringContaining('node b is dead'),
    })
    now -= staleMs + 1
    const { status, detail } = await drain('x%20y', '')
    expect([status, detail]).toEqual([404, expect.stringContaining('there is no node x y')])
  })

  test.each(['[]', '{"reason":', '{"reason":7}', '{"reason":" "}'])(
    'with %s for a body is refused, and nobody is told',
    async (body) => {
      told.length = 0
      expect(await drain('a', body)).toMatchObject({ status: 400 })
      expect(told).toEqual([])
    },
  )
})

describe('muster nodes', () => {
  const muster = musterIn(temporaryDirectory())

  test('prints a line for each node', async () => {
    const { out, err, code } = await muster(['nodes', '--url', server.url.href])
    expect({ err, code }).toEqual({ err: '', code: 0 })
    const words = out.split('\n').map((line) => line.split(/ +/).slice(0, 2))
    expect(words).toEqual([
      ['NODE', 'STATE'],
      ['a', 'draining'],
      ['b', 'alive'],
      ['b', 'dead'],
      [''],
    ])
  })

  test('--json prints an object a line, with exactly the fields of the contract', async () => {
    const { out, err, code } = await muster(['nodes', '--json', '--url', server.url.href])
    expect({ err, code }).toEqual({ err: '', code: 0 })
    const lines = out.trimEnd().split('\n')
    const objects = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(objects).toMatchObject([a, b, dead])
    for (const object of objects) expect(Object.keys(object)).toEqual(fields)
  })

  test('without a node says how to get one, exit 69', async () => {
    const { err, code } = await muster(['nodes'])
    expect(code).toBe(69)
    expect(err).toContain('muster start')
  })
})

describe('the table of nodes', () => {
  const plain = picocolors.createColors(false)
  const record: MemberRecord = { ...memberOf('n-1', 'x'), state: 'alive', lastSeen: 1000 }

  test('columns line up, however long what is in them is', () => {
    const all: NodeLine[] = [record, { ...record, id: 'a-very-long-name', load: 100_000, pid: 1 }]
    const lines = nodeTable(all, 2500, plain)
    expect(lines[0]).toMatch(/^NODE +STATE +ROLES +LOAD +SEEN +HOST +PID +LABELS +KINDS$/)
    for (const column of ['STATE', 'LOAD', 'PID', 'KINDS']) {
      const at = lines[0]?.indexOf(column) ?? 0
      for (const line of lines) expect(line.slice(at - 2, at + 1)).toMatch(/^ {2}\S$/)
    }
    expect(lines[1]).toContain('1.5 s ago')
  })

  test('nothing is a dash, and a time to come is now', () => {
    const bare = { ...record, roles: [], labels: {}, kinds: [] }
    const [, line] = nodeTable([bare], 0, plain)
    expect(line?.split(/ {2,}/)).toEqual([
      'n-1',
      'alive',
      '-',
      '3',
      '0 ms ago',
      'h1',
      '100',
      '-',
      '-',
    ])
  })

  test('no label can write to the terminal', () => {
    const evil = { ...record, labels: { zone: '\u001b[2J\nn-2' } }
    const lines = nodeTable([evil], 0, plain)
    expect(lines.join('')).not.toMatch(/\p{Cc}/u)
  })

  test('the state is coloured, and nothing else', () => {
    const colors = picocolors.createColors(true)
    const [head, line] = nodeTable([{ ...record, state: 'dead' }], 0, colors)
    expect(head).not.toContain('\u001b')
    expect(line).toContain(colors.red('dead '))
    expect(line?.split('\u001b')).toHaveLength(3)
  })
})
