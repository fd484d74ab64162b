import { expect, test } from 'bun:test'
import {
  type Arbitrary,
  array,
  assert,
  boolean,
  constantFrom,
  integer,
  nat,
  oneof,
  property,
  record,
} from 'fast-check'
import type { Outcome } from '../../machines/outcome.ts'
import { divide } from '../../runtime/telemetry/readings.ts'
import { Tally } from '../../runtime/telemetry/tally.ts'
import { Telemetry } from '../../runtime/telemetry/telemetry.ts'
import { testSeed } from '../kit/random.ts'
import { readExposition } from './exposition.ts'

const seed = testSeed()

const kinds = constantFrom('a', 'b')
const seconds = constantFrom(0, 0.0005, 0.001, 0.0011, 5, 599, 601)
const deed = oneof(
  record({ kind: kinds, retries: integer({ min: 1, max: 5 }) }),
  record({ kind: kinds, seconds, times: integer({ min: 1, max: 5 }) }),
)
type Deed = typeof deed extends Arbitrary<infer D> ? D : never

function book(tally: Tally, done: Deed): void {
  if ('retries' in done) tally.add('muster_retries_total', [done.kind], done.retries)
  else tally.observe('muster_task_duration_seconds', [done.kind], done.seconds, done.times)
}

const names = ['muster_retries_total', 'muster_task_duration_seconds'] as const
const seriesOf = (tally: Tally) =>
  names
    .flatMap((name) => tally.seriesOf(name))
    .map(({ name, labels, numbers }) =>
      [name, ...labels, ...numbers.map((n) => n.toFixed(6))].join(' '),
    )
    .toSorted()

test('what several have counted, and told in parts, is what one would have counted', () => {
  const deeds = array(record({ deed, by: nat(2), tells: boolean() }))
  assert(
    property(deeds, (all) => {
      const one = new Tally()
      const sum = new Tally()
      const others = [new Tally(), new Tally(), new Tally()]
      const tell = (by: Tally | undefined) =>
        sum.merge(JSON.parse(JSON.stringify(by?.take() ?? [])) as ReturnType<Tally['take']>)
      for (const { deed: done, by, tells } of all) {
        book(one, done)
        const other = others[by] ?? sum
        book(other, done)
        if (tells) tell(other)
      }
      others.forEach(tell)
      expect(seriesOf(sum)).toEqual(seriesOf(one))
    }),
    { seed },
  )
})

test('an observation is in the first bucket that it does not exceed', async () => {
  const telemetry = new Telemetry()
  const name = 'muster_task_duration_seconds'
  for (const at of [0, 0.001, 0.0011, 600, 601]) telemetry.tally.observe(name, ['a'], at)
  const { value } = readExposition(await telemetry.text({}))
  const upTo = (le: string) => value(`${name}_bucket`, { kind: 'a', le })
  expect(['0.001', '0.005', '120', '600', '+Inf'].map(upTo)).toEqual([2, 3, 3, 4, 5])
  expect(value(`${name}_sum`, { kind: 'a' })).toBeCloseTo(1201.0021)
})

test('tasks are divided among the states as envelopes are, and none is lost', () => {
  const count = nat(1000)
  const envelopes = record({ waiting: count, active: count, delayed: count })
  assert(
    property(nat(200_000), envelopes, (tasks, by) => {
      const parts = divide(tasks, by)
      expect(parts.map(([state]) => state)).toEqual(['waiting', 'active', 'delayed', 'settling'])
      expect(parts.reduce((sum, [, share]) => sum + share, 0)).toBe(tasks)
      const all = by.waiting + by.active + by.delayed
      for (const [state, share] of parts) {
        const envelopesOf = state === 'settling' ? undefined : by[state as keyof typeof by]
        if (envelopesOf === undefined) expect(share).toBe(all === 0 ? tasks : 0)
        else expect(Math.abs(share - (all === 0 ? 0 : (tasks * envelopesOf) / all))).toBeLessThan(2)
      }
    }),
    { seed },
  )
})

test('a process that ends leaves no envelope behind that counts as at hand', async () => {
  const telemetry = new Telemetry()
  const child = new Telemetry()
  const inlet = telemetry.inlet()
  for (let number = 0; number < 3; number += 1) child.taken('work.a', 10, 5)
  child.released('work.a')
  inlet.merge(child.take())
  child.released('work.a')
  inlet.end()
  // Its last word, which was on its way.
  inlet.merge(child.take())
  const { value } = readExposition(await telemetry.text({}))
  expect(value('threadpool_tasks_started_total')).toBe(3)
  expect(value('threadpool_tasks_completed_total')).toBe(3)
})

test('names of runs, grants and lives do not become labels', async () => {
  const telemetry = new Telemetry()
  telemetry.restarted('runs', 'r-01k2345678.2')
  telemetry.restarted('collector', 'epoch-1795278242376')
  for (const to of ['r-01k2345678:4', 'epoch-1795278242376:1', 'work.noop:12']) {
    telemetry.undelivered(to, 'stopped')
  }
  const { samples } = readExposition(await telemetry.text({}))
  const labelsOf = (name: string) =>
    samples.filter((sample) => sample.name === name).map(({ labels }) => Object.values(labels)[0])
  expect(labelsOf('muster_restarts_total')).toEqual(['run', 'epoch'])
  expect(labelsOf('muster_deadletters_total')).toEqual(['run', 'epoch', 'work.noop'])
})

test('of a settlement only what is fresh is counted, by the outcome that it has', async () => {
  const telemetry = new Telemetry()
  const counted = (ends: Outcome[], fresh: number, outcomes?: (Outcome | undefined)[]) => {
    const settlement = { run: 'r', id: 's', mailbox: '', seqs: [], outcomes: ends }
    const settled = outcomes === undefined ? { fresh } : { fresh, outcomes }
    telemetry.counted('a', settlement, settled)
  }
  counted(['ok', 'failed', 'ok'], 3)
  // All of it once more.
  counted(['ok', 'failed', 'ok'], 0, ['ok', 'failed', 'ok'])
  // One had ended otherwise before, one alike, one not at all.
  counted(['ok', 'ok', 'ok'], 1, ['failed', 'ok', 'ok'])
  // A run that is forgotten.
  counted(['ok'], 0, [undefined])
  const { value } = readExposition(await telemetry.text({}))
  const total = (outcome: Outcome) => value('muster_tasks_total', { kind: 'a', outcome })
  expect([total('ok'), total('failed')]).toEqual([3, 1])
})
