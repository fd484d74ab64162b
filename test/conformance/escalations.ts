/** What every implementation of the escalations port must do. */
import { describe, expect, test } from 'bun:test'
import type { CountBatch, Escalations } from '../../actors/ports-escalations.ts'
import type { Escalation } from '../../machines/escalation.ts'
import { sumOf, type WindowShape } from '../../machines/window.ts'
import { lasting } from '../kit/outage.ts'

let metrics = 0
/** One that nobody has counted. */
function newMetric(): string {
  metrics += 1
  return `fail:job.${metrics} {x} é`
}
let sources = 0
function batches() {
  sources += 1
  const source = `n-${sources}/boot`
  let number = 0
  return (metric: string, count: number, ageMs = 0): CountBatch => {
    number += 1
    return { source, number, counts: [{ metric, count, ageMs }] }
  }
}

/** A window of a minute: what is not counted as old is in it for the time of a test. */
const minute: WindowShape = { windowMs: 60_000, buckets: 12 }
const openOf = (metric: string, version = 1): Escalation => ({
  metric,
  state: 'open',
  openedAt: 7,
  peak: 500,
  version,
})

export function escalationsConformance(open: (shape: WindowShape) => Escalations): void {
  const held = async (port: Escalations, metric: string) =>
    sumOf((await port.look()).windows.get(metric) ?? [])

  describe('windows', () => {
    test('hold what all have counted, and what nobody has counted is not there', async () => {
      const [one, other] = [open(minute), open(minute)]
      const [metric, elsewhere] = [newMetric(), newMetric()]
      await one.count(batches()(metric, 5))
      const { windows, at } = await other.count(batches()(metric, 3))
      expect(sumOf(windows.get(metric) ?? [])).toBe(8)
      expect(windows.get(metric)).toHaveLength(12)
      expect(windows.has(elsewhere)).toBe(false)
      expect(Math.abs(at - Date.now())).toBeLessThan(60_000)
      expect(await held(one, metric)).toBe(8)
    })

    test('count a batch once, however often it is sent, and the next one after it', async () => {
      const port = open(minute)
      const [metric, batchOf] = [newMetric(), batches()]
      const first = batchOf(metric, 5)
      await port.count(first)
      await port.count(first)
      const second = batchOf(metric, 2)
      await port.count(second)
      await port.count(first)
      await Promise.all([port.count(second), port.count(second)])
      expect(await held(port, metric)).toBe(7)
    })

    test('put a count into the bucket of its time', async () => {
      const port = open(minute)
      const metric = newMetric()
      const counted = [
        { metric, count: 5, ageMs: 30_000 },
        { metric, count: 3, ageMs: 15_000 },
        { metric, count: 1, ageMs: 0 },
      ]
      const batch = { ...batches()(metric, 1), counts: counted }
      const counts = (await port.count(batch)).windows.get(metric)
      expect(counts).toEqual([0, 0, 0, 0, 0, 5, 0, 0, 3, 0, 0, 1])
    })

    test('do not hold what is older than they are', async () => {
      const port = open(minute)
      const [metric, batchOf] = [newMetric(), batches()]
      await port.count(batchOf(metric, 5, 61_000))
      expect(await held(port, metric)).toBe(0)
      await port.count(batchOf(metric, 1, 54_000))
      expect(await held(port, metric)).toBe(1)
    })

    test('move on: what was counted has left after their time, in whole buckets', async () => {
      const port = open({ windowMs: 400, buckets: 4 })
      const metric = newMetric()
      const began = performance.now()
      await port.count(batches()(metric, 5))
      let left = 0
      for (let held5 = true; held5; left = performance.now() - began) {
        held5 = (await held(port, metric)) > 0
        if (performance.now() - began > 2000) break
        await lasting(5)
      }
      expect(left).toBeGreaterThan(290)
      expect(left).toBeLessThan(2000)
    })

    test('add up what many count at the same time', async () => {
      const port = open(minute)
      const metric = newMetric()
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          const batchOf = batches()
          for (let round = 0; round < 25; round += 1) await port.count(batchOf(metric, 3))
        }),
      )
      expect(await held(port, metric)).toBe(600)
    })
  })

  describe('escalations', () => {
    test('are put where there was none, and replaced by who has read the last one', async () => {
      const port = open(minute)
      const metric = newMetric()
      const first = openOf(metric)
      expect(await port.put(first, undefined)).toBe(true)
      expect((await port.look()).escalations.get(metric)).toEqual(first)
      const second = { ...first, peak: 600, reason: 'é "x"', version: 2 }
      expect(await port.put(second, first)).toBe(true)
      expect((await open(minute).look()).escalations.get(metric)).toEqual(second)
    })

    test('are not replaced by who has read an earlier one, or none', async () => {
      const port = open(minute)
      const metric = newMetric()
      const [first, second] = [openOf(metric), openOf(metric, 2)]
      await port.put(first, undefined)
      await port.put(second, first)
      expect(await port.put({ ...second, peak: 1 }, first)).toBe(false)
      expect(await port.put({ ...first, peak: 1 }, undefined)).toBe(false)
      expect((await port.look()).escalations.get(metric)).toEqual(second)
    })

    test('of many who open one at the same time, one does', async () => {
      const port = open(minute)
      const metric = newMetric()
      await port.look()
      const all = Array.from({ length: 10 }, () => port.put(openOf(metric), undefined))
      expect((await Promise.all(all)).filter(Boolean)).toEqual([true])
    })
  })
}
