/** What every implementation of the accounting port must do: keys of runs and of tasks. */
import { beforeEach, expect, test } from 'bun:test'
import type { Accounting } from '../../actors/ports-runs.ts'
import { eventually } from '../kit/eventually.ts'
import { chunkOf, envelopeOf, type OpenBooks, runOf, settlementOf } from './accounting.ts'

const hourMs = 3_600_000

export function keyConformance(open: OpenBooks): void {
  let accounting: Accounting
  let now = 5000
  beforeEach(async () => {
    now = 5000
    accounting = (await open(() => now)).accounting
  })

  const openUnder = (id: string, name: string, ttlMs = hourMs) =>
    accounting.open(runOf(id, { key: { name, ttlMs } }))
  const finish = async (run: string, tasks: number) => {
    const settlement = settlementOf(run, 's', [[0, tasks]], 'ok')
    await accounting.close(run)
    await accounting.settle([settlement])
    await accounting.stored([settlement])
  }

  test('the same key gives the first run, finished or not', async () => {
    expect(await accounting.runOfKey('k')).toBeUndefined()
    const first = await openUnder('r-1', 'k')
    expect(first).toMatchObject({ resumed: false, progress: { run: { id: 'r-1' }, feeder: 'r-1' } })
    await accounting.commit('r-1', chunkOf(0, 2, { linesHash: 'two', feeder: 'r-1' }))
    const again = await openUnder('r-2', 'k')
    expect(again.resumed).toBe(true)
    expect(again.progress).toMatchObject({ run: { id: 'r-1' }, lines: 2, linesHash: 'two' })
    await finish('r-1', 2)
    const late = await openUnder('r-3', 'k')
    expect([late.resumed, late.progress.run.state]).toEqual([true, 'completed'])
    expect(late.progress).toMatchObject({ lines: 2, linesHash: 'two', closed: true })
    expect(await accounting.runOfKey('k')).toBe('r-1')
    expect(await accounting.get('r-2')).toBeUndefined()
  })

  test('another key, of whatever signs, is another run, also for the same content', async () => {
    const names = ['k', 'K', 'k ', '{s0}', 'ü', 'k'.repeat(255), 'k'.repeat(254)]
    for (const [index, name] of names.entries()) {
      const key = { name, ttlMs: hourMs }
      const { resumed } = await accounting.open(runOf(`r-${index}`, { key, content: 'same' }))
      expect([name, resumed]).toEqual([name, false])
    }
    const unnamed = await accounting.open(runOf('r-x', { content: 'same' }))
    expect(unnamed.resumed).toBe(false)
    const other = await accounting.open(
      runOf('r-y', { content: 'same', key: { name: 'new', ttlMs: hourMs } }),
    )
    expect(other.resumed).toBe(false)
  })

  test('a key lives as long as was said from its first use, however often it is used', async () => {
    await openUnder('r-1', 'short', 150)
    await openUnder('r-2', 'long')
    let used = 0
    const anew = await eventually(async () => {
      now += 20
      used += 1
      const opened = await openUnder(`r-1${used}`, 'short', 150)
      expect(opened.resumed).toBe(false)
      return opened.progress.run.id
    })
    expect(anew).toBe(`r-1${used}`)
    expect(used).toBeGreaterThan(1)
    expect((await openUnder('r-3', 'long')).progress.run.id).toBe('r-2')
  })

  test('of a hundred that open under one key at once, one is the first', async () => {
    const opened = await Promise.all(
      Array.from({ length: 100 }, (_, index) => openUnder(`r-${index}`, 'k')),
    )
    expect(new Set(opened.map(({ progress }) => progress.run.id)).size).toBe(1)
    expect(opened.filter(({ resumed }) => !resumed)).toHaveLength(1)
    expect(await accounting.unfinished()).toHaveLength(1)
  })

  test('one feeds a run at a time, until it says that it does not, or is gone', async () => {
    await openUnder('r-1', 'k')
    expect(await accounting.feed('r-1', 'b', 'host/2')).toBe(false)
    expect(await accounting.feed('r-1', 'b', 'host/2', 'x')).toBe(false)
    await accounting.unfeed('r-1', 'x')
    expect(await accounting.get('r-1')).toMatchObject({ feeder: 'r-1', driver: 'host/1' })
    await accounting.unfeed('r-1', 'r-1')
    expect((await accounting.get('r-1'))?.feeder).toBeUndefined()
    const tries = await Promise.all(
      Array.from({ length: 20 }, (_, index) => accounting.feed('r-1', `f-${index}`, 'host/2')),
    )
    expect(tries.filter(Boolean)).toHaveLength(1)
    const { feeder = '', driver } = (await accounting.get('r-1')) ?? {}
    expect([feeder, driver]).toEqual([`f-${tries.indexOf(true)}`, 'host/2'])
    expect(await accounting.feed('r-1', feeder, 'host/2')).toBe(true)
    expect(await accounting.feed('r-1', 'heir', 'host/3', feeder)).toBe(true)
    expect(await accounting.get('r-1')).toMatchObject({ feeder: 'heir', driver: 'host/3' })
    // Who takes up the run has no source for it, and whoever had one is not asked.
    expect((await accounting.adopt('r-1', 'host/4'))?.feeder).toBeUndefined()
    await accounting.close('r-1')
    expect(await accounting.feed('r-1', 'late', 'host/2')).toBe(false)
    expect(await accounting.feed('r-none', 'b', 'host/2')).toBe(false)
  })

  test('only who feeds a run moves it on', async () => {
    await openUnder('r-1', 'k')
    await accounting.feed('r-1', 'heir', 'host/2', 'r-1')
    const late = accounting.commit('r-1', chunkOf(0, 2, { linesHash: 'x', feeder: 'r-1' }))
    expect(await late.catch((error: unknown) => error)).toMatchObject({ code: 'RUN_FED_ELSEWHERE' })
    expect(await accounting.get('r-1')).toMatchObject({ lines: 0, accepted: 0 })
    expect((await accounting.get('r-1'))?.linesHash).toBeUndefined()
    await accounting.commit('r-1', chunkOf(0, 2, { linesHash: 'y', feeder: 'heir' }))
    expect(await accounting.get('r-1')).toMatchObject({ lines: 2, linesHash: 'y' })
  })

  test('only who drives a run takes envelopes off its spool', async () => {
    await accounting.open(runOf('r-1'))
    const spool = [envelopeOf('r-1', 0, 1), envelopeOf('r-1', 1, 1)]
    await accounting.commit('r-1', chunkOf(0, 2, { spool }))
    await accounting.adopt('r-1', 'host/2')
    const late = accounting.dropSpool('r-1', { mark: '', envelopes: 1, tasks: 1, driver: 'host/1' })
    expect(await late.catch((error: unknown) => error)).toMatchObject({
      code: 'RUN_DRIVEN_ELSEWHERE',
    })
    expect((await accounting.peekSpool('r-1', 9)).envelopes).toEqual(spool)
    await accounting.dropSpool('r-1', { mark: '', envelopes: 1, tasks: 1, driver: 'host/2' })
    expect((await accounting.peekSpool('r-1', 9)).envelopes).toEqual(spool.slice(1))
    expect((await accounting.get('r-1'))?.spooled).toBe(1)
  })

  test('the first task to claim a dedupe key has it, and may claim it again', async () => {
    expect(await accounting.claimKeys('r-1', [])).toEqual([])
    const claims = ['a', 'b', 'a'].map((key, seq) => ({ key, seq, ttlMs: hourMs }))
    const first = [undefined, undefined, { run: 'r-1', seq: 0 }]
    expect(await accounting.claimKeys('r-1', claims)).toEqual(first)
    expect(await accounting.claimKeys('r-1', claims)).toEqual(first)
    const other = await accounting.claimKeys('r-2', [
      { key: 'b', seq: 0, ttlMs: hourMs },
      { key: 'c', seq: 1, ttlMs: hourMs },
    ])
    expect(other).toEqual([{ run: 'r-1', seq: 1 }, undefined])
  })

  test('of tasks that claim one key at once, one has it', async () => {
    const told = await Promise.all(
      Array.from({ length: 50 }, (_, seq) =>
        accounting.claimKeys(`r-${seq % 5}`, [{ key: 'k', seq, ttlMs: hourMs }]),
      ),
    )
    const holders = told.flat()
    expect(holders.filter((holder) => holder === undefined)).toHaveLength(1)
    const seq = holders.indexOf(undefined)
    const others = holders.filter((holder) => holder !== undefined)
    expect(new Set(others.map((holder) => JSON.stringify(holder)))).toEqual(
      new Set([JSON.stringify({ run: `r-${seq % 5}`, seq })]),
    )
  })

  test('a dedupe key is free again after its time', async () => {
    await accounting.claimKeys('r-1', [{ key: 'k', seq: 0, ttlMs: 100 }])
    const told = await accounting.claimKeys('r-2', [{ key: 'k', seq: 7, ttlMs: 100 }])
    expect(told).toEqual([{ run: 'r-1', seq: 0 }])
    await eventually(async () => {
      now += 20
      const later = await accounting.claimKeys('r-3', [{ key: 'k', seq: 3, ttlMs: hourMs }])
      expect(later).toEqual([undefined])
    })
    expect(await accounting.claimKeys('r-4', [{ key: 'k', seq: 0, ttlMs: 1 }])).toEqual([
      { run: 'r-3', seq: 3 },
    ])
  })
}
