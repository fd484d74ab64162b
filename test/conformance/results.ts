/** What every implementation of the results port must do. */
import { beforeEach, expect, test } from 'bun:test'
import type { Attempt, Results } from '../../actors/ports.ts'
import type { ResultLine } from '../../actors/result.ts'
import { type ResultBatch, sealed } from '../../actors/results.ts'
import { type Outcome, outcomeCode, outcomes } from '../../machines/outcome.ts'

/** Opens a store with nothing in it. */
export type OpenResults = () => Promise<Results> | Results

function lineOf(run: string, seq: number, outcome: Outcome, output?: unknown): ResultLine {
  return {
    run,
    seq,
    kind: 'probe',
    outcome,
    attempt: 1,
    node: 'n-1',
    worker: 'w-1',
    startedAt: 1000,
    durationMs: 1.5,
    queueMs: 0,
    ...(output === undefined ? {} : { output }),
  }
}

/** The result of one task, as a batch. */
export function rowOf(run: string, seq: number, outcome: Outcome, output?: unknown): ResultBatch {
  return {
    run,
    kind: 'probe',
    attempt: 1,
    node: 'n-1',
    worker: 'w-1',
    seqs: [[seq, 1]],
    outcomes: String(outcomeCode(outcome)),
    at: 900,
    startedAt: [100],
    durationMs: [1.5],
    queueMs: [0],
    ...(output === undefined ? {} : { more: [{ output }] }),
  }
}

export function textOf(...args: Parameters<typeof lineOf>): string {
  return JSON.stringify(lineOf(...args))
}

