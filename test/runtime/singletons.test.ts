/** Singletons and their tasks from end to end: nodes in this process, a real Redis between them. */
import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test'
import { z } from 'zod'
import type { Log } from '../../actors/ports.ts'
import type { Fence, Leases } from '../../actors/ports-fleet.ts'
import type { ResultLine } from '../../actors/result.ts'
import type { SingletonContext } from '../../actors/singleton-work.ts'
import { type CreateNodeOptions, defineSingleton, defineTask } from '../../runtime/index.ts'
import { redisLeases } from '../../runtime/redis/leases.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { ndjson, type StartedNode, startNode } from './started-node.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }

let redis: RedisServer
let leases: Leases
const nodes: StartedNode[] = []

beforeAll(async () => {
  redis = await startRedis()
  leases = redisLeases({ url: redis.url, operationTimeoutMs: 5000, log })
})
afterEach(async () => {
  for (const { node } of nodes.splice(0)) await node.stop(0)
})
afterAll(async () => {
  await leases.close()
  await redis.stop()
})

/** One task an envelope and at a time: what waits has not been begun. */
async function begin(options: CreateNodeOptions): Promise<StartedNode> {
  const worker = { concurrency: 1, envelopeTasksMax: 1, ...options.worker }
  const started = await startNode({ redis: { url: redis.url }, ...options, worker })
  nodes.push(started)
  return started
}

/** A singleton whose terms can be looked at, in order. */
function terms(name: string) {
  const begun: SingletonContext[] = []
  const definition = defineSingleton({
    name,
    start(context) {
      begun.push(context)
    },
  })
  return {
    definition,
    term: (number: number) =>
      eventually(() => {
        const context = begun[number]
        if (context === undefined) throw new Error(`${name} has led ${begun.length} times`)
        return context
      }),
  }
}

async function resultsOf({ ask }: StartedNode, run: string): Promise<ResultLine[]> {
  const response = await ask(`/v1/runs/${run}/results?limit=100`, { headers: { accept: ndjson } })
  const lines = (await response.text()).trim().split('\n')
  return lines.map((line) => JSON.parse(line) as ResultLine).toSorted((a, b) => a.seq - b.seq)
}

const over = (started: StartedNode, run: string) =>
  eventually(
    async () => {
      const found = await started.get(run)
      expect(found.state).toBe('completed')
      return found
    },
    { timeoutMs: 40_000 },
  )

test('tasks of a singleton run with its fence, and write through it', async () => {
  const seen: (Pick<Fence, 'lease' | 'epoch'> | undefined)[] = []
  const probe = defineTask({
    kind: 'probe',
    input: z.object({ key: z.string().optional() }),
    async run({ key }, { fence, seq }) {
      seen.push(fence && { lease: fence.lease, epoch: fence.epoch })
      if (key !== undefined) await fence?.put(key, `by task ${seq}`)
    },
  })
  const { definition, term } = terms('writer')
  const started = await begin({ tasks: [probe], singletons: [definition] })
  const { submit, epoch, fence } = await term(0)
  const run = await submit([{ kind: 'probe', input: { key: 'cursor' } }, { kind: 'probe' }])
  expect((await over(started, run)).counts).toMatchObject({ ok: 2 })
  const own = { lease: 'writer', epoch }
  expect(seen).toEqual([own, own])
  expect(await fence.get('cursor')).toBe('by task 0')
  // Of whom nobody has to lead for, no fence is asked.
  seen.length = 0
  await started.run('{"kind":"probe"}\n')
  expect(seen).toEqual([undefined])
})

test('tasks that have not run when somebody else leads end unreached', async () => {
  const gate = Promise.withResolvers<void>()
  const runs: number[] = []
  const late: unknown[] = []
  const slow = defineTask({
    kind: 'slow',
    input: z.unknown(),
    async run(_, { seq, fence }) {
      runs.push(seq)
      await gate.promise
      late.push(await fence?.put('cursor', `by task ${seq}`).catch((error: unknown) => error))
    },
  })
  const { definition, term } = terms('sweeper')
  const started = await begin({ tasks: [slow], singletons: [definition] })
  const first = await term(0)
  const run = await first.submit(Array.from({ length: 5 }, () => ({ kind: 'slow' })))
  await eventually(() => expect(runs).toEqual([0]))

  const revoked = await leases.revoke('sweeper', 'drill')
  expect(revoked).toMatchObject({ holder: started.node.id, epoch: first.epoch })
  const second = await term(1)
  expect(second.epoch).toBeGreaterThan(first.epoch)
  expect(first.signal.aborted).toBe(true)
  gate.resolve()

  const { counts } = await over(started, run)
  expect(counts).toMatchObject({ ok: 1, unreached: 4, pending: 0 })
  expect([runs, late]).toMatchObject([[0], [{ code: 'FENCED' }]])
  expect(await second.fence.get('cursor')).toBeUndefined()
  const results = await resultsOf(started, run)
  expect(results.map(({ outcome }) => outcome)).toEqual(['ok', ...Array(4).fill('unreached')])
  for (const { error, attempt } of results.slice(1)) {
    expect([error?.code, attempt]).toEqual(['FENCED', 1])
    expect(error?.message).toContain(String(first.epoch))
    expect(error?.message).toContain(String(second.epoch))
  }

  const refused = await first.submit([{ kind: 'slow' }]).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'FENCED', lease: 'sweeper', epoch: first.epoch })
  const next = await second.submit([{ kind: 'slow' }])
  expect((await over(started, next)).counts).toMatchObject({ ok: 1 })
})

test('a singleton works on one of two nodes, and on the other when that one stops', async () => {
  const a = terms('traveller')
  const b = terms('traveller')
  const first = await begin({ node: { id: 'one' }, singletons: [a.definition] })
  const { epoch } = await a.term(0)
  const second = await begin({ node: { id: 'two' }, singletons: [b.definition] })
  const holderOf = async () =>
    (await leases.list()).find(({ name }) => name === 'traveller')?.holder
  expect(await holderOf()).toBe('one')
  await first.node.stop(0)
  const next = await b.term(0)
  expect(next.epoch).toBeGreaterThan(epoch)
  expect(await holderOf()).toBe('two')
  // What it submits there is run there.
  const run = await next.submit([{ kind: 'noop' }])
  expect((await over(second, run)).counts).toMatchObject({ ok: 1 })
})
