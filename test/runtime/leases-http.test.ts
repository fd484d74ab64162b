import { afterAll, afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { NotFoundError } from '../../actors/errors.ts'
import type { LeaseRecord, Leases } from '../../actors/ports-fleet.ts'
import { connect } from '../../runtime/client.ts'
import { leaseRoutes } from '../../runtime/http/leases.ts'
import { problemOf as errorProblem } from '../../runtime/http/problem.ts'
import { memoryLeases } from '../../runtime/memory/leases.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { startRedis } from '../kit/redis.ts'
import { musterIn } from './cli-process.ts'
import { problemOf, type StartedNode, startNode } from './started-node.ts'

const fields = ['name', 'holder', 'epoch', 'since', 'ttlMs']
const at = 1_700_000_000_000
/** Reasons in the log. */
let reasons: unknown[]
let leases: Leases
beforeEach(() => {
  reasons = []
  const nothing = () => undefined
  const warn = (entry: Record<string, unknown>) => void reasons.push(entry['reason'])
  leases = memoryLeases({
    now: () => at,
    log: { debug: nothing, info: nothing, warn, error: nothing },
  })
})
const routes = leaseRoutes(() => leases)
routes.onError(errorProblem)

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

describe('GET /v1/leases', () => {
  test('lists those that are held, by name, with exactly the fields of the contract', async () => {
    await leases.acquire('ledger', 'n-2/b/1', 5000)
    await leases.acquire('coordinator', 'n-1/b/1', 10_000)
    const response = await routes.request('/v1/leases')
    expect(response.status).toBe(200)
    const { items, ...rest } = (await response.json()) as { items: LeaseRecord[] }
    expect(items).toEqual([
      { name: 'coordinator', holder: 'n-1', epoch: at, since: at, ttlMs: 10_000 },
      { name: 'ledger', holder: 'n-2', epoch: at, since: at, ttlMs: 5000 },
    ])
    expect(items.map((item) => Object.keys(item))).toEqual([fields, fields])
    expect(rest).toEqual({})
  })

  test('is empty where nobody leads', async () => {
    expect(await (await routes.request('/v1/leases')).json()).toEqual({ items: [] })
  })
})

describe('POST /v1/leases/:name/release', () => {
  const release = (name: string, body: string) =>
    routes.request(`/v1/leases/${name}/release`, { method: 'POST', body })

  test('takes the lease away, answers with what it was, and logs the reason', async () => {
    await leases.acquire('ledger', 'n-2/b/1', 5000)
    const response = await release('ledger', '{"reason":"stuck"}')
    expect([response.status, await response.json()]).toEqual([
      200,
      { name: 'ledger', holder: 'n-2', epoch: at, since: at, ttlMs: 5000 },
    ])
    expect(await leases.list()).toEqual([])
    expect(reasons).toEqual(['stuck'])
  })

  test.each(['', '{}', '{"reason":""}', '{"reason":null}', '"stuck"', '{'])(
    'without a reason (%j) is refused, and the lease stays',
    async (body) => {
      await leases.acquire('ledger', 'n-2/b/1', 5000)
      const { detail } = await problemOf(await release('ledger', body))
      expect(detail).toContain('expected')
      expect(await leases.list()).toHaveLength(1)
      expect(reasons).toEqual([])
    },
  )
})

describe('a node', () => {
  const startOn = async (redis: string, id: string) => {
    const started = await startNode({ redis: { url: redis }, node: { id } })
    cleanups.push(() => started.node.stop(0))
    return started
  }
  const leaseOf = async ({ url }: StartedNode, name: string) =>
    (await (await connect({ url })).leases()).find((lease) => lease.name === name)

  test('whose lease is released is fenced, and another one leads at once', async () => {
    const redis = await startRedis()
    cleanups.push(() => redis.stop())
    const first = await startOn(redis.url, 'n-1')
    const before = await eventually(async () => {
      const found = await leaseOf(first, 'coordinator')
      expect(found?.holder).toBe('n-1')
      return found
    })
    const second = await startOn(redis.url, 'n-2')
    // It contends: the tree says so of a singleton that waits.
    await eventually(async () => {
      const tree = JSON.stringify(await (await second.ask('/v1/tree')).json())
      expect(tree).toContain('coordinator')
    })
    const muster = await connect({ url: second.url })
    const taken = await muster.releaseLease('coordinator', 'a drill')
    expect(taken).toMatchObject({ name: 'coordinator', holder: 'n-1', epoch: before?.epoch })
    const releasedAt = performance.now()
    const after = await eventually(async () => {
      const found = await leaseOf(first, 'coordinator')
      expect(found).toBeDefined()
      return found
    })
    console.log(`led again after ${Math.round(performance.now() - releasedAt)} ms`)
    expect(after?.holder).toBe('n-2')
    expect(after?.epoch).toBeGreaterThan(before?.epoch ?? Number.POSITIVE_INFINITY)
  })

  test('knows no lease that nobody holds', async () => {
    const { node, url, ask } = await startNode({ ephemeral: true })
    cleanups.push(() => node.stop(0))
    const body = '{"reason":"a drill"}'
    const problem = await problemOf(await ask('/v1/leases/x/release', { method: 'POST', body }))
    expect(problem).toMatchObject({ status: 404, detail: expect.stringContaining('lease x') })
    const noReason = await problemOf(await ask('/v1/leases/x/release', { method: 'POST' }))
    expect(noReason).toMatchObject({ status: 400, detail: expect.stringContaining('reason') })
    const muster = await connect({ url })
    const refused = muster.releaseLease('x', 'a drill').then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(await refused).toBeInstanceOf(NotFoundError)
  })
})

describe('muster lease', () => {
  const folder = temporaryDirectory()
  const muster = musterIn(folder)
  let started: StartedNode | undefined
  const urlOf = async () => {
    started ??= await startNode({ ephemeral: true, node: { id: 'solo' } })
    return started.url
  }
  afterAll(async () => started?.node.stop(0))

  test('ls prints a line for each, --json an object with the fields of the contract', async () => {
    const url = await urlOf()
    const { out, err, code } = await muster(['lease', 'ls', '--url', url])
    expect({ err, code }).toEqual({ err: '', code: 0 })
    const words = out.split('\n').map((line) => line.split(/ +/).slice(0, 2))
    expect(words).toEqual([
      ['LEASE', 'HOLDER'],
      ['collector', 'solo'],
      ['coordinator', 'solo'],
      [''],
    ])
    const json = await muster(['lease', 'ls', '--json', '--url', url])
    const objects = json.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as LeaseRecord)
    expect(objects).toMatchObject([{ name: 'collector' }, { name: 'coordinator' }])
    for (const object of objects) expect(Object.keys(object)).toEqual(fields)
  })

  test('release takes it, and the same node may get it again', async () => {
    const url = await urlOf()
    const words = ['lease', 'release', 'coordinator', '--force', '--reason', 'a drill']
    const { out, err, code } = await muster([...words, '--url', url])
    expect({ out, code }).toEqual({ out: '', code: 0 })
    expect(err).toMatch(/^lease coordinator was taken from solo \(epoch \d+\)/)
    const client = await connect({ url })
    await eventually(async () => {
      const names = (await client.leases()).map(({ name }) => name)
      expect(names).toContain('coordinator')
    })
  })

  test.each([
    [['release', 'x', '--reason', 'r'], 'expected --force'],
    [['release', 'x', '--force'], 'expected --reason TEXT'],
    [['release', 'x', '--force', '--reason', ' '], 'expected --reason TEXT'],
    [['release'], "missing required argument 'NAME'"],
    [['lst'], "unknown command 'lst'"],
  ])('%j is a usage error that says what is missing', async (words, message) => {
    const { code, out, err } = await muster(['lease', ...words])
    expect({ code, out }).toEqual({ code: 64, out: '' })
    expect(err).toContain(message)
  })

  test('without a node looks into the data directory itself', async () => {
    const listed = await muster(['lease', 'ls'])
    expect(listed).toMatchObject({ code: 0, out: '' })
    expect(listed.err).toContain('nobody holds a lease')
    const words = ['lease', 'release', 'x', '--force', '--reason', 'a drill']
    const { code, err } = await muster(words)
    expect(code).toBe(66)
    expect(err).toContain('nobody holds a lease x')
  })
})
