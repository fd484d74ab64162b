/** `GET /metrics`, of nodes that work. */
import { afterEach, describe, expect, test } from 'bun:test'
import { FencedError } from '../../actors/errors.ts'
import { defineSingleton } from '../../actors/singleton.ts'
import { redisLeases } from '../../runtime/redis/leases.ts'
import { metrics } from '../../runtime/telemetry/names.ts'
import { eventually } from '../kit/eventually.ts'
import { startRedis } from '../kit/redis.ts'
import { type Exposition, lint, readExposition } from './exposition.ts'
import { answerOf, noops, type StartedNode, startNode, worlds } from './started-node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function begin(options: Parameters<typeof startNode>[0] = {}): Promise<StartedNode> {
  const started = await startNode({ ephemeral: true, ...options })
  cleanups.push(() => started.node.stop(0))
  return started
}

async function scrape({ ask }: StartedNode): Promise<Exposition> {
  return readExposition(await (await ask('/metrics')).text())
}

const fails = (count: number, attempts: number) =>
  `{"kind":"fail","attempts":${attempts}}\n`.repeat(count)

for (const [where, start] of worlds) {
  describe(`GET /metrics ${where}`, () => {
    test('counts each task once, every attempt, and what is tried again', async () => {
      const { node: started, redis } = await start()
      if (redis !== undefined) cleanups.push(() => redis.stop())
      cleanups.push(() => started.node.stop(0))
      const timeouts = '{"kind":"sleep","input":{"ms":60000},"timeoutMs":20,"attempts":1}\n'
      const keyed = '{"kind":"fail","key":"k","attempts":3,"input":{"times":2}}\n'
      await started.run(noops(2500) + fails(3, 2) + timeouts.repeat(2) + keyed)
      const { value, samples } = await scrape(started)
      const ended = (kind: string, outcome: string) =>
        value('muster_tasks_total', { kind, outcome })
      expect(ended('noop', 'ok')).toBe(2500)
      expect(ended('fail', 'failed')).toBe(3)
      expect(ended('fail', 'ok')).toBe(1)
      expect(ended('sleep', 'timeout')).toBe(2)
      const total = samples.filter(({ name }) => name === 'muster_tasks_total')
      expect(total.reduce((sum, one) => sum + one.value, 0)).toBe(2506)
      // Three that failed twice; of the one that was retried in place, its last attempt.
      const durations = 'muster_task_duration_seconds_count'
      expect(value(durations, { kind: 'noop' })).toBe(2500)
      expect(value(durations, { kind: 'fail' })).toBe(7)
      expect(value('muster_retries_total', { kind: 'fail' })).toBe(5)
      expect(value('muster_queue_wait_seconds_count', { mailbox: 'work.noop' })).toBe(2500)
      const depth = samples.filter(({ name }) => name === 'muster_mailbox_depth')
      expect(depth.length).toBeGreaterThan(0)
      expect(depth.every((sample) => sample.value === 0)).toBe(true)
      const begun = value('threadpool_tasks_started_total') ?? 0
      expect(begun).toBeGreaterThan(0)
      expect(value('threadpool_tasks_completed_total')).toBe(begun)
    })

    test('counts those that were cancelled before they ran', async () => {
      const { node: started, redis } = await start()
      if (redis !== undefined) cleanups.push(() => redis.stop())
      cleanups.push(() => started.node.stop(0))
      const submitted = await started.submit('{"kind":"noop","delayMs":60000}\n'.repeat(30))
      const { run } = await answerOf(submitted)
      const method = 'POST'
      await started.ask(`/v1/runs/${run}/cancel`, {
        method,
        body: '{"reason":"the test wants it"}',
      })
      await eventually(async () => {
        const { value } = await scrape(started)
        expect(value('muster_tasks_total', { kind: 'noop', outcome: 'cancelled' })).toBe(30)
        expect(value('muster_task_duration_seconds_count', { kind: 'noop' }) ?? 0).toBe(0)
      })
    })

    test('shows how many tasks a mailbox holds', async () => {
      const { node: started, redis } = await start()
      if (redis !== undefined) cleanups.push(() => redis.stop())
      cleanups.push(() => started.node.stop(0))
      await started.submit('{"kind":"noop","delayMs":60000}\n'.repeat(30))
      await eventually(async () => {
        const { value } = await scrape(started)
        const held = (state: string) =>
          value('muster_mailbox_depth', { mailbox: 'work.noop', state })
        const states = ['waiting', 'active', 'delayed', 'settling']
        expect(states.map(held)).toEqual([0, 0, 30, 0])
        expect(value('muster_mailbox_oldest_age_seconds', { mailbox: 'work.noop' })).toBe(0)
      })
    })
  })
}