export function resultsConformance(open: OpenResults): void {
  let results: Results
  beforeEach(async () => {
    results = await open()
  })

  const seqsOf = async (run: string, query: Parameters<Results['query']>[1]) =>
    (await results.query(run, query)).map(({ seq }) => seq)

  /** Seven tasks, one of each outcome, stored in no order. */
  const storeEach = async (run: string) => {
    const rows = outcomes.map((outcome, seq) => rowOf(run, seq, outcome))
    await results.put(rows.toReversed())
    return rows
  }

  test('what is put is found, with the line as it was', async () => {
    const output = { text: 'ü "quoted"\n\u2028 \ud83d\ude80 \u0000', list: [1, null] }
    await results.put([rowOf('r-1', 3, 'ok', output)])
    const line = textOf('r-1', 3, 'ok', output)
    expect(await results.query('r-1', { limit: 10 })).toEqual([{ seq: 3, line }])
    expect(await results.get('r-1', 3)).toEqual({
      line: lineOf('r-1', 3, 'ok', output),
      attempts: [],
    })
  })

  test('earlier attempts are kept beside the line', async () => {
    const attempts: Attempt[] = [
      {
        attempt: 1,
        startedAt: 5,
        durationMs: 2,
        node: 'n-1',
        error: { code: 'EXIT', message: 'exit code 75' },
      },
    ]
    await results.put([{ ...rowOf('r-1', 0, 'ok'), more: [{ attempts }] }])
    expect((await results.get('r-1', 0))?.attempts).toEqual(attempts)
  })

  test('the first row of a task stays', async () => {
    await results.put([rowOf('r-1', 0, 'ok', 'first')])
    await results.put([rowOf('r-1', 0, 'failed', 'second'), rowOf('r-1', 1, 'ok')])
    await results.put([rowOf('r-1', 2, 'dead', 'first'), rowOf('r-1', 2, 'ok', 'second')])
    expect((await results.query('r-1', { limit: 10 }))[0]?.line).toBe(
      textOf('r-1', 0, 'ok', 'first'),
    )
    expect((await results.get('r-1', 0))?.line.output).toBe('first')
    expect((await results.get('r-1', 2))?.line.output).toBe('first')
    expect(await seqsOf('r-1', { limit: 10, outcomes: ['failed'] })).toEqual([])
    expect(await seqsOf('r-1', { limit: 10 })).toEqual([0, 1, 2])
  })

  test('what nobody put is not there', async () => {
    await results.put([])
    await results.put([rowOf('r-1', 0, 'ok')])
    expect(await results.query('r-2', { limit: 10 })).toEqual([])
    expect(await results.get('r-2', 0)).toBeUndefined()
    expect(await results.get('r-1', 1)).toBeUndefined()
  })

  test('rows come by ascending seq, page by page', async () => {
    const seqs = [100_001, 5, 99, 0, 17, 10_000_000]
    await results.put(seqs.map((seq) => rowOf('r-1', seq, 'ok')))
    await results.put([rowOf('r-1', 3, 'ok'), rowOf('r-2', 4, 'ok')])
    expect(await seqsOf('r-1', { limit: 3 })).toEqual([0, 3, 5])
    expect(await seqsOf('r-1', { limit: 3, after: 5 })).toEqual([17, 99, 100_001])
    expect(await seqsOf('r-1', { limit: 3, after: 100_001 })).toEqual([10_000_000])
    expect(await seqsOf('r-1', { limit: 3, after: 10_000_000 })).toEqual([])
    expect(await seqsOf('r-1', { limit: 10, after: 0 })).not.toContain(0)
  })

  test('rows are chosen by outcome; no outcomes named means all', async () => {
    await storeEach('r-1')
    for (const [seq, outcome] of outcomes.entries()) {
      expect(await seqsOf('r-1', { limit: 10, outcomes: [outcome] })).toEqual([seq])
    }
    const some: Outcome[] = ['unreached', 'failed', 'dead']
    expect(await seqsOf('r-1', { limit: 10, outcomes: some })).toEqual([1, 5, 6])
    expect(await seqsOf('r-1', { limit: 2, outcomes: some, after: 1 })).toEqual([5, 6])
    expect(await seqsOf('r-1', { limit: 1, outcomes: some, after: 1 })).toEqual([5])
    expect(await seqsOf('r-1', { limit: 10, outcomes: [] })).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(await seqsOf('r-1', { limit: 10 })).toEqual([0, 1, 2, 3, 4, 5, 6])
  })

  test('runs beyond those lately used are found again', async () => {
    const runs = Array.from({ length: 1500 }, (_, index) => `r-${index}`)
    await results.put(runs.map((run) => rowOf(run, 0, 'ok', run)))
    await results.put(runs.map((run) => rowOf(run, 0, 'ok', 'again')))
    for (const run of ['r-0', 'r-700', 'r-1499']) {
      expect((await results.get(run, 0))?.line.output).toBe(run)
      expect(await seqsOf(run, { limit: 2 })).toEqual([0])
    }
  })

  test('a row is as it was when it was put', async () => {
    const more: { output: unknown }[] = [{ output: 'as it was' }]
    await results.put([{ ...rowOf('r-1', 0, 'ok'), more }])
    more[0] = { output: 'other' }
    const line = textOf('r-1', 0, 'ok', 'as it was')
    expect(await results.query('r-1', { limit: 1 })).toEqual([{ seq: 0, line }])
  })

  test('of a batch with one row that cannot be stored nothing is', async () => {
    await results.put([rowOf('r-1', 0, 'ok')])
    const bad: ResultBatch = { ...rowOf('r-1', 2, 'ok'), seqs: [[2.5, 1]] }
    const refused = await results
      .put([rowOf('r-1', 1, 'ok'), rowOf('r-new', 0, 'ok'), bad])
      .catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(Error)
    expect(await seqsOf('r-1', { limit: 10 })).toEqual([0])
    expect(await seqsOf('r-new', { limit: 10 })).toEqual([])
    // And what was learned on the way is not taken for true.
    await results.put([rowOf('r-other', 0, 'ok', 'other')])
    await results.put([rowOf('r-new', 0, 'ok', 'new')])
    expect((await results.get('r-new', 0))?.line.output).toBe('new')
    expect((await results.get('r-other', 0))?.line.output).toBe('other')
  })
  test.each([
    ['as it is', (batch: ResultBatch) => batch],
    ['as it travels', sealed],
  ])('what a batch says of each of its tasks, %s, is found with that task', async (_, sent) => {
    const attempts: Attempt[] = [
      { attempt: 2, startedAt: 5, durationMs: 2, node: 'n-2', error: { code: 'E', message: 'm' } },
    ]
    const batch: ResultBatch = {
      ...rowOf('r-1', 0, 'ok'),
      attempt: 2,
      seqs: [
        [3, 2],
        [10, 1],
      ],
      outcomes: '121',
      startedAt: [0, 7, 9],
      durationMs: [0.5, 1, 2],
      queueMs: [1, 2, 3],
      more: [
        null,
        { id: 'b', target: 't', error: { code: 'C', message: 'M' }, attempts, attempt: 3 },
        { output: [1] },
      ],
    }
    await results.put([sent(batch)])
    const found = await results.query('r-1', { limit: 10 })
    const times = { node: 'n-1', worker: 'w-1' }
    expect(found.map(({ line }) => JSON.parse(line))).toEqual([
      { ...lineOf('r-1', 3, 'ok'), attempt: 2, startedAt: 900, durationMs: 0.5, queueMs: 1 },
      {
        ...lineOf('r-1', 4, 'failed'),
        ...times,
        id: 'b',
        target: 't',
        attempt: 3,
        startedAt: 907,
        durationMs: 1,
        queueMs: 2,
        error: { code: 'C', message: 'M' },
      },
      {
        ...lineOf('r-1', 10, 'ok', [1]),
        attempt: 2,
        startedAt: 909,
        durationMs: 2,
        queueMs: 3,
      },
    ])
    expect((await results.get('r-1', 4))?.attempts).toEqual(attempts)
  })

  test('a row says why its task ran on its node, where that was chosen', async () => {
    const routing = {
      strategy: 'weighted',
      candidates: 2,
      excluded: { full: 1 },
      winner: 'a',
      score: 2100,
      fallbacks: [{ node: 'b', score: 1900 }],
    } as const
    const chosen = { ...routing, fallbacks: [...routing.fallbacks] }
    await results.put([
      { ...rowOf('r-1', 0, 'ok'), more: [{ routing: chosen }] },
      rowOf('r-1', 1, 'ok'),
    ])
    expect((await results.get('r-1', 0))?.routing).toEqual(chosen)
    expect((await results.get('r-1', 1))?.routing).toBeUndefined()
    const [first] = await results.query('r-1', { limit: 1 })
    expect(first?.line).not.toContain('routing')
  })

  test('what is needed to run a task again is kept with it', async () => {
    const task = { input: { a: [1] }, key: 'k' }
    await results.put([
      { ...rowOf('r-1', 0, 'failed'), more: [{ task }] },
      { ...rowOf('r-1', 1, 'failed'), priority: 'high', more: [{ task }] },
      { ...rowOf('r-1', 2, 'failed'), priority: 'low' },
      rowOf('r-1', 3, 'failed'),
    ])
    const found = await results.tasks('r-1', { limit: 10, outcomes: ['failed'] })
    const tasks = found.map((row) => (row.task === undefined ? undefined : JSON.parse(row.task)))
    expect(tasks).toEqual([task, { ...task, priority: 'high' }, { priority: 'low' }, undefined])
    expect(found.map(({ line }) => line)).toEqual(
      (await results.query('r-1', { limit: 10 })).map(({ line }) => line),
    )
  })

  test('a batch of thousands is stored to the last row', async () => {
    const count = 2777
    const zeros = Array<number>(count).fill(0)
    const columns = { startedAt: zeros, durationMs: zeros, queueMs: zeros }
    const rows = { seqs: [[5, count] as const], outcomes: '1'.repeat(count), ...columns }
    await results.put([{ ...rowOf('r-1', 0, 'ok'), ...rows }])
    const seqs = await seqsOf('r-1', { limit: 10_000 })
    expect(seqs).toEqual(Array.from({ length: count }, (_, index) => index + 5))
  })
}
