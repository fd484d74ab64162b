import { describe, expect, test } from 'bun:test'
import {
  array,
  assert,
  constantFrom,
  integer,
  option,
  property,
  record,
  uniqueArray,
} from 'fast-check'
import {
  appendSeq,
  countSeqs,
  delayOf,
  type Envelope,
  eachSeq,
  envelopeId,
  type PackItem,
  type PackLimits,
  pack,
  workMessage,
} from '../../actors/envelope.ts'
import { mailboxKind, workMailbox } from '../../actors/place.ts'
import type { SeqRange } from '../../actors/ports-runs.ts'
import { itemsOf, packLimits, taskOf } from './world.ts'

const kinds = ['exec', 'http']
const items = array(
  record({
    kind: constantFrom(...kinds),
    key: option(constantFrom('a', 'b'), { nil: undefined }),
    priority: constantFrom('critical', 'normal', 'normal'),
    delayMs: constantFrom(0, 0, 500),
    once: constantFrom(false, false, true),
    bytes: integer({ min: 1, max: 400 }),
  }),
  { maxLength: 120, size: '+2' },
).map((lines) =>
  lines.map(
    ({ kind, key, priority, delayMs, once, bytes }, seq): PackItem => ({
      kind,
      priority,
      seq,
      bytes,
      task: {
        input: { seq },
        ...(key === undefined ? {} : { key }),
        ...(delayMs === 0 ? {} : { delayMs }),
        ...(once ? { delivery: 'at-most-once' as const } : {}),
      },
    }),
  ),
)
const limits = record({
  tasksMax: integer({ min: 1, max: 20 }),
  bytesMax: integer({ min: 1, max: 8000 }),
  keyPartitions: integer({ min: 1, max: 16 }),
  share: integer({ min: -1, max: 30 }),
}).map(
  ({ tasksMax, bytesMax, keyPartitions, share }): PackLimits => ({
    tasksMax,
    bytesMax,
    keyPartitions,
    shards: keyPartitions,
    tasksOf: () => share,
  }),
)

const packedAlike = ({ kind, priority, task }: PackItem, { keyPartitions }: PackLimits) =>
  [
    workMailbox(kind, task.key, keyPartitions),
    priority,
    task.delayMs ?? 0,
    task.delivery ?? '',
  ].join()

describe('packing', () => {
  test('puts every task into exactly one envelope, under its own seq', () => {
    assert(
      property(items, limits, (all, limit) => {
        const found = pack('r-1', all, 0, limit).flatMap((envelope) =>
          [...eachSeq(envelope.seqs)].map((seq, index) => [seq, envelope.tasks[index]] as const),
        )
        expect(found.toSorted(([a], [b]) => a - b)).toEqual(
          all.map(({ seq, task }) => [seq, task] as const),
        )
      }),
    )
  })

  test('keeps seqs ascending in an envelope, and envelopes in the order of their first', () => {
    assert(
      property(items, limits, (all, limit) => {
        const envelopes = pack('r-1', all, 0, limit)
        for (const { seqs, tasks } of envelopes) {
          const inside = [...eachSeq(seqs)]
          expect(inside).toEqual(inside.toSorted((a, b) => a - b))
          expect(inside.length).toBe(tasks.length)
        }
        const firsts = envelopes.map(({ seqs }) => seqs[0]?.[0] ?? -1)
        expect(firsts).toEqual(firsts.toSorted((a, b) => a - b))
      }),
    )
  })

  test('keeps to its limits, except that one task is always let in', () => {
    assert(
      property(items, limits, (all, limit) => {
        const most = Math.max(1, Math.min(limit.tasksMax, limit.tasksOf('exec')))
        for (const { seqs, tasks } of pack('r-1', all, 0, limit)) {
          expect(tasks.length).toBeGreaterThan(0)
          expect(tasks.length).toBeLessThanOrEqual(most)
          const bytes = [...eachSeq(seqs)].reduce((sum, seq) => sum + (all[seq]?.bytes ?? 0), 0)
          if (tasks.length > 1) expect(bytes).toBeLessThanOrEqual(limit.bytesMax)
        }
      }),
    )
  })

  test('mixes no kinds, partitions, priorities, delays or ways of delivery', () => {
    assert(
      property(items, limits, (all, limit) => {
        for (const envelope of pack('r-1', all, 0, limit)) {
          const inside = [...eachSeq(envelope.seqs)].flatMap((seq) => all[seq] ?? [])
          expect(new Set(inside.map((item) => packedAlike(item, limit))).size).toBe(1)
          expect(envelope.kind).toBe(inside[0]?.kind ?? '')
        }
      }),
    )
  })

  test('keeps the order of every key, whatever else its tasks differ in', () => {
    assert(
      property(items, limits, (all, limit) => {
        const order = new Map<string, number[]>()
        for (const { mailbox, seqs, tasks } of pack('r-1', all, 0, limit)) {
          let index = 0
          for (const seq of eachSeq(seqs)) {
            const { key } = tasks[index] ?? {}
            const found = order.get(`${mailbox} ${key}`) ?? []
            if (key !== undefined) order.set(`${mailbox} ${key}`, [...found, seq])
            index += 1
          }
        }
        for (const seqs of order.values()) expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))
      }),
    )
  })

  test('says when the tasks could have run: when accepted, or after their delay', () => {
    const [now, later] = pack(
      'r-1',
      itemsOf([taskOf('noop'), taskOf('noop', { delayMs: 700 })]),
      10_000,
      packLimits,
    ) as [Envelope, Envelope]
    expect([now.readyAt, later.readyAt]).toEqual([10_000, 10_700])
    expect([delayOf(later, 10_100), delayOf(later, 11_000)]).toEqual([600, 0])
  })
})