describe('the exposition text', () => {
  test('is what Prometheus reads, with names and labels of the table and no other', async () => {
    const node = await begin()
    const run = await node.run(noops(10) + fails(1, 1))
    const response = await node.ask('/metrics')
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const text = await response.text()
    const { families, samples } = readExposition(text)
    for (const [name, { type }] of families) {
      expect({ name, type }).toEqual({ name, type: metrics[name as keyof typeof metrics].type })
    }
    const known = new Set<string>(Object.values(metrics).flatMap(({ labels }) => labels))
    for (const { labels } of samples) {
      for (const [label, value] of Object.entries(labels)) {
        expect(known.has(label) || label === 'le' || label === 'quantile').toBe(true)
        expect([run.id, node.node.id, String(process.pid)]).not.toContain(value)
      }
    }
    const found = lint(text)
    if (found === undefined) console.log('promtool is not on this machine: its check is left out')
    else expect(found).toEqual({ exitCode: 0, said: '' })
  })

  test('declares on a fresh node what may happen later, with its meaning', async () => {
    const node = await begin()
    const declared = Object.entries(metrics).filter(([, { type }]) => type !== 'gauge')
    await eventually(async () => {
      const text = await (await node.ask('/metrics')).text()
      for (const [name, { type, help }] of declared) {
        expect(text).toContain(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`)
      }
      const { families, samples } = readExposition(text)
      const gauges = ['muster_mailbox_depth', 'muster_mailbox_oldest_age_seconds']
      expect(gauges.filter((name) => !families.has(name))).toEqual([])
      expect(samples.filter(({ name }) => name === 'muster_deadletters_total')).toEqual([])
    })
  })

  test('has what the default queries of the audit ask for', async () => {
    const node = await begin()
    await node.run(noops(10))
    await eventually(async () => {
      const { families } = await scrape(node)
      const typeOf = (name: string) => families.get(name)?.type
      expect({
        http_request_duration_seconds: typeOf('http_request_duration_seconds'),
        asyncio_event_loop_lag_seconds: typeOf('asyncio_event_loop_lag_seconds'),
        blocking_events_total: typeOf('blocking_events_total'),
        blocking_duration_seconds: typeOf('blocking_duration_seconds'),
        active_requests: typeOf('active_requests'),
        threadpool_queue_wait_seconds: typeOf('threadpool_queue_wait_seconds'),
        threadpool_tasks_started_total: typeOf('threadpool_tasks_started_total'),
        threadpool_tasks_completed_total: typeOf('threadpool_tasks_completed_total'),
      }).toEqual({
        http_request_duration_seconds: 'histogram',
        asyncio_event_loop_lag_seconds: 'gauge',
        blocking_events_total: 'counter',
        blocking_duration_seconds: 'histogram',
        active_requests: 'gauge',
        threadpool_queue_wait_seconds: 'histogram',
        threadpool_tasks_started_total: 'counter',
        threadpool_tasks_completed_total: 'counter',
      })
    })
  })

  test('of one node says nothing of another in the same process', async () => {
    const [busy, idle] = [await begin(), await begin()]
    await busy.run(noops(100))
    const [ofBusy, ofIdle] = [await scrape(busy), await scrape(idle)]
    const noopsOk = { kind: 'noop', outcome: 'ok' }
    expect(ofBusy.value('muster_tasks_total', noopsOk)).toBe(100)
    expect(ofIdle.value('muster_tasks_total', noopsOk)).toBeUndefined()
    expect(ofIdle.value('threadpool_tasks_started_total')).toBe(0)
  })

  test('says which roles are up, and what the dispatcher would let out', async () => {
    const node = await begin({ dispatcher: { rate: 1, burst: 500 } })
    await node.run(noops(200))
    const { value } = await scrape(node)
    for (const role of ['dispatcher', 'worker', 'collector']) {
      expect(value('muster_worker_alive', { role })).toBe(1)
    }
    expect(value('muster_admission_tokens')).toBeWithin(300, 320)
    expect(value('muster_routing_seconds_count')).toBeGreaterThan(0)
    expect(value('muster_aggregation_seconds_count')).toBeGreaterThan(0)
  })

  test('counts the submissions that are not accepted', async () => {
    const node = await begin({
      dispatcher: { rate: 1, burst: 1, spoolMax: 10, whenFull: 'refuse' },
    })
    await node.submit(noops(10))
    await eventually(async () => {
      const refused = await node.submit(noops(100))
      await refused.text()
      expect(refused.status).toBe(429)
    })
    const { value } = await scrape(node)
    expect(value('muster_admission_rejected_total', { reason: 'full' })).toBeGreaterThan(0)
  })
})

test('an event loop that stands still shows, as long as it stood', async () => {
  const node = await begin()
  await eventually(async () => {
    expect((await scrape(node)).value('muster_event_loop_lag_seconds_count')).toBeGreaterThan(3)
  })
  const before = (await scrape(node)).value('blocking_events_total') ?? 0
  for (const until = performance.now() + 400; performance.now() < until; );
  await eventually(async () => {
    const { value } = await scrape(node)
    expect(value('blocking_events_total')).toBeGreaterThan(before)
    expect(value('muster_event_loop_lag_seconds', { quantile: '1' })).toBeWithin(0.35, 5)
    expect(value('asyncio_event_loop_lag_seconds')).toBeWithin(0.35, 5)
    expect(value('muster_blocking_seconds_sum')).toBeGreaterThanOrEqual(0.35)
  })
})

test('a lease that is lost is not held; the one who gets it back has taken over', async () => {
  const redis = await startRedis()
  cleanups.push(() => redis.stop())
  const lone = defineSingleton({ name: 'lone', start: () => ({}) })
  const node = await begin({
    ephemeral: false,
    redis: { url: redis.url },
    singletons: [lone],
  })
  const log = { debug() {}, info() {}, warn() {}, error() {} }
  const leases = redisLeases({ url: redis.url, operationTimeoutMs: 1000, log })
  cleanups.push(() => leases.close())
  const held = async () => (await scrape(node)).value('muster_lease_held', { lease: 'lone' })
  await eventually(async () => expect(await held()).toBe(1))
  const first = (await scrape(node)).value('muster_lease_epoch', { lease: 'lone' }) ?? 0
  expect((await leases.list()).find(({ name }) => name === 'lone')?.epoch).toBe(first)

  const epoch = await eventually(async () => {
    await leases.revoke('lone', 'the test wants it')
    const acquired = await leases.acquire('lone', 'other/boot/1', 60_000)
    if (!acquired.granted) throw new FencedError('lone', 0, 'the node was quicker')
    return acquired.epoch
  })
  await eventually(async () => expect(await held()).toBe(0))
  const before = await scrape(node)
  const failovers = before.value('muster_failovers_total', { lease: 'lone' }) ?? 0
  await leases.release({ name: 'lone', owner: 'other/boot/1', epoch })
  await eventually(async () => expect(await held()).toBe(1))
  await eventually(async () => {
    const { value } = await scrape(node)
    expect(value('muster_failovers_total', { lease: 'lone' })).toBe(failovers + 1)
    expect(value('muster_lease_epoch', { lease: 'lone' })).toBeGreaterThan(epoch)
    expect(value('muster_failover_seconds_count')).toBeGreaterThan(0)
  })
})

test('while Redis is away the rest is told, and in time', async () => {
  const redis = await startRedis()
  cleanups.push(() => redis.stop())
  const node = await begin({ ephemeral: false, redis: { url: redis.url } })
  await node.run(noops(10))
  expect((await scrape(node)).families.has('muster_mailbox_depth')).toBe(true)
  await redis.kill()
  const began = performance.now()
  const { families, value } = await scrape(node)
  expect(performance.now() - began).toBeLessThan(8000)
  expect(families.has('muster_mailbox_depth')).toBe(false)
  expect(value('muster_tasks_total', { kind: 'noop', outcome: 'ok' })).toBe(10)
  await redis.restart()
})

test('what its run holds back, by a window or for another task, waits for no worker', async () => {
  const node = await begin()
  const naps = Array.from({ length: 5 }, () => ({ kind: 'sleep', input: { ms: 500 } }))
  const chain = [
    { kind: 'sleep', input: { ms: 1500 }, id: 'first' },
    { kind: 'noop', dependsOn: ['first'] },
  ]
  for (const body of [{ tasks: naps, window: 1 }, { tasks: chain }]) {
    const headers = { 'content-type': 'application/json' }
    const answer = await node.ask('/v1/runs', {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    })
    const { run } = await answerOf(answer)
    await (await node.ask(`/v1/runs/${run}/events`)).text()
    const page = await (await node.ask(`/v1/runs/${run}/results`)).json()
    const { items } = page as { items: { queueMs: number }[] }
    expect(items).toHaveLength(body.tasks.length)
    // Else the last of them would say what all before it took.
    expect(Math.max(...items.map(({ queueMs }) => queueMs))).toBeLessThan(1200)
  }
  const { value } = await scrape(node)
  expect(value('muster_idle_wait_seconds_count')).toBe(7)
  expect(value('muster_idle_wait_seconds_sum')).toBeLessThan(2.5)
})
