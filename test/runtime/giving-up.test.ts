/** A node whose tree cannot go on: what of it is well goes in order. */
import { afterEach, describe, expect, test } from 'bun:test'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { z } from 'zod'
import { MusterError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import type { Fault } from '../../machines/supervision.ts'
import { type CreateNodeOptions, defineSingleton, defineTask } from '../../runtime/index.ts'
import { redisLeases } from '../../runtime/redis/leases.ts'
import { redisMembers } from '../../runtime/redis/members.ts'
import { eventually } from '../kit/eventually.ts'
import { startRedis } from '../kit/redis.ts'
import { noops, problemOf, startNode } from './started-node.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

class Broken extends MusterError {
  override readonly fault: Fault = 'fatal'
  constructor() {
    super('BROKEN', 'it cannot be mended')
  }
}

/** A singleton that leads until it is broken, and then never again. */
function fragile() {
  const broken = Promise.withResolvers<never>()
  broken.promise.catch(() => undefined)
  const definition = defineSingleton({
    name: 'fragile',
    start: () => ({ ended: broken.promise }),
  })
  return { definition, break: () => broken.reject(new Broken()) }
}

/** Tasks that end when the test says so, and what became of them. */
function held() {
  const gate = Promise.withResolvers<void>()
  const told: string[] = []
  const task = defineTask({
    kind: 'held',
    input: z.unknown(),
    async run(_, { signal }) {
      told.push('begun')
      signal.addEventListener('abort', () => told.push('aborted'))
      await Promise.race([gate.promise, once(signal, 'abort')])
      if (!signal.aborted) told.push('finished')
    },
  })
  return { task, told, letGo: () => gate.resolve() }
}

async function begin(over: CreateNodeOptions) {
  const redis = await startRedis()
  cleanups.push(() => redis.stop())
  const tasks = held()
  const started = await startNode({
    redis: { url: redis.url },
    node: { id: 'n-1' },
    member: { heartbeatMs: 200, staleMs: 1000 },
    tasks: [tasks.task],
    ...over,
  })
  const { node, submit } = started
  cleanups.push(() => node.stop(0))
  await submit('{"kind":"held"}\n')
  await eventually(() => expect(tasks.told).toEqual(['begun']))
  return { ...started, ...tasks, redis }
}

describe('a node that cannot go on', () => {
  test('closes its intake, finishes what it runs, gives its leases back and ends 70', async () => {
    const singleton = fragile()
    const { node, ask, submit, told, letGo, redis } = await begin({
      singletons: [singleton.definition],
    })
    const leases = redisLeases({ url: redis.url, operationTimeoutMs: 5000, log })
    cleanups.push(() => leases.close())
    const leasesHeld = async () => (await leases.list()).map(({ name }) => name)
    await eventually(async () => expect(await leasesHeld()).toContain('fragile'))
    singleton.break()
    await eventually(
      async () => {
        const ready = await ask('/readyz')
        const reasons = ['draining']
        expect([ready.status, await ready.json()]).toEqual([503, { status: 'not ready', reasons }])
      },
      { timeoutMs: 30_000 },
    )
    expect(await problemOf(await submit(noops(1)))).toMatchObject({
      code: 'NOT_ACCEPTING_DRAINING',
    })
    // Others may lead while it still works.
    await eventually(async () => expect(await leasesHeld()).not.toContain('coordinator'))
    expect(told).toEqual(['begun'])
    // A SIGTERM in the middle of it.
    const stopping = node.stop()
    letGo()
    expect(await node.stopped).toBe(70)
    await stopping
    expect(told).toEqual(['begun', 'finished'])
    expect(await leasesHeld()).toEqual([])
  })

  test('asked twice to hurry hands back what it runs, and still ends 70', async () => {
    const singleton = fragile()
    const { node, ask, told } = await begin({ singletons: [singleton.definition] })
    await eventually(() => expect(node.heartbeat().tree.state).toBe('running'))
    singleton.break()
    await eventually(async () => expect((await ask('/readyz')).status).toBe(503), {
      timeoutMs: 30_000,
    })
    await node.stop(0)
    expect(await node.stopped).toBe(70)
    expect(told).toEqual(['begun', 'aborted'])
  })

  test('because others took its place has no time for work that is theirs by now', async () => {
    const { node, told, redis } = await begin({})
    void node.stop()
    // While it drains already.
    await eventually(() => expect(node.heartbeat().tree.state).toBe('running'))
    const [client, subscriber] = [new Redis(redis.path), new Redis(redis.path)]
    cleanups.push(async () => {
      client.disconnect()
      subscriber.disconnect()
    })
    const members = redisMembers({ redis: client, subscriber, timeoutMs: 5000 })
    const [own] = await members.list(1000)
    if (own === undefined) throw new Error('expected the node to be a member')
    const { lastSeen: _, ...twin } = own
    const successor = { ...twin, boot: 'another', state: 'alive' } as const
    await members.beat(successor, { staleMs: 1000, isGone: () => true })
    const since = performance.now()
    expect(await node.stopped).toBe(70)
    expect(performance.now() - since).toBeLessThan(15_000)
    expect(told).toEqual(['begun', 'aborted'])
  })
})
