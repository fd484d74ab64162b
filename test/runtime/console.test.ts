/** The console's routes: its files, and its stream of events. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import type { ConsoleDelta, ConsoleView, RunBrief } from '../../runtime/http/console/wire.ts'
import { eventually } from '../kit/eventually.ts'
import { rawClient } from '../kit/socket.ts'
import { noops, problemOf, type StartedNode, sleepLine, startNode } from './started-node.ts'

let node: StartedNode
beforeAll(async () => {
  node = await startNode({ ephemeral: true })
})
afterAll(() => node.node.stop(0))

describe('its page', () => {
  test.each([
    ['/', 'text/html'],
    ['/console/page.js', 'text/javascript'],
  ])('%s is kept by the browser until it is another one', async (path, type) => {
    const answer = await node.ask(path)
    const body = await answer.text()
    expect([answer.status, answer.headers.get('content-type')]).toEqual([
      200,
      `${type}; charset=utf-8`,
    ])
    expect(body.length).toBeGreaterThan(300)
    const etag = answer.headers.get('etag') ?? ''
    const again = await node.ask(path, { headers: { 'if-none-match': etag } })
    expect([again.status, await again.text()]).toEqual([304, ''])
    const policy = answer.headers.get('content-security-policy') ?? ''
    expect(policy).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self'( 'sha256-\S+')?;/,
    )
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('unsafe')
    expect(policy).not.toContain('http')
  })

  test('has a script of less than 50 KB, and names nobody else', async () => {
    const script = await (await node.ask('/console/page.js')).text()
    expect(Buffer.byteLength(script)).toBeLessThan(50_000)
    const page = await (await node.ask('/')).text()
    expect(page).not.toMatch(/https?:|style=|<script>|\son\w+=/)
    expect(page.match(/<style>/g)).toHaveLength(1)
  })

  test('what is not there is said to be so', async () => {
    expect((await problemOf(await node.ask('/console/nothing'))).status).toBe(404)
    expect((await node.ask('/console/events', { method: 'HEAD' })).status).toBe(200)
  })
})

interface Told {
  view: ConsoleView
  deltas: { at: number; delta: ConsoleDelta }[]
  /** Each run as it was last told. */
  runs: Map<string, RunBrief>
  isOver: boolean
  leave(): void
}

async function look(started: StartedNode = node): Promise<Told> {
  const leaving = new AbortController()
  const answer = await started.ask('/console/events', { signal: leaving.signal })
  expect(answer.headers.get('content-type')).toBe('text/event-stream')
  const first = Promise.withResolvers<ConsoleView>()
  const told: Omit<Told, 'view'> = {
    deltas: [],
    runs: new Map(),
    isOver: false,
    leave: () => leaving.abort(),
  }
  void (async () => {
    let text = ''
    const decoder = new TextDecoder()
    try {
      for await (const bytes of answer.body ?? []) {
        text += decoder.decode(bytes, { stream: true })
        const events = text.split('\n\n')
        text = events.pop() ?? ''
        for (const event of events) {
          const data = JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? '')
          if (event.includes('event: view')) first.resolve(data)
          else told.deltas.push({ at: performance.now(), delta: data })
          for (const run of data.runs ?? []) told.runs.set(run.id, run)
        }
      }
    } catch (error) {
      first.reject(error)
    }
    told.isOver = true
  })()
  return Object.assign(told, { view: await first.promise })
}

