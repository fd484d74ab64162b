import { afterEach, describe, expect, test } from 'bun:test'
import { type CollectorOptions, collector } from '../../actors/collector.ts'
import { envelopeId, type ResultsEnvelope, resultsMailbox } from '../../actors/envelope.ts'
import type { ResultLine } from '../../actors/result.ts'
import type { ResultBatch } from '../../actors/results.ts'
import { type Outcome, outcomeCode } from '../../machines/outcome.ts'
import { systemClock } from '../../runtime/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { type Begun, finished, memoryWorld, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

/** A world with a closed run of so many tasks, which hold their room. */
async function makeWorld(tasks: number): Promise<World> {
  const world = memoryWorld()
  worlds.push(world)
  const { accounting, admission } = world
  await accounting.open({ id: 'r-1', createdAt: 0, driver: 'test' })
  const chunk = { afterLine: 0, lines: tasks, accepted: tasks, rejected: [], spool: [] }
  await accounting.commit('r-1', chunk)
  await accounting.close('r-1')
  await admission.reserve('work.job', 'r-1', tasks, 1000)
  return world
}

function beginCollector(world: World, over: Partial<CollectorOptions> = {}): Begun {
  return world.begin(
    collector({
      ...world,
      node: 'n-1',
      batchMax: 50,
      graceMs: () => 1000,
      hangMs: 30_000,
      ...over,
    }),
  )
}

/** Results of tasks in a row, as a worker sends them. */
function results(
  first: number,
  outcomes: readonly Outcome[],
  attempt = 1,
  node = 'n-1',
): ResultsEnvelope {
  return {
    v: 1,
    run: 'r-1',
    mailbox: 'work.job',
    kind: 'job',
    attempt,
    node,
    worker: 'work.job',
    seqs: [[first, outcomes.length]],
    outcomes: outcomes.map(outcomeCode).join(''),
    at: 100,
    startedAt: outcomes.map(() => 0),
    durationMs: outcomes.map(() => 5),
    queueMs: outcomes.map(() => 2),
  }
}

function send(world: World, ...bodies: ResultsEnvelope[]): Promise<void> {
  return world.mailboxes.send(
    bodies.map((body) => ({
      mailbox: resultsMailbox,
      id: envelopeId(body, `.${body.node}.r`),
      priority: 'normal',
      delayMs: 0,
      body,
    })),
  )
}

async function rowsOf(world: World): Promise<ResultLine[]> {
  const rows = await world.results.query('r-1', { limit: 1000 })
  return rows.map(({ line }) => JSON.parse(line) as ResultLine)
}

const isAcknowledged = (world: World) =>
  eventually(async () => {
    const depth = await world.mailboxes.depth(resultsMailbox)
    expect(depth).toEqual({ waiting: 0, active: 0, delayed: 0 })
  })

