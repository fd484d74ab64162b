import { afterEach, describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConflictError, NotAcceptingError } from '../../actors/errors.ts'
import type { SystemEntry } from '../../actors/ports-system.ts'
import { connect } from '../../runtime/client.ts'
import type { SystemReport } from '../../runtime/http/system.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { startRedis } from '../kit/redis.ts'
import { musterIn } from './cli-process.ts'
import { type StartedNode, startNode } from './started-node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start(options: Parameters<typeof startNode>[0] = {}) {
  const redis = await startRedis()
  cleanups.push(() => redis.stop())
  const dataDir = temporaryDirectory()
  // What a loaded machine does to its health is not what is told here.
  const health = { degradedScore: 980_000, criticalScore: 990_000, collapseScore: 1_000_000 }
  const started = await startNode({ dataDir, health, redis: { url: redis.url }, ...options })
  cleanups.push(() => started.node.stop(0))
  return { ...started, dataDir, redis }
}

const say = ({ ask }: StartedNode, body: unknown) =>
  ask('/v1/system', { method: 'POST', body: JSON.stringify(body) })
const view = async ({ ask }: StartedNode) =>
  (await (await ask('/v1/system')).json()) as SystemReport

describe('/v1/system', () => {
  test('tells how the node is, with the fields of the contract first', async () => {
    const node = await start()
    const { state, since, effect, health, ...rest } = await view(node)
    expect(['HEALTHY', 'UNKNOWN']).toContain(health?.status ?? '')
    expect([state, effect]).toEqual(['OPERATIONAL', { admission: 1, concurrency: 1 }])
    expect(Math.abs(Date.now() - since)).toBeLessThan(60_000)
    expect(rest).toEqual({ reason: 'all is well', actor: 'system' })
    expect(Object.keys(await view(node)).slice(0, 5)).toEqual(
      'state since reason actor effect'.split(' '),
    )
  })

  test('while paused submissions are 503 with Retry-After, and so is /readyz', async () => {
    const node = await start()
    const paused = await say(node, { state: 'PAUSED', reason: 'upgrade' })
    expect(paused.status).toBe(200)
    expect(await paused.json()).toMatchObject({ state: 'PAUSED', actor: 'operator' })
    const refused = await node.submit('{"kind":"noop"}\n')
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    expect(await refused.json()).toMatchObject({ code: 'NOT_ACCEPTING_PAUSED' })
    const ready = await node.ask('/readyz')
    expect(ready.status).toBe(503)
    expect(JSON.stringify(await ready.json())).toContain('PAUSED (operator: upgrade)')
    expect((await node.ask('/healthz')).status).toBe(200)
    const muster = await connect({ url: node.url })
    const error = await muster.submit([{ kind: 'noop' }]).catch((problem: unknown) => problem)
    expect(error).toBeInstanceOf(NotAcceptingError)
    expect(error).toMatchObject({ reason: 'paused', retryAfterMs: 5000 })
    await say(node, { state: 'OPERATIONAL', reason: 'done' })
    expect((await node.run('{"kind":"noop"}\n')).counts.ok).toBe(1)
    expect((await node.ask('/readyz')).status).toBe(200)
  })

  test.each([
    [409, 'ILLEGAL_TRANSITION', { state: 'REFLECTIVE', reason: 'x' }],
    [400, 'USAGE', { state: 'RECOVERY' }],
    [400, 'USAGE', { state: 'RECOVERY', reason: ' ' }],
    [400, 'USAGE', { state: 'paused', reason: 'x' }],
    [400, 'USAGE', { reason: 'x' }],
    [400, 'USAGE', { state: 'RECOVERY', reason: 'x', actor: 7 }],
  ])('answers %i %s to %j while it is paused', async (status, code, body) => {
    const node = await start({ ephemeral: true })
    await say(node, { state: 'PAUSED', reason: 'upgrade' })
    const answer = await say(node, body)
    expect(answer.status).toBe(status)
    expect(await answer.json()).toMatchObject({ code })
    expect((await view(node)).state).toBe('PAUSED')
  })

  test('history is told newest first, page by page, and is in the audit log as well', async () => {
    const node = await start()
    const muster = await connect({ url: node.url })
    await muster.system.set('DEGRADED', 'slowly', 'ada')
    expect(await muster.system.set('DEGRADED', 'again', 'ada')).toMatchObject({ noop: true })
    const error = await muster.system.set('PAUSED', '').catch((problem: unknown) => problem)
    expect(error).toMatchObject({ code: 'USAGE' })
    const first = (await (await node.ask('/v1/system/history?limit=3')).json()) as {
      items: SystemEntry[]
      next: string
    }
    expect(first.items.map(({ from, to, noop }) => [from, to, noop])).toEqual([
      ['DEGRADED', 'DEGRADED', true],
      ['OPERATIONAL', 'DEGRADED', undefined],
      ['RECOVERY', 'OPERATIONAL', undefined],
    ])
    const path = `/v1/system/history?limit=3&after=${first.next}`
    const second = (await (await node.ask(path)).json()) as { items: SystemEntry[] }
    expect(second.items.map(({ to }) => to)).toEqual(['RECOVERY'])
    expect((await node.ask('/v1/system/history?limit=0')).status).toBe(400)
    const all: SystemEntry[] = []
    for await (const entry of muster.system.history()) all.push(entry)
    const audit = readFileSync(join(node.dataDir, 'audit', 'audit.ndjson'), 'utf8')
    const lines = audit.trimEnd().split('\n')
    const audited = lines.map((line) => JSON.parse(line) as SystemEntry & { type: string })
    expect(audited.map(({ type }) => type)).toEqual(all.map(() => 'system'))
    expect(audited.map(({ type: _, ...entry }) => entry).toReversed()).toEqual(all)
  })

  test('a transition that is not allowed is a conflict to the client', async () => {
    const node = await start({ ephemeral: true })
    const muster = await connect({ url: node.url })
    await muster.system.set('RECOVERY', 'look again')
    const error = await muster.system.set('REFLECTIVE', 'x').catch((problem: unknown) => problem)
    expect(error).toBeInstanceOf(ConflictError)
    expect(error).toMatchObject({ code: 'ILLEGAL_TRANSITION' })
  })

  test('a node that is told to reflect looks, and leaves with what it found', async () => {
    const node = await start()
    await say(node, { state: 'REFLECTIVE', reason: 'a look' })
    const after = await eventually(async () => {
      const now = await view(node)
      if (now.state === 'REFLECTIVE') throw new Error('it still reflects')
      return now
    })
    expect(after.diagnosis?.findings).toBeInstanceOf(Array)
    expect(after.reason).toContain('reflected, health')
  })

  test('/metrics has each state as 0 or 1, and the time in it', async () => {
    const node = await start({ ephemeral: true })
    const text = await (await node.ask('/metrics')).text()
    expect(text).toContain('muster_system_state{state="OPERATIONAL"} 1')
    for (const state of ['PAUSED', 'RECOVERY', 'DEGRADED', 'REFLECTIVE']) {
      expect(text).toContain(`muster_system_state{state="${state}"} 0`)
    }
    expect(text).toMatch(/muster_system_state_seconds\{state="OPERATIONAL"\} \d/)
    expect(text).toContain('muster_system_transitions_total{from="RECOVERY",to="OPERATIONAL"} 1')
  })

  test('Redis away degrades the node, and its return mends it', async () => {
    const node = await start()
    await node.redis.kill()
    const degraded = await eventually(
      async () => {
        const now = await view(node)
        expect(now.state).toBe('DEGRADED')
        return now
      },
      { timeoutMs: 40_000 },
    )
    expect(degraded.reason).toMatch(/away|Redis .+ did not answer/)
    expect(degraded.note).toMatch(/^slow because DEGRADED since \d\d:\d\d UTC: /)
    const refused = await say(node, { state: 'PAUSED', reason: 'x' })
    expect(refused.status).toBe(503)
    await node.redis.restart()
    await eventually(async () => expect((await view(node)).state).toBe('OPERATIONAL'), {
      timeoutMs: 30_000,
    })
    // Noted as soon as Redis takes it.
    await eventually(async () => {
      const { items } = (await (await node.ask('/v1/system/history?limit=2')).json()) as {
        items: SystemEntry[]
      }
      expect(items.map(({ from, to }) => [from, to])).toEqual([
        ['DEGRADED', 'OPERATIONAL'],
        ['OPERATIONAL', 'DEGRADED'],
      ])
    })
  })
})

