/**
 * What every implementation of the accounting port must do for those who have to lead: whoever
 * counts, finishes, adopts or recounts under an epoch that is no longer the newest is refused.
 */
import { beforeEach, describe, expect, test } from 'bun:test'
import { FencedError } from '../../actors/errors.ts'
import type { FencingToken, Leases } from '../../actors/ports-fleet.ts'
import { type Books, chunkOf, mailbox, runOf, settlementOf } from './accounting.ts'
import { refusalOf } from './members.ts'

/** Books with nothing in them, and the leases that they know of. */
export interface LedBooks extends Books {
  leases: Leases
}

const ttlMs = 60_000
const settlement = settlementOf('r-1', 's', [[0, 3]], 'ok')

export function fencedAccountingConformance(open: () => Promise<LedBooks>): void {
  let books: LedBooks
  let terms = 0
  beforeEach(async () => {
    books = await open()
  })

  /** A newer grant than any before. */
  const lead = async (lease = 'collector'): Promise<FencingToken> => {
    terms += 1
    await books.leases.revoke(lease, 'drill')
    const acquired = await books.leases.acquire(lease, `n/boot/${terms}`, ttlMs)
    if (!acquired.granted) throw new Error(`expected ${lease} to be free`)
    return { lease, epoch: acquired.epoch }
  }

  /** A run of three tasks in a mailbox, with room for four. */
  const begin = async () => {
    const { accounting, admission } = books
    await accounting.open(runOf('r-1'))
    await accounting.commit('r-1', chunkOf(0, 3))
    await accounting.close('r-1')
    await admission.reserve(mailbox, 'r-1', 4, 100)
  }

  /** Everything of the run that anybody can see. */
  const seen = async () => ({
    progress: await books.accounting.get('r-1'),
    pending: await books.accounting.pending('r-1', [[0, 3]]),
    used: await books.admission.used(mailbox),
    unfinished: await books.accounting.unfinished(),
  })

  /** Under each fence; and what went before, under none. */
  const steps: [
    name: string,
    before: () => Promise<unknown>,
    step: (fence?: FencingToken) => Promise<unknown>,
  ][] = [
    ['settles', async () => {}, (fence) => books.accounting.settle([settlement], fence)],
    [
      'settles what was settled before',
      () => books.accounting.settle([settlement]),
      (fence) => books.accounting.settle([settlementOf('r-1', 'other', [[0, 3]], 'failed')], fence),
    ],
    [
      'finishes',
      () => books.accounting.settle([settlement]),
      (fence) => books.accounting.stored([settlement], fence),
    ],
    ['adopts', async () => {}, (fence) => books.accounting.adopt('r-1', 'host/2', fence)],
    ['recounts', async () => {}, (fence) => books.accounting.recount('r-1', fence)],
  ]

  describe.each(steps)('whoever %s', (_, before, step) => {
    const once = async (fence?: FencingToken) => {
      await begin()
      await before()
      return step(fence)
    }

    test('under a stale epoch is refused, both epochs are named, nothing changes', async () => {
      const stale = await lead()
      const newest = await lead()
      await begin()
      await before()
      const state = await seen()
      const error = await refusalOf(step(stale))
      expect(error).toBeInstanceOf(FencedError)
      expect(error).toMatchObject({ code: 'FENCED', lease: 'collector', epoch: stale.epoch })
      for (const { epoch } of [stale, newest]) {
        expect((error as FencedError).message).toContain(String(epoch))
      }
      expect(await seen()).toEqual(state)
    })

    test('under the newest does what whoever leads nothing does', async () => {
      const free = await once()
      const after = await seen()
      books = await open()
      expect(await once(await lead())).toEqual(free)
      expect(await seen()).toEqual(after)
    })

    test('is not refused for a lease that is lost while nobody has got it since', async () => {
      const fence = await lead()
      await books.leases.revoke('collector', 'drill')
      await once(fence)
    })

    test('is refused for its own lease alone', async () => {
      const fence = await lead()
      await lead('another')
      await once(fence)
    })

    test('is refused from the moment of the newer grant on', async () => {
      const fence = await lead()
      await begin()
      await before()
      await step(fence)
      await lead()
      expect(await refusalOf(step(fence))).toBeInstanceOf(FencedError)
    })
  })

  test('of several settlements under a stale epoch none is counted', async () => {
    const stale = await lead()
    await lead()
    await begin()
    const each = [0, 1, 2].map((seq) => settlementOf('r-1', `s-${seq}`, [[seq, 1]], 'ok'))
    expect(await refusalOf(books.accounting.settle(each, stale))).toBeInstanceOf(FencedError)
    expect((await seen()).pending).toEqual([true, true, true])
    await books.accounting.settle(each)
    await books.accounting.stored(each)
    expect((await seen()).progress?.run).toMatchObject({ state: 'completed', counts: { ok: 3 } })
  })
}
