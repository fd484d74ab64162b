/** What every implementation of the admission port must do. */
import { beforeEach, expect, test } from 'bun:test'
import type { Admission } from '../../actors/ports.ts'
import { type OpenBooks, runOf } from './accounting.ts'

export function admissionConformance(open: OpenBooks): void {
  let admission: Admission
  beforeEach(async () => {
    const books = await open(() => 0)
    admission = books.admission
    await books.accounting.open(runOf('r-1'))
    await books.accounting.open(runOf('r-2'))
  })

  test('fifty that reserve at once never get more than there is', async () => {
    const taken = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        admission.reserve('work.a', index % 2 === 0 ? 'r-1' : 'r-2', 3, 100),
      ),
    )
    expect(taken.filter(Boolean).length).toBe(33)
    expect(await admission.used('work.a')).toBe(99)
    expect(await admission.reserve('work.a', 'r-1', 2, 100)).toBe(false)
    expect(await admission.used('work.a')).toBe(99)
    expect(await admission.reserve('work.a', 'r-1', 1, 100)).toBe(true)
    expect(await admission.reserve('work.a', 'r-2', 1, 100)).toBe(false)
    expect(await admission.used('work.a')).toBe(100)
  })

  test('mailboxes do not share their room', async () => {
    expect(await admission.reserve('work.a', 'r-1', 10, 10)).toBe(true)
    expect(await admission.reserve('work.b', 'r-1', 10, 10)).toBe(true)
    expect(await admission.used('work.c')).toBe(0)
    expect(await admission.usedIn(['work.c', 'work.b', 'work.a'])).toEqual([0, 10, 10])
    expect(await admission.usedIn([])).toEqual([])
  })

  test('room moves from one mailbox to another, once for each name of a move', async () => {
    await admission.reserve('work.a', 'r-1', 10, 10)
    await admission.reserve('work.b', 'r-2', 10, 10)
    const move = { from: 'work.a', to: 'work.b', tasks: 4 }
    await Promise.all([
      admission.moveRoom('r-1', 'm-1', move),
      admission.moveRoom('r-1', 'm-1', move),
      admission.moveRoom('r-9', 'm-1', move),
    ])
    // However full the other one is.
    expect(await admission.usedIn(['work.a', 'work.b'])).toEqual([6, 14])
    await admission.moveRoom('r-1', 'm-2', { ...move, tasks: 6 })
    expect(await admission.usedIn(['work.a', 'work.b'])).toEqual([0, 20])
  })

  test('paces are read as they were recorded, the last one of a kind', async () => {
    expect(await admission.paces()).toEqual({})
    await admission.recordPaces({})
    await admission.recordPaces({ exec: 12.5, noop: 0.0005 })
    await admission.recordPaces({ exec: 3 })
    expect(await admission.paces()).toEqual({ exec: 3, noop: 0.0005 })
  })
}
