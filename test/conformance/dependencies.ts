/** What every implementation of the accounting port must do: let tasks wait for others. */
import { beforeEach, describe, expect, test } from 'bun:test'
import { type Envelope, eachSeq } from '../../actors/envelope.ts'
import type { Accounting } from '../../actors/ports-runs.ts'
import { noCounts, type Outcome, outcomes } from '../../machines/outcome.ts'
import { chunkOf, envelopeOf, type OpenBooks, runOf, settlementOf } from './accounting.ts'

export function dependencyConformance(open: OpenBooks): void {
  let accounting: Accounting
  beforeEach(async () => {
    accounting = (await open(() => 5000)).accounting
  })

  const end = async (first: number, count: number, outcome: Outcome) => {
    const settlement = settlementOf('r-1', `s-${first}`, [[first, count]], outcome)
    await accounting.settle([{ ...settlement, mailbox: '' }])
    await accounting.stored([settlement])
  }
  const spool = async () => (await accounting.peekSpool('r-1', 1000)).envelopes

  describe('a task that waits for others', () => {
    const hold = (first: number, needs: readonly number[], count = 1) => ({
      envelope: envelopeOf('r-1', first, count),
      needs,
    })
    const seqsOf = (envelopes: readonly Envelope[]) =>
      envelopes.flatMap(({ seqs }) => [...eachSeq(seqs)])

    test('is let go when the last of them is ok', async () => {
      await accounting.open(runOf('r-1'))
      await accounting.commit('r-1', chunkOf(0, 5, { held: [hold(3, [0, 1, 2], 2)] }))
      expect((await accounting.get('r-1'))?.spooled).toBe(2)
      await end(0, 2, 'ok')
      await end(0, 2, 'ok')
      expect(await spool()).toEqual([])
      await end(2, 1, 'ok')
      expect(await spool()).toEqual([envelopeOf('r-1', 3, 2)])
    })

    test('goes at once when they were ok before its line was read', async () => {
      await accounting.open(runOf('r-1'))
      await accounting.commit('r-1', chunkOf(0, 2))
      await end(0, 2, 'ok')
      await accounting.commit('r-1', chunkOf(2, 1, { held: [hold(2, [0, 1])] }))
      expect(await spool()).toEqual([envelopeOf('r-1', 2, 1)])
    })

    test.each(outcomes.filter((outcome) => outcome !== 'ok'))(
      'is not run when one of them ends as %s, before or after its line is read',
      async (outcome) => {
        await accounting.open(runOf('r-1'))
        await accounting.commit('r-1', chunkOf(0, 3, { held: [hold(2, [0, 1])] }))
        await end(1, 1, outcome)
        await accounting.commit('r-1', chunkOf(3, 1, { held: [hold(3, [0, 1])] }))
        const ends = (await spool()).map((envelope) => envelope.ends)
        const message = `task 1, which it depends on, ended as ${outcome}`
        const told = { outcome: 'unreached', error: { code: 'PARENT_NOT_OK', message } } as const
        expect(ends).toEqual([told, told])
        await end(0, 1, 'ok')
        expect(seqsOf(await spool())).toEqual([2, 3])
      },
    )

    test('is not run when one ends that it waits for through others', async () => {
      await accounting.open(runOf('r-1'))
      const held = [hold(1, [0], 2), hold(3, [2]), hold(4, [3]), hold(5, [9])]
      await accounting.commit('r-1', chunkOf(0, 10, { held }))
      await end(0, 1, 'failed')
      const spooled = await spool()
      expect(seqsOf(spooled)).toEqual([1, 2, 3, 4])
      expect(spooled.every(({ ends }) => ends?.error.code === 'PARENT_NOT_OK')).toBe(true)
    })

    test('10 000 in a chain end in one call when its head does', async () => {
      const tasks = 10_000
      await accounting.open(runOf('r-1'))
      const held = Array.from({ length: tasks - 1 }, (_, index) => hold(index + 1, [index]))
      await accounting.commit('r-1', chunkOf(0, tasks, { held }))
      await end(0, 1, 'dead')
      const { envelopes } = await accounting.peekSpool('r-1', tasks)
      expect(envelopes.length).toBe(tasks - 1)
    })

    test('10 000 that wait for one task, and one that waits for those', async () => {
      const tasks = 10_000
      await accounting.open(runOf('r-1'))
      // Each waits for one more, so that they do not travel together.
      const held = Array.from({ length: tasks }, (_, index) => hold(2 + index, [0, 1]))
      const all = Array.from({ length: tasks }, (_, index) => 2 + index)
      held.push(hold(2 + tasks, all))
      await accounting.commit('r-1', chunkOf(0, tasks + 3, { held }))
      await end(0, 1, 'ok')
      expect(await spool()).toEqual([])
      await end(1, 1, 'ok')
      expect(seqsOf((await accounting.peekSpool('r-1', tasks * 2)).envelopes)).toEqual(all)
      await end(2, tasks - 1, 'ok')
      const before = (await accounting.peekSpool('r-1', tasks * 2)).envelopes.length
      await end(1 + tasks, 1, 'ok')
      expect((await accounting.peekSpool('r-1', tasks * 2)).envelopes.length).toBe(before + 1)
    })

    test('leaves nothing behind when its run is over', async () => {
      await accounting.open(runOf('r-1'))
      const held = [hold(1, [0]), hold(2, [0, 1])]
      await accounting.commit('r-1', chunkOf(0, 3, { held }))
      await accounting.close('r-1')
      await accounting.control('r-1', 'pause', 'a')
      await accounting.park({ ...envelopeOf('r-1', 0, 1), mailbox: 'work.probe~03', parks: 1 })
      await accounting.control('r-1', 'cancel', 'b')
      await end(0, 3, 'cancelled')
      const progress = await accounting.get('r-1')
      expect(progress?.run).toMatchObject({ state: 'cancelled' })
      expect(progress?.run.counts).toEqual({ ...noCounts(), cancelled: 3 })
      expect(await spool()).toEqual([])
    })
  })
}