describe('the id of an envelope', () => {
  const sets = uniqueArray(integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 20 }).map(
    (seqs) => {
      const ranges: [number, number][] = []
      for (const seq of seqs.toSorted((a, b) => a - b)) appendSeq(ranges, seq)
      return { seqs, ranges }
    },
  )
  const idOf = (seqs: SeqRange[], attempt = 1, run = 'r-1') => envelopeId({ run, seqs, attempt })

  test('is the same exactly for the same set of tasks', () => {
    assert(
      property(sets, sets, (one, other) => {
        const same = new Set(one.seqs).symmetricDifference(new Set(other.seqs)).size === 0
        expect(idOf(one.ranges) === idOf(other.ranges)).toBe(same)
      }),
      { numRuns: 2000 },
    )
  })

  test('tells run, attempt and what is a result apart', () => {
    const seqs: SeqRange[] = [[3, 2]]
    const ids = [
      idOf(seqs),
      idOf(seqs, 2),
      idOf(seqs, 1, 'r-2'),
      envelopeId({ run: 'r-1', seqs, attempt: 1 }, '.r'),
    ]
    expect(new Set(ids).size).toBe(4)
    expect(ids[0]).toBe('r-1.3+2.1')
  })

  test('is one that a mailbox takes: no colon, and not a number', () => {
    assert(
      property(sets, ({ ranges }) => {
        expect(idOf(ranges)).toMatch(/^r-1\.[0-9a-z+~]+\.1$/)
      }),
    )
  })
})

describe('ranges of seqs', () => {
  test('hold what was appended, in as few pieces as there are gaps', () => {
    assert(
      property(uniqueArray(integer({ min: 0, max: 60 })), (seqs) => {
        const sorted = seqs.toSorted((a, b) => a - b)
        const ranges: [number, number][] = []
        for (const seq of sorted) appendSeq(ranges, seq)
        expect([...eachSeq(ranges)]).toEqual(sorted)
        expect(countSeqs(ranges)).toBe(sorted.length)
        const gaps = sorted.filter((seq, index) => index > 0 && sorted[index - 1] !== seq - 1)
        expect(ranges.length).toBe(sorted.length === 0 ? 0 : gaps.length + 1)
      }),
    )
  })
})

describe('a work mailbox', () => {
  test('is named after its kind, and after the partition of its key', () => {
    expect(workMailbox('exec', undefined, 16)).toBe('work.exec')
    expect(workMailbox('exec', 'web001', 16)).toMatch(/^work\.exec~(0\d|1[0-5])$/)
    expect(workMailbox('exec', 'web001', 16)).toBe(workMailbox('exec', 'web001', 16))
  })

  test('tells its kind and whether it keeps order', () => {
    expect(mailboxKind('work.pcap.parse')).toEqual({ kind: 'pcap.parse', ordered: false })
    expect(mailboxKind(workMailbox('pcap.parse', 'k', 16))).toEqual({
      kind: 'pcap.parse',
      ordered: true,
    })
    for (const other of ['results', 'work.', 'xwork.exec']) {
      expect(mailboxKind(other)).toBeUndefined()
    }
  })

  test('gets an envelope with its delay and priority', () => {
    const [envelope] = pack('r-1', itemsOf([taskOf('noop')]), 0, packLimits) as [Envelope]
    expect(workMessage(envelope, 50)).toEqual({
      mailbox: 'work.noop',
      id: 'r-1.0+1.1',
      priority: 'normal',
      delayMs: 50,
      body: envelope,
    })
  })
})