describe('a collector', () => {
  test('tells what it has stored to whoever counts what goes wrong', async () => {
    const world = await makeWorld(6)
    const told: unknown[] = []
    const escalation: NonNullable<CollectorOptions['escalation']> = {
      counted: (kind, settlement, settled) =>
        void told.push([kind, settlement?.outcomes, settled?.fresh, world.audit.lines.length]),
    }
    const it = beginCollector(world, { escalation })
    await it.ready()
    await send(world, results(0, ['ok', 'failed', 'dead']))
    await isAcknowledged(world)
    expect(told).toEqual([['job', ['ok', 'failed', 'dead'], 3, 3]])
    // Again, from somebody else: nothing of it is new.
    await send(world, results(0, ['ok', 'failed', 'dead'], 1, 'n-2'))
    await isAcknowledged(world)
    expect(told).toHaveLength(2)
    expect(told[1]).toContain(0)
  })

  test('counts, stores and writes down each outcome, and frees the room', async () => {
    const world = await makeWorld(4)
    beginCollector(world)
    await send(world, results(0, ['ok', 'failed']), results(2, ['timeout', 'dead'], 3))
    const run = await finished(world, 'r-1')
    expect(run.counts).toMatchObject({ ok: 1, failed: 1, timeout: 1, dead: 1, pending: 0 })
    const rows = await rowsOf(world)
    expect(rows.map(({ seq, outcome, attempt }) => [seq, outcome, attempt])).toEqual([
      [0, 'ok', 1],
      [1, 'failed', 1],
      [2, 'timeout', 3],
      [3, 'dead', 3],
    ])
    expect(rows[0]).toEqual({
      run: 'r-1',
      seq: 0,
      kind: 'job',
      outcome: 'ok',
      attempt: 1,
      node: 'n-1',
      worker: 'work.job',
      startedAt: 100,
      durationMs: 5,
      queueMs: 2,
    })
    expect(world.audit.lines.map((line) => JSON.parse(line) as ResultLine)).toEqual(rows)
    expect(await world.admission.used('work.job')).toBe(0)
    await isAcknowledged(world)
  })

  test('takes what waits in batches, never more than its limit', async () => {
    const world = await makeWorld(100)
    const batches: number[] = []
    const accounting = {
      ...world.accounting,
      async settle(...args: Parameters<typeof world.accounting.settle>) {
        batches.push(args[0].length)
        await systemClock.breathe()
        return world.accounting.settle(...args)
      },
    }
    await send(world, ...Array.from({ length: 100 }, (_, seq) => results(seq, ['ok'])))
    beginCollector(world, { accounting, batchMax: 30 })
    const run = await finished(world, 'r-1')
    expect(run.counts.ok).toBe(100)
    expect(Math.max(...batches)).toBeGreaterThan(1)
    expect(Math.max(...batches)).toBeLessThanOrEqual(30)
    expect(batches.reduce((sum, size) => sum + size, 0)).toBe(100)
  })

  test('of two results for one task the first counts, and stays', async () => {
    const world = await makeWorld(2)
    beginCollector(world)
    await send(world, results(0, ['ok'], 1, 'n-1'))
    await isAcknowledged(world)
    await send(world, results(0, ['failed'], 1, 'n-2'), results(1, ['ok'], 1, 'n-2'))
    const run = await finished(world, 'r-1')
    expect(run.counts).toMatchObject({ ok: 2, failed: 0, pending: 0 })
    const rows = await rowsOf(world)
    expect(rows.map(({ seq, outcome, node }) => [seq, outcome, node])).toEqual([
      [0, 'ok', 'n-1'],
      [1, 'ok', 'n-2'],
    ])
    expect(await world.admission.used('work.job')).toBe(0)
    await isAcknowledged(world)
  })

  test('of two results for one task in one batch the first counts', async () => {
    const world = await makeWorld(1)
    await send(world, results(0, ['timeout'], 1, 'n-1'), results(0, ['ok'], 1, 'n-2'))
    beginCollector(world)
    const run = await finished(world, 'r-1')
    expect(run.counts).toMatchObject({ timeout: 1, ok: 0, pending: 0 })
    expect((await rowsOf(world)).map(({ outcome, node }) => [outcome, node])).toEqual([
      ['timeout', 'n-1'],
    ])
  })

  test('where only some are news, the others are neither counted nor stored again', async () => {
    const world = await makeWorld(3)
    beginCollector(world)
    await send(world, results(1, ['failed'], 1, 'n-1'))
    await isAcknowledged(world)
    await send(world, results(0, ['ok', 'ok', 'ok'], 1, 'n-2'))
    const run = await finished(world, 'r-1')
    expect(run.counts).toMatchObject({ ok: 2, failed: 1, pending: 0 })
    expect((await rowsOf(world)).map(({ seq, node }) => [seq, node])).toEqual([
      [0, 'n-2'],
      [1, 'n-1'],
      [2, 'n-2'],
    ])
  })

  test('a redelivery that agrees stores the row that is missing', async () => {
    const world = await makeWorld(1)
    // Counted by a collector that died before it could store the row.
    const body = results(0, ['ok'])
    await world.accounting.settle([
      {
        run: 'r-1',
        id: envelopeId(body, '.n-1.r'),
        mailbox: 'work.job',
        seqs: body.seqs,
        outcomes: ['ok'],
      },
    ])
    expect(await rowsOf(world)).toEqual([])
    expect((await world.accounting.get('r-1'))?.run.state).toBe('running')
    beginCollector(world)
    await send(world, body)
    const run = await finished(world, 'r-1')
    expect(run.counts).toMatchObject({ ok: 1, pending: 0 })
    expect((await rowsOf(world)).map(({ outcome }) => outcome)).toEqual(['ok'])
  })

  test('what cannot be stored is not acknowledged, and stored later', async () => {
    const world = await makeWorld(2)
    let refusals = 3
    const stored: ResultBatch[][] = []
    const store = {
      ...world.results,
      async put(rows: readonly ResultBatch[]) {
        refusals -= 1
        if (refusals >= 0) throw new Error('the disk is full')
        stored.push([...rows])
        await world.results.put(rows)
      },
    }
    const gate = Promise.withResolvers<void>()
    const held = {
      ...store,
      async put(rows: readonly ResultBatch[]) {
        if (refusals === 1) await gate.promise
        await store.put(rows)
      },
    }
    beginCollector(world, { results: held })
    await send(world, results(0, ['ok', 'failed']))
    await eventually(() => expect(refusals).toBe(1))
    const { state, counts } = (await world.accounting.get('r-1'))?.run ?? {}
    expect([state, counts?.pending]).toEqual(['running', 0])
    expect((await world.mailboxes.depth(resultsMailbox)).active).toBe(1)
    gate.resolve()
    const run = await finished(world, 'r-1')
    expect(run.counts).toMatchObject({ ok: 1, failed: 1 })
    expect(stored.map((batches) => batches.map(({ outcomes }) => outcomes))).toEqual([['12']])
    expect(world.audit.lines).toHaveLength(2)
  })

  test('what the audit log did not take is not acknowledged, and written later', async () => {
    const world = await makeWorld(1)
    let refusals = 2
    const audit = {
      ...world.audit,
      async appendResults(batches: readonly ResultBatch[]) {
        refusals -= 1
        if (refusals >= 0) throw new Error('the disk is full')
        await world.audit.appendResults(batches)
      },
    }
    beginCollector(world, { audit })
    await send(world, results(0, ['ok']))
    await finished(world, 'r-1')
    expect(world.audit.lines).toHaveLength(1)
    expect(await rowsOf(world)).toHaveLength(1)
  })

  test('a run is complete only when its rows are stored', async () => {
    const world = await makeWorld(1)
    const gate = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    const held = {
      ...world.results,
      async put(rows: readonly ResultBatch[]) {
        asked.resolve()
        await gate.promise
        await world.results.put(rows)
      },
    }
    beginCollector(world, { results: held })
    await send(world, results(0, ['ok']))
    await asked.promise
    const before = await world.accounting.get('r-1')
    expect([before?.run.counts.ok, before?.run.state]).toEqual([1, 'running'])
    gate.resolve()
    await finished(world, 'r-1')
    expect(await rowsOf(world)).toHaveLength(1)
  })

  test('results of a run that is not known are taken and forgotten', async () => {
    const world = await makeWorld(1)
    beginCollector(world)
    await send(world, { ...results(0, ['ok']), run: 'r-gone' })
    await isAcknowledged(world)
    expect(world.audit.lines).toEqual([])
  })

  test('a stopping collector finishes the batch at hand', async () => {
    const world = await makeWorld(1)
    const gate = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    const held = {
      ...world.results,
      async put(rows: readonly ResultBatch[]) {
        asked.resolve()
        await gate.promise
        await world.results.put(rows)
      },
    }
    const life = beginCollector(world, { results: held })
    await send(world, results(0, ['ok']))
    await asked.promise
    const stopped = life.stop()
    gate.resolve()
    await stopped
    expect((await world.accounting.get('r-1'))?.run.state).toBe('completed')
    await isAcknowledged(world)
  })

  test('stopped while it opens its mailbox, it receives nothing later', async () => {
    const world = await makeWorld(1)
    const gate = Promise.withResolvers<void>()
    const mailboxes = {
      ...world.mailboxes,
      async receive(...args: Parameters<typeof world.mailboxes.receive>) {
        await gate.promise
        return world.mailboxes.receive(...args)
      },
    }
    const life = beginCollector(world, { mailboxes })
    life.actor.send({ type: 'stop' })
    gate.resolve()
    await life.stop()
    await send(world, results(0, ['ok']))
    await systemClock.breathe()
    expect((await world.mailboxes.depth(resultsMailbox)).waiting).toBe(1)
  })
})
