/** What every system log does. */
import { expect, test } from 'bun:test'
import type { SystemEntry, SystemLog, SystemSnapshot } from '../../actors/ports-system.ts'
import { eventually } from '../kit/eventually.ts'

export function entryOf(id: string, more: Partial<SystemEntry> = {}): SystemEntry {
  const from = 'OPERATIONAL'
  return { id, at: 7, node: 'a', from, to: 'PAUSED', reason: 'upgrade', actor: 'ada', ...more }
}

export const snapshotOf = (more: Partial<SystemSnapshot> = {}): SystemSnapshot => ({
  state: 'PAUSED',
  since: 7,
  changedAt: 7,
  reason: 'upgrade',
  actor: 'ada',
  ...more,
})

const pause = { isPaused: true, at: 7, reason: 'upgrade', actor: 'ada' }

export function systemConformance(open: () => Promise<SystemLog>): void {
  test('nothing is known before anything is said', async () => {
    const log = await open()
    expect(await log.order()).toBeUndefined()
    expect(await log.snapshot('a')).toBeUndefined()
    expect(await log.history({ limit: 10 })).toEqual([])
  })

  test("a transition is kept with the snapshot of its node and the operator's word", async () => {
    const log = await open()
    await log.append(entryOf('1'), snapshotOf(), pause)
    expect(await log.history({ limit: 10 })).toEqual([entryOf('1')])
    expect(await log.snapshot('a')).toEqual(snapshotOf())
    expect(await log.snapshot('b')).toBeUndefined()
    expect(await log.order()).toEqual(pause)
  })

  test('a transition without a word leaves the last word as it was', async () => {
    const log = await open()
    await log.append(entryOf('1'), snapshotOf(), pause)
    await log.append(entryOf('2', { noop: true }), snapshotOf({ changedAt: 9 }))
    expect(await log.order()).toEqual(pause)
    const resume = { ...pause, isPaused: false, at: 8 }
    await log.append(entryOf('3', { to: 'RECOVERY' }), snapshotOf({ state: 'RECOVERY' }), resume)
    expect(await log.order()).toEqual(resume)
  })

  test('what is appended again is there once, and says nothing', async () => {
    const log = await open()
    await log.append(entryOf('1'), snapshotOf())
    await log.append(entryOf('2'), snapshotOf({ reason: 'later' }))
    await log.append(entryOf('1'), snapshotOf(), pause)
    expect((await log.history({ limit: 10 })).map(({ id }) => id)).toEqual(['2', '1'])
    expect(await log.snapshot('a')).toEqual(snapshotOf({ reason: 'later' }))
    expect(await log.order()).toBeUndefined()
  })

  test('history is told newest first, page by page', async () => {
    const log = await open()
    for (const id of ['1', '2', '3', '4', '5']) await log.append(entryOf(id), snapshotOf())
    const idsOf = (entries: SystemEntry[]) => entries.map(({ id }) => id)
    expect(idsOf(await log.history({ limit: 2 }))).toEqual(['5', '4'])
    expect(idsOf(await log.history({ after: '4', limit: 2 }))).toEqual(['3', '2'])
    expect(idsOf(await log.history({ after: '2', limit: 2 }))).toEqual(['1'])
    expect(await log.history({ after: '1', limit: 2 })).toEqual([])
    expect(await log.history({ after: 'nobody', limit: 2 })).toEqual([])
    expect(await log.history({ limit: 0 })).toEqual([])
  })

  test('whoever watches hears of words, and of nothing else', async () => {
    const log = await open()
    let heard = 0
    const unwatch = await log.watch(() => {
      heard += 1
    })
    await log.append(entryOf('1'), snapshotOf())
    await log.append(entryOf('2'), snapshotOf(), pause)
    await eventually(() => expect(heard).toBe(1))
    await unwatch()
    await log.append(entryOf('3'), snapshotOf(), pause)
    await log.order()
    expect(heard).toBe(1)
  })
}
