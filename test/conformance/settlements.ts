/** What every implementation of the accounting port must do: outcomes, counted once; the end. */
import { beforeEach, expect, test } from 'bun:test'
import {
  array,
  assert as assertProperty,
  asyncProperty,
  constantFrom,
  integer,
  record,
  tuple,
} from 'fast-check'
import { countSeqs, eachSeq } from '../../actors/envelope.ts'
import type { Admission } from '../../actors/ports.ts'
import type { Accounting, RunNotice, SeqRange, Settlement } from '../../actors/ports-runs.ts'
import { noCounts, type Outcome, outcomes } from '../../machines/outcome.ts'
import { eventually } from '../kit/eventually.ts'
import { chunkOf, mailbox, type OpenBooks, runOf, settlementOf } from './accounting.ts'

export function settlementConformance(open: OpenBooks): void {
  let accounting: Accounting
  let admission: Admission
  let now = 5000
  beforeEach(async () => {
    now = 5000
    const books = await open(() => now)
    accounting = books.accounting
    admission = books.admission
  })

  /** A run of so many accepted tasks. */
  const accept = async (run: string, tasks: number) => {
    await accounting.open(runOf(run))
    await accounting.commit(run, chunkOf(0, tasks))
  }

  const settleAndStore = async (settlement: Settlement) => {
    const settled = await accounting.settle([settlement])
    await accounting.stored([settlement])
    return settled[0]
  }

  const stateOf = async (run: string) => (await accounting.get(run))?.run.state
  const countsOf = async (run: string) => (await accounting.get(run))?.run.counts

  for (const first of [0, 1, 2, 7, 100_000, 100_001, 9_999_999]) {
    for (const count of [1, 2, 3, 1000, 1001]) {
      test(`${count} tasks from seq ${first} are settled, their neighbours not`, async () => {
        await accounting.open(runOf('r-1'))
        await accounting.commit('r-1', chunkOf(0, 20_000_000))
        const ends = Array.from({ length: count }, (_, index) => outcomes[index % 7] ?? 'ok')
        const settlement = settlementOf('r-1', 's', [[first, count]], ends)
        expect(await accounting.settle([settlement])).toStrictEqual([{ fresh: count }])
        const around = await accounting.pending('r-1', [
          [Math.max(0, first - 1), 1],
          [first, count],
          [first + count, 2],
        ])
        expect(around).toEqual([first > 0, ...Array<boolean>(count).fill(false), true, true])
        expect(await accounting.settle([settlement])).toEqual([{ fresh: 0, outcomes: ends }])
        const neighbours = settlementOf('r-1', 'n', [[first + count, 1]], 'dead')
        expect(await accounting.settle([neighbours])).toEqual([{ fresh: 1 }])
      })
    }
  }

  test('an envelope of many ranges is settled as one', async () => {
    await accept('r-1', 40)
    const seqs: SeqRange[] = [
      [0, 1],
      [3, 2],
      [6, 1],
      [9, 4],
      [30, 3],
    ]
    const ends: Outcome[] = outcomes.concat(outcomes).slice(0, countSeqs(seqs))
    expect(await settleAndStore(settlementOf('r-1', 's', seqs, ends))).toEqual({ fresh: 11 })
    const all = await accounting.pending('r-1', [[0, 40]])
    const settled = all.flatMap((isPending, seq) => (isPending ? [] : [seq]))
    expect(settled).toEqual([...eachSeq(seqs)])
  })

  test('ranges that touch are as good as one', async () => {
    await accept('r-1', 6)
    const ends: Outcome[] = ['ok', 'failed', 'dead', 'timeout']
    const touching = settlementOf(
      'r-1',
      's',
      [
        [1, 1],
        [2, 1],
        [3, 2],
      ],
      ends,
    )
    expect(await accounting.settle([touching])).toEqual([{ fresh: 4 }])
    expect(await accounting.settle([settlementOf('r-1', 't', [[1, 4]], 'ok')])).toEqual([
      { fresh: 0, outcomes: ends },
    ])
  })

  test('the first outcome of a task stays, and only fresh ones are counted', async () => {
    await accept('r-1', 10)
    await accounting.settle([settlementOf('r-1', 'a', [[2, 3]], ['ok', 'failed', 'dead'])])
    const overlap = settlementOf(
      'r-1',
      'b',
      [
        [1, 3],
        [4, 2],
      ],
      'timeout',
    )
    expect(await accounting.settle([overlap])).toEqual([
      { fresh: 2, outcomes: ['timeout', 'ok', 'failed', 'dead', 'timeout'] },
    ])
    expect(await countsOf('r-1')).toEqual({
      ...noCounts(),
      ok: 1,
      failed: 1,
      dead: 1,
      timeout: 2,
      pending: 5,
    })
  })

  test('settlements handed in together are settled in their order', async () => {
    await accept('r-1', 4)
    await accept('r-2', 4)
    expect(
      await accounting.settle([
        settlementOf('r-1', 'a', [[0, 2]], 'ok'),
        settlementOf('r-2', 'a', [[1, 1]], 'dead'),
        settlementOf('r-1', 'b', [[1, 2]], 'failed'),
      ]),
    ).toEqual([{ fresh: 2 }, { fresh: 1 }, { fresh: 1, outcomes: ['ok', 'failed'] }])
  })

  test('a run ends when its source has ended, all have outcomes and all is stored', async () => {
    const parts = {
      close: () => accounting.close('r-1'),
      settle: async () => {
        await accounting.settle([settlement])
        await accounting.stored([settlement])
      },
      settleLast: async () => {
        await accounting.settle([last])
        await accounting.stored([last])
      },
    }
    const settlement = settlementOf('r-1', 'a', [[0, 3]], 'ok')
    const last = settlementOf('r-1', 'b', [[3, 1]], 'failed')
    const orders = [
      ['close', 'settle', 'settleLast'],
      ['settle', 'close', 'settleLast'],
      ['settleLast', 'settle', 'close'],
    ] as const
    for (const [index, order] of orders.entries()) {
      const books = await open(() => now)
      accounting = books.accounting
      await accept('r-1', 4)
      for (const part of order.slice(0, 2)) {
        await parts[part]()
        expect({ index, part, state: await stateOf('r-1') }).not.toMatchObject({
          state: 'completed',
        })
      }
      now = 7500
      await parts[order[2]]()
      expect(await accounting.get('r-1')).toMatchObject({
        closed: true,
        run: {
          state: 'completed',
          total: 4,
          finishedAt: 7500,
          durationMs: 6500,
          counts: { ok: 3, failed: 1, pending: 0 },
        },
      })
      expect(await accounting.unfinished()).toEqual([])
    }
  })

  test('a run does not end while rows of it are still being stored', async () => {
    await accept('r-1', 4)
    const [a, b] = [
      settlementOf('r-1', 'a', [[0, 2]], 'ok'),
      settlementOf('r-1', 'b', [[2, 2]], 'ok'),
    ]
    await accounting.close('r-1')
    await accounting.settle([a, b])
    expect(await stateOf('r-1')).toBe('running')
    await accounting.stored([b])
    expect(await stateOf('r-1')).toBe('running')
    // Whoever stored it was killed before it could say so: it comes again, with nothing fresh.
    await accounting.settle([a])
    await accounting.stored([a, b])
    expect(await stateOf('r-1')).toBe('completed')
  })

  test('a settlement that is stored holds up nothing when it is settled again', async () => {
    await accept('r-1', 2)
    await accounting.close('r-1')
    const first = settlementOf('r-1', 's', [[0, 1]], 'ok')
    await settleAndStore(first)
    // Who took the same message before stood still, goes on, and is killed before he stores it.
    expect(await accounting.settle([first])).toEqual([{ fresh: 0, outcomes: ['ok'] }])
    expect(await stateOf('r-1')).toBe('running')
    await settleAndStore(settlementOf('r-1', 't', [[1, 1]], 'ok'))
    expect(await stateOf('r-1')).toBe('completed')
  })

  test('a finished run stays as it is', async () => {
    await accept('r-1', 2)
    const notices: RunNotice[] = []
    const unwatch = await accounting.watch((notice) => {
      if (notice !== undefined) notices.push(notice)
    })
    const settlement = settlementOf('r-1', 'a', [[0, 2]], 'ok')
    await accounting.close('r-1')
    await settleAndStore(settlement)
    const finished = await accounting.get('r-1')
    now = 9000
    const late = settlementOf('r-1', 'late', [[0, 2]], 'failed')
    expect(await settleAndStore(late)).toEqual({ fresh: 0, outcomes: ['ok', 'ok'] })
    await accounting.stored([settlement])
    await accounting.close('r-1')
    expect(await accounting.get('r-1')).toEqual(finished)
    await accept('r-2', 0)
    await accounting.close('r-2')
    await eventually(() => expect(notices.at(-1)).toMatchObject({ run: 'r-2' }))
    await unwatch()
    const completed = notices.filter(({ state }) => state === 'completed')
    expect(completed.map(({ run }) => run)).toEqual(['r-1', 'r-2'])
  })

  test('many that finish a run at once finish it once', async () => {
    await accept('r-1', 100)
    await accounting.close('r-1')
    let completions = 0
    const unwatch = await accounting.watch((notice) => {
      if (notice?.state === 'completed') completions += 1
    })
    await Promise.all(
      Array.from({ length: 100 }, (_, seq) =>
        settleAndStore(settlementOf('r-1', `s${seq}`, [[seq, 1]], 'ok')),
      ),
    )
    expect(await stateOf('r-1')).toBe('completed')
    await accept('r-2', 0)
    await accounting.close('r-2')
    await eventually(() => expect(completions).toBe(2))
    await unwatch()
  })

  test('an empty run ends with its source', async () => {
    await accept('r-1', 0)
    await accounting.close('r-1')
    expect(await accounting.get('r-1')).toMatchObject({ run: { state: 'completed', total: 0 } })
  })

  test('settling gives back the room of fresh tasks, the end of a run what is left', async () => {
    await accept('r-1', 4)
    await accept('r-2', 1)
    const used = () => Promise.all([mailbox, 'work.other'].map((name) => admission.used(name)))
    expect(await admission.reserve(mailbox, 'r-1', 4, 100)).toBe(true)
    expect(await admission.reserve(mailbox, 'r-2', 1, 100)).toBe(true)
    // Reserved by somebody who was killed before the message was sent.
    expect(await admission.reserve(mailbox, 'r-1', 3, 100)).toBe(true)
    expect(await admission.reserve('work.other', 'r-1', 2, 100)).toBe(true)
    expect(await used()).toEqual([8, 2])
    const settlement = settlementOf('r-1', 'a', [[0, 3]], 'ok')
    await accounting.settle([settlement])
    await accounting.settle([settlement])
    expect(await used()).toEqual([5, 2])
    await accounting.stored([settlement])
    await settleAndStore(settlementOf('r-1', 'b', [[3, 1]], 'ok'))
    expect(await used()).toEqual([4, 2])
    await accounting.close('r-1')
    expect(await used()).toEqual([1, 0])
  })

  test('thousands of settlements may be stored together', async () => {
    await accept('r-1', 10_000)
    const settlements = Array.from({ length: 10_000 }, (_, seq) =>
      settlementOf('r-1', `s${seq}`, [[seq, 1]], 'ok'),
    )
    await accounting.close('r-1')
    await accounting.settle(settlements)
    await accounting.stored(settlements)
    expect(await stateOf('r-1')).toBe('completed')
  })

  test('random settlements in random order come to what a map of first outcomes says', async () => {
    let number = 0
    await assertProperty(
      asyncProperty(batches, constantFrom(0, 1, 99_999), async (given, base) => {
        number += 1
        const run = `r-${number}`
        const model = new Map<number, Outcome>()
        await accounting.open(runOf(run))
        await accounting.commit(run, chunkOf(0, base + size + 1))
        const filler = settlementOf(run, 'filler', base === 0 ? [] : [[0, base]], 'ok')
        if (base > 0) await accounting.settle([filler])
        for (const [batch, settlements] of given.entries()) {
          const batchOf = settlements.map(({ start, ranges, ends }, index) => {
            const seqs = rangesFrom(base, start, ranges)
            const chosen = [...eachSeq(seqs)].map((_, at) => ends[at % ends.length] ?? 'ok')
            return settlementOf(run, `${batch}.${index}`, seqs, chosen)
          })
          const expected = batchOf.map((settlement) => settleModel(model, settlement))
          expect(await accounting.settle(batchOf)).toStrictEqual(expected)
          await accounting.stored(batchOf)
        }
        const counts = noCounts()
        for (const outcome of model.values()) counts[outcome] += 1
        counts.ok += base
        counts.pending = size + 1 - model.size
        await accounting.close(run)
        expect(await countsOf(run)).toEqual(counts)
        expect(await accounting.pending(run, [[base, size]])).toEqual(
          Array.from({ length: size }, (_, index) => !model.has(base + index)),
        )
        expect(await stateOf(run)).toBe('running')
        const rest = settlementOf(run, 'rest', [[base, size + 1]], 'unreached')
        expect((await accounting.settle([rest]))[0]?.fresh).toBe(size + 1 - model.size)
        await accounting.stored(base > 0 ? [rest] : [rest, filler])
        expect(await stateOf(run)).toBe(base > 0 ? 'running' : 'completed')
        await accounting.stored([filler])
        expect(await stateOf(run)).toBe('completed')
      }),
      { numRuns: 60 },
    )
  })
}