describe('its stream', () => {
  test('begins with everything, and goes on with what has changed', async () => {
    const told = await look()
    expect(told.view).toMatchObject({
      node: node.node.id,
      canWrite: true,
      unready: [],
      troubles: {},
    })
    expect(told.view.nodes.map(({ state }) => state)).toEqual(['alive'])
    expect(told.view.system?.state).toBe('OPERATIONAL')
    expect(told.view.health?.coverage.of).toBeGreaterThan(5)
    expect(told.view.leases.map(({ name }) => name).sort()).toEqual(['collector', 'coordinator'])
    // Nothing happens: only the charts go on.
    await eventually(() => {
      expect(told.deltas.length).toBeGreaterThan(1)
      expect(Object.keys(told.deltas.at(-1)?.delta ?? {}).sort()).toEqual(['now', 'point'])
    })
    told.leave()
  })

  test('tells how far a run is, a few times a second at most, and how it ended', async () => {
    const told = await look()
    const from = performance.now()
    const tasks = 600
    const { id } = await node.run(sleepLine(2).repeat(tasks / 2) + noops(tasks / 2))
    await eventually(() => expect(told.runs.get(id)?.state).toBe('completed'))
    const seconds = (performance.now() - from) / 1000
    expect(told.runs.get(id)?.counts).toMatchObject({ ok: tasks, pending: 0 })
    expect(told.runs.get(id)).not.toHaveProperty('rejected')
    const ofRun = told.deltas.filter(({ delta }) => delta.runs?.some((run) => run.id === id))
    expect(ofRun.length).toBeLessThanOrEqual(Math.ceil(seconds * 4) + 1)
    for (const { delta } of ofRun) {
      for (const { counts, total } of delta.runs ?? []) {
        expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(total)
      }
    }
    const rates = () => told.deltas.flatMap(({ delta }) => delta.point?.rate ?? [])
    await eventually(() => expect(Math.max(...rates())).toBeGreaterThan(0))
    told.leave()
  })

  test('whoever looks later is told the same, and the charts as they were', async () => {
    const told = await look()
    const { id } = await node.run(noops(3))
    await eventually(() => expect(told.runs.get(id)?.state).toBe('completed'))
    const later = await look()
    expect(later.view.runs[0]).toEqual(told.runs.get(id) as RunBrief)
    expect(later.view.points.length).toBeGreaterThanOrEqual(
      told.deltas.filter(({ delta }) => delta.point !== undefined).length,
    )
    told.leave()
    later.leave()
  })

  test('a pause is told with its reason', async () => {
    const told = await look()
    const body = (state: string) => JSON.stringify({ state, reason: 'disks are full' })
    await node.ask('/v1/system', { method: 'POST', body: body('PAUSED') })
    const last = () => told.deltas.findLast(({ delta }) => delta.system !== undefined)?.delta.system
    await eventually(() =>
      expect(last()).toMatchObject({ state: 'PAUSED', reason: 'disks are full' }),
    )
    await node.ask('/v1/system', { method: 'POST', body: body('OPERATIONAL') })
    await eventually(() => expect(last()).toMatchObject({ state: 'OPERATIONAL' }))
    told.leave()
  })

  test('ends with the node, also for one who does not read', async () => {
    const other = await startNode({ ephemeral: true })
    const told = await look(other)
    const hung = await rawClient(other.url)
    hung.send(`GET /console/events HTTP/1.1\r\nhost: ${new URL(other.url).host}\r\n\r\n`)
    await eventually(() => expect(hung.text).toContain('event: view'))
    hung.hang(60_000)
    await other.node.stop(0)
    await eventually(() => expect(told.isOver).toBe(true))
    hung.close()
  })
})

test('a node nobody looks at does not load it', async () => {
  const scan = new Bun.Transpiler({ loader: 'ts' })
  const runtime = join(import.meta.dir, '../../runtime')
  const seen = new Set<string>()
  const visit = async (file: string): Promise<void> => {
    if (seen.has(file)) return
    seen.add(file)
    for (const { path, kind } of scan.scanImports(await Bun.file(file).text())) {
      if (kind === 'import-statement' && path.startsWith('.')) await visit(join(file, '..', path))
    }
  }
  await visit(join(runtime, 'node.ts'))
  const loaded = [...seen].filter((file) => /http\/(console|pages)\//.test(file))
  expect(loaded).toEqual([join(runtime, 'http/console/mount.ts')])
})
