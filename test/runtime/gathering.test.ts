import { afterEach, describe, expect, test } from 'bun:test'
import { ConflictError, UnavailableError, UsageError } from '../../actors/errors.ts'
import { connect, type GatheredPart, type TaskLine } from '../../runtime/index.ts'
import type { RedisServer } from '../kit/redis.ts'
import { type StartedNode, worlds } from './started-node.ts'

const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

async function begin(start: () => Promise<{ node: StartedNode; redis?: RedisServer }>) {
  const { node, redis } = await start()
  stops.push(async () => {
    await node.node.stop(0)
    await redis?.stop()
  })
  return { node, muster: await connect({ url: node.url }) }
}

const refusalOf = (asked: Promise<unknown>) =>
  asked.then(
    () => undefined,
    (error: unknown) => error,
  )
const sleep = (id: string, ms: number): TaskLine => ({ kind: 'sleep', id, input: { ms } })
const noop = (id: string): TaskLine => ({ kind: 'noop', id })

describe.each(worlds)('a gathering %s', (_name, start) => {
  test('tells each result as it arrives, and is complete when all have', async () => {
    const { muster } = await begin(start)
    // Each waits for the one before to be read, so that it must have been told in time.
    const tasks = [sleep('late', 3000), noop('a'), noop('b')]
    const { run, ...gathering } = await muster.gather(tasks, { timeoutMs: 30_000 })
    const parts: GatheredPart[] = []
    let isOverAtFirst: boolean | undefined
    for await (const part of gathering) {
      isOverAtFirst ??= (await muster.get(run.id)).finishedAt !== undefined
      parts.push(part)
    }
    expect(isOverAtFirst).toBe(false)
    const told = parts.map((part) => (part.type === 'result' ? part.source : part.status))
    expect(told.slice(0, 2).toSorted()).toEqual(['a', 'b'])
    expect(told.slice(2)).toEqual(['late', 'complete'])
  })

  test('whose time is up is partial and names who is missing; its run goes on', async () => {
    const { muster } = await begin(start)
    const tasks = [noop('a'), sleep('stuck', 20_000)]
    const gathering = await muster.gather(tasks, { timeoutMs: 3000, correlate: () => 'check' })
    const set = (await gathering.done()).get('check')
    expect(set).toMatchObject({ status: 'partial', missing: ['stuck'], received: 1 })
    expect(set?.results.map(({ id }) => id)).toEqual(['a'])
    const { finishedAt, counts } = await muster.get(gathering.run.id)
    expect([finishedAt, counts.pending]).toEqual([undefined, 1])
  })

  test('groups the results of one run by the correlation ids of its tasks', async () => {
    const { muster } = await begin(start)
    const tasks = Array.from({ length: 300 }, (_, index): TaskLine => {
      const labels = { check: `c-${index % 3}` }
      return { kind: index % 7 === 0 ? 'fail' : 'noop', id: `t-${index}`, labels, attempts: 1 }
    })
    const correlate = ({ labels }: TaskLine) => labels?.['check'] ?? ''
    const sets = await (await muster.gather(tasks, { correlate })).done()
    expect([...sets.keys()].toSorted()).toEqual(['c-0', 'c-1', 'c-2'])
    for (const [correlation, { status, results }] of sets) {
      const own = tasks.flatMap((task, seq) => (correlate(task) === correlation ? [seq] : []))
      expect([status, results.map(({ seq }) => seq)]).toEqual(['complete', own])
      // One that failed has answered as well.
      expect(results.filter(({ outcome }) => outcome === 'failed')).not.toEqual([])
    }
  })

  test('of tasks for all nodes expects each node that is there', async () => {
    const { node, muster } = await begin(start)
    const everywhere: TaskLine = { kind: 'noop', placement: 'all' }
    const gathering = await muster.gather([everywhere], { correlate: () => 'all' })
    const set = (await gathering.done()).get('all')
    expect(set).toMatchObject({ status: 'complete', expected: 1, missing: [] })
    expect(set?.results.map(({ target }) => target)).toEqual([node.node.id])
    const elsewhere: TaskLine = { ...everywhere, select: { rack: 'none' } }
    expect(await refusalOf(muster.gather([elsewhere]))).toBeInstanceOf(UnavailableError)
  })

  test('that cannot be taken runs nothing', async () => {
    const { muster } = await begin(start)
    const bad: [TaskLine[], string][] = [
      [[], 'tasks: expected at least one'],
      [[{ kind: 'noop' }], 'task 1: target: expected one (or an id)'],
      [[noop('a'), noop('a')], 'expected each target once in a correlation, got "a" again'],
      [[noop('a'), { kind: 'none', id: 'b' }], 'task 2: kind:'],
    ]
    for (const [tasks, message] of bad) {
      const refusal = await refusalOf(muster.gather(tasks))
      expect(refusal).toBeInstanceOf(UsageError)
      expect(String(refusal)).toContain(message)
    }
    expect((await muster.list()).items).toEqual([])
  })

  test('of a correlation that is in use is refused, and its tasks are not sent', async () => {
    const { muster } = await begin(start)
    const options = { correlate: () => 'one' }
    await muster.gather([noop('a')], options)
    expect(await refusalOf(muster.gather([noop('b')], options))).toBeInstanceOf(ConflictError)
    expect((await muster.list()).items).toHaveLength(1)
  })

  test('counts among the aggregations of the node that is at hand', async () => {
    const { node } = await begin(start)
    const told: number[] = []
    const aggregated = (ms: number) => {
      told.push(ms)
      // So long that no other of a test takes it.
      node.node.aggregated(1000)
    }
    const muster = await connect({ url: node.url, aggregated })
    await (await muster.gather([noop('a'), noop('b')])).done()
    expect(told.length).toBeGreaterThan(0)
    expect(told.every((ms) => ms >= 0)).toBe(true)
    const shown = await (await fetch(`${node.url}/metrics`)).text()
    const sum = Number(/^muster_aggregation_seconds_sum (\S+)$/m.exec(shown)?.[1])
    expect(sum).toBeGreaterThanOrEqual(told.length)
  })

  test('that is aborted ends for its reader with the reason', async () => {
    const { muster } = await begin(start)
    const leaving = new AbortController()
    const { signal } = leaving
    const gathering = await muster.gather([sleep('a', 5000)], { signal })
    const done = gathering.done()
    leaving.abort(new Error('enough'))
    expect(String(await refusalOf(done))).toContain('enough')
  })
})