/** Tasks of a run in the property test; one more keeps it from ending early. */
const size = 40

const settlements = record({
  start: integer({ min: 0, max: size - 1 }),
  /** Gap before each range, and its length. */
  ranges: array(tuple(integer({ min: 0, max: 5 }), integer({ min: 1, max: 7 })), {
    minLength: 1,
    maxLength: 5,
  }),
  ends: array(constantFrom(...outcomes), { minLength: 1, maxLength: 7 }),
})
const batches = array(array(settlements, { minLength: 1, maxLength: 4 }), { maxLength: 6 })

/** Ascending ranges within the run. */
function rangesFrom(
  base: number,
  start: number,
  gaps: readonly (readonly [number, number])[],
): SeqRange[] {
  const ranges: SeqRange[] = []
  let next = base + start
  for (const [gap, length] of gaps) {
    const first = next + gap
    const count = Math.min(length, base + size - first)
    if (count > 0) ranges.push([first, count])
    next = first + length
  }
  return ranges
}

function settleModel(model: Map<number, Outcome>, { seqs, outcomes: ends }: Settlement) {
  const tasks = [...eachSeq(seqs)]
  let fresh = 0
  tasks.forEach((seq, index) => {
    if (model.has(seq)) return
    model.set(seq, ends[index] ?? 'ok')
    fresh += 1
  })
  return fresh === tasks.length
    ? { fresh }
    : { fresh, outcomes: tasks.map((seq) => model.get(seq)) }
}