describe('muster state', () => {
  test('without a node it works on the data directory, and what it says lasts', async () => {
    const folder = temporaryDirectory()
    const muster = musterIn(folder, { env: { USER: 'ada' } })
    const paused = await muster(['pause', '--reason', 'upgrade'])
    expect([paused.code, paused.err]).toEqual([0, ''])
    expect(paused.out).toContain('PAUSED')
    const state = await muster(['state', '--json'])
    expect(JSON.parse(state.out)).toMatchObject({
      state: 'PAUSED',
      reason: 'upgrade',
      actor: 'ada',
      effect: { admission: 0, concurrency: 0 },
    })
    const run = await muster(['run', '--', 'true'])
    expect(run.code).toBe(75)
    expect(run.err).toContain('upgrade')
    const illegal = await muster(['state', 'set', 'DEGRADED', '--reason', 'x'])
    expect([illegal.code, illegal.err]).toEqual([65, expect.stringContaining('RECOVERY')])
    expect((await muster(['state', 'set', 'RECOVERY'])).code).toBe(64)
    expect((await muster(['state', 'set', 'SLEEPING', '--reason', 'x'])).code).toBe(64)
    expect((await muster(['resume'])).code).toBe(0)
    const again = await muster(['resume'])
    expect([again.code, again.err]).toEqual([0, 'the system is not paused\n'])
    expect((await muster(['run', '--', 'true'])).code).toBe(0)
    const history = await muster(['state', 'history', '--json'])
    const entries = history.out.trimEnd().split('\n')
    expect(entries.map((line) => (JSON.parse(line) as SystemEntry).to)).toEqual([
      'RECOVERY',
      'PAUSED',
    ])
  })
})
