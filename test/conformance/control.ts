/** What every implementation of the accounting port must do: hold runs back, halt, let wait. */
import { beforeEach, describe, expect, test } from 'bun:test'
import type { Envelope } from '../../actors/envelope.ts'
import type { Admission } from '../../actors/ports.ts'
import type { Accounting, HaltPolicy, Hold, RunAction, RunNotice } from '../../actors/ports-runs.ts'
import { type Outcome, outcomes } from '../../machines/outcome.ts'
import { eventually } from '../kit/eventually.ts'
import { chunkOf, envelopeOf, mailbox, type OpenBooks, runOf, settlementOf } from './accounting.ts'

const ordered = `${mailbox}~03`
const inOrder = (first: number, count = 1): Envelope => ({
  ...envelopeOf('r-1', first, count),
  mailbox: ordered,
})
const parkedOf = (envelope: Envelope): Envelope => ({ ...envelope, parks: 1 })

export function controlConformance(open: OpenBooks): void {
  let accounting: Accounting
  let admission: Admission
  let now = 5000
  beforeEach(async () => {
    now = 5000
    ;({ accounting, admission } = await open(() => now))
  })

  const begin = async (tasks: number, halt?: HaltPolicy) => {
    await accounting.open(runOf('r-1', halt === undefined ? {} : { halt }))
    await accounting.commit('r-1', chunkOf(0, tasks))
  }
  const end = async (first: number, count: number, outcome: Outcome, stores = true) => {
    const settlement = settlementOf('r-1', `s-${first}`, [[first, count]], outcome)
    const settled = await accounting.settle([{ ...settlement, mailbox: '' }])
    if (stores) await accounting.stored([settlement])
    return settled
  }
  const stateOf = async () => (await accounting.get('r-1'))?.run.state
  const holdOf = async () => (await accounting.get('r-1'))?.hold
  const refusal = (action: RunAction, run = 'r-1') =>
    accounting.control(run, action, 'why').then(
      () => undefined,
      (error: { code: string; message: string }) => error,
    )
  const spool = async () => {
    const { envelopes } = await accounting.peekSpool('r-1', 1000)
    return envelopes
  }
  const firsts = async () => (await spool()).map(({ seqs }) => seqs[0]?.[0])

  describe('what may be done to a run', () => {
    test('a paused run says so, with the reason, until it is resumed', async () => {
      await begin(2)
      expect((await accounting.control('r-1', 'pause', 'lunch')).run).toMatchObject({
        state: 'paused',
        stopReason: 'lunch',
      })
      expect(await accounting.holds()).toEqual(new Map([['r-1', 'paused']]))
      const { run } = await accounting.control('r-1', 'resume', 'back')
      expect(run).toMatchObject({ state: 'accepting' })
      expect(run.stopReason).toBeUndefined()
      expect((await accounting.holds()).size).toBe(0)
    })

    test('what stands so already is left as it is', async () => {
      await begin(2)
      await accounting.control('r-1', 'resume', 'a')
      await accounting.control('r-1', 'pause', 'b')
      expect((await accounting.control('r-1', 'pause', 'c')).run.stopReason).toBe('b')
      await accounting.control('r-1', 'cancel', 'd')
      expect((await accounting.control('r-1', 'cancel', 'e')).run.stopReason).toBe('d')
    })

    test('a run that is being cancelled is neither paused nor resumed', async () => {
      await begin(2)
      await accounting.control('r-1', 'cancel', 'enough')
      for (const action of ['pause', 'resume'] as const) {
        expect(await refusal(action)).toMatchObject({ code: 'ILLEGAL_TRANSITION' })
      }
      expect(await holdOf()).toBe('cancelled')
    })

    test('nothing can be done to a run that is over, or that there is not', async () => {
      await begin(1)
      await accounting.close('r-1')
      await end(0, 1, 'ok')
      for (const action of ['pause', 'resume', 'cancel'] as const) {
        const error = await refusal(action)
        expect(error).toMatchObject({ code: 'ILLEGAL_TRANSITION' })
        expect(error?.message).toContain('completed')
        expect(await refusal(action, 'r-none')).toMatchObject({ code: 'NOT_FOUND' })
      }
      expect((await accounting.holds()).size).toBe(0)
    })

    test('a run ends as cancelled when all of its tasks have ended, however', async () => {
      await begin(3)
      await end(0, 1, 'ok')
      await accounting.control('r-1', 'cancel', 'enough')
      await accounting.close('r-1')
      await end(1, 2, 'cancelled', false)
      expect(await stateOf()).toBe('running')
      await accounting.stored([{ run: 'r-1', id: 's-1' }])
      const progress = await accounting.get('r-1')
      expect(progress?.run).toMatchObject({ state: 'cancelled', stopReason: 'enough', total: 3 })
      expect(progress?.run.counts).toMatchObject({ ok: 1, cancelled: 2, pending: 0 })
      expect((await accounting.holds()).size).toBe(0)
    })

    test('a run that was paused when its last tasks ran is just completed', async () => {
      await begin(1)
      await accounting.close('r-1')
      await accounting.control('r-1', 'pause', 'lunch')
      await end(0, 1, 'ok')
      const progress = await accounting.get('r-1')
      expect(progress?.run.state).toBe('completed')
      expect(progress?.run.stopReason).toBeUndefined()
      expect(progress?.hold).toBeUndefined()
    })

    test('what is done is told, and to be told of once more with everything settled', async () => {
      await begin(2)
      const notices: RunNotice[] = []
      const unwatch = await accounting.watch((notice) => {
        if (notice !== undefined) notices.push(notice)
      })
      await accounting.control('r-1', 'pause', 'a')
      await end(0, 1, 'ok')
      await accounting.control('r-1', 'resume', 'b')
      await accounting.control('r-1', 'cancel', 'c')
      const told = await eventually(() => {
        expect(notices.length).toBe(4)
        return notices.map(({ hold, done, spoolFilled }) => [hold, done, spoolFilled])
      })
      expect(told).toEqual([
        ['paused', 0, true],
        ['paused', 1, undefined],
        [undefined, 1, true],
        ['cancelled', 1, true],
      ])
      await unwatch()
    })

    test('nothing more is committed to a run whose source has ended', async () => {
      await begin(1)
      await accounting.close('r-1')
      const late = accounting.commit('r-1', chunkOf(1, 1))
      expect(await late.catch((error: unknown) => error)).toMatchObject({
        code: 'RUN_FED_ELSEWHERE',
      })
      expect((await accounting.get('r-1'))?.run.total).toBe(1)
    })
  })

  describe('a run with a limit to its failures', () => {
    test.each<[Hold, Outcome]>([
      ['halted-soon', 'failed'],
      ['halted-now', 'timeout'],
      ['halted-soon', 'dead'],
    ])('is %s when so many tasks ended as %s', async (hold, outcome) => {
      const mode = hold === 'halted-now' ? 'now' : 'soon'
      await begin(10, { mode, fail: { tasks: 2 } })
      await end(0, 1, outcome)
      expect(await holdOf()).toBeUndefined()
      await end(1, 1, outcome)
      expect(await holdOf()).toBe(hold)
      expect(await accounting.holds()).toEqual(new Map([['r-1', hold]]))
      await accounting.close('r-1')
      await end(2, 8, 'unreached')
      const progress = await accounting.get('r-1')
      expect(progress?.run).toMatchObject({ state: 'halted' })
      expect(progress?.run.stopReason).toContain('2 tasks failed, timed out or died')
    })

    test('is not halted by what ended otherwise', async () => {
      await begin(10, { mode: 'now', fail: { tasks: 1 } })
      let first = 0
      for (const outcome of outcomes) {
        if (['failed', 'timeout', 'dead'].includes(outcome)) continue
        await end(first, 1, outcome)
        first += 1
      }
      expect(await holdOf()).toBeUndefined()
    })

    test('counts a percentage of all, and of no fewer than 100 while more may come', async () => {
      await begin(10, { mode: 'soon', fail: { percent: 20 } })
      await end(0, 3, 'failed')
      expect(await holdOf()).toBeUndefined()
      await accounting.close('r-1')
      expect(await holdOf()).toBe('halted-soon')
    })

    test('completes when its last task was one too many: nothing is left to halt', async () => {
      await begin(1, { mode: 'now', fail: { tasks: 1 } })
      await accounting.close('r-1')
      await end(0, 1, 'failed')
      expect(await stateOf()).toBe('completed')
    })

    test('can be cancelled when it is halted, but not resumed', async () => {
      await begin(4, { mode: 'soon', fail: { tasks: 1 } })
      await end(0, 1, 'failed')
      expect(await refusal('resume')).toMatchObject({ code: 'ILLEGAL_TRANSITION' })
      await accounting.control('r-1', 'cancel', 'really')
      expect(await holdOf()).toBe('cancelled')
    })

    test('is halted though it is paused, and gets back what was put back', async () => {
      await begin(4, { mode: 'soon', fail: { tasks: 1 } })
      await accounting.control('r-1', 'pause', 'a')
      expect(await accounting.park(parkedOf(envelopeOf('r-1', 2, 2)))).toBe(true)
      expect(await firsts()).toEqual([])
      await end(0, 1, 'failed')
      expect(await holdOf()).toBe('halted-soon')
      expect(await firsts()).toEqual([2])
    })
  })

  describe('an envelope that is put back', () => {
    test('is put back once, gives back its room, and is told of', async () => {
      await begin(5)
      await admission.reserve(mailbox, 'r-1', 5, 100)
      const envelope = parkedOf(envelopeOf('r-1', 0, 5))
      expect(await accounting.park(envelope)).toBe(false)
      await accounting.control('r-1', 'pause', 'a')
      const notices: RunNotice[] = []
      const unwatch = await accounting.watch((notice) => {
        if (notice !== undefined) notices.push(notice)
      })
      expect(await accounting.park(envelope)).toBe(true)
      expect(await accounting.park(envelope)).toBe(true)
      expect(await accounting.get('r-1')).toMatchObject({ spooled: 5, parked: 5 })
      expect(await admission.used(mailbox)).toBe(0)
      await eventually(() => expect(notices).toMatchObject([{ mailbox, parked: 5 }]))
      await unwatch()
    })

    test('is put back once though the run goes on meanwhile', async () => {
      await begin(2)
      const envelope = parkedOf(envelopeOf('r-1', 0, 2))
      await accounting.control('r-1', 'pause', 'a')
      await accounting.park(envelope)
      await accounting.control('r-1', 'resume', 'b')
      expect(await accounting.park(envelope)).toBe(true)
      expect(await spool()).toEqual([envelope])
      expect(await accounting.get('r-1')).toMatchObject({ spooled: 2, parked: 2 })
    })

    test('comes before what never had its turn, and in its old order', async () => {
      await accounting.open(runOf('r-1'))
      const rest = [envelopeOf('r-1', 6, 1), envelopeOf('r-1', 7, 1)]
      await accounting.commit('r-1', chunkOf(0, 8, { spool: rest }))
      await accounting.control('r-1', 'pause', 'a')
      for (const first of [0, 2, 4]) await accounting.park(parkedOf(envelopeOf('r-1', first, 2)))
      expect(await firsts()).toEqual([6, 7])
      await accounting.control('r-1', 'resume', 'b')
      expect(await firsts()).toEqual([0, 2, 4])
      const { mark, envelopes } = await accounting.peekSpool('r-1', 2)
      expect(envelopes.map(({ seqs }) => seqs[0]?.[0])).toEqual([0, 2])
      await accounting.dropSpool('r-1', { mark, envelopes: 2, tasks: 4 })
      expect(await firsts()).toEqual([4])
      const last = await accounting.peekSpool('r-1', 2)
      await accounting.dropSpool('r-1', { mark: last.mark, envelopes: 1, tasks: 2 })
      expect(await firsts()).toEqual([6, 7])
      expect((await accounting.get('r-1'))?.spooled).toBe(2)
    })

    test('put before others, it is not taken off in their stead', async () => {
      await begin(10)
      await accounting.control('r-1', 'pause', 'a')
      for (const first of [5, 6, 7]) await accounting.park(parkedOf(envelopeOf('r-1', first, 1)))
      await accounting.control('r-1', 'resume', 'b')
      const { mark, envelopes } = await accounting.peekSpool('r-1', 2)
      expect(envelopes.map(({ seqs }) => seqs[0]?.[0])).toEqual([5, 6])
      await accounting.control('r-1', 'pause', 'c')
      for (const first of [1, 2]) await accounting.park(parkedOf(envelopeOf('r-1', first, 1)))
      await accounting.control('r-1', 'resume', 'd')
      await accounting.dropSpool('r-1', { mark, envelopes: 2, tasks: 2 })
      expect(await firsts()).toEqual([1, 2, 7])
    })

    test('does not take the place of what is just being moved from the spool', async () => {
      await accounting.open(runOf('r-1'))
      const rest = [envelopeOf('r-1', 6, 1), envelopeOf('r-1', 7, 1)]
      await accounting.commit('r-1', chunkOf(0, 8, { spool: rest }))
      const { mark } = await accounting.peekSpool('r-1', 1)
      await accounting.control('r-1', 'pause', 'a')
      await accounting.park(parkedOf(envelopeOf('r-1', 0, 1)))
      await accounting.control('r-1', 'resume', 'b')
      await accounting.dropSpool('r-1', { mark, envelopes: 1, tasks: 1 })
      const head = await accounting.peekSpool('r-1', 9)
      expect(head.envelopes.map(({ seqs }) => seqs)).toEqual([[[0, 1]]])
      await accounting.dropSpool('r-1', { mark: head.mark, envelopes: 1, tasks: 1 })
      expect(await firsts()).toEqual([7])
    })

    test('where order counts, is waited for by those after it', async () => {
      await begin(3)
      const [a, b, c] = [inOrder(0), inOrder(1), inOrder(2)]
      expect(await accounting.isNext(b)).toBe(true)
      await accounting.control('r-1', 'pause', 'x')
      await accounting.park(parkedOf(a))
      await accounting.control('r-1', 'resume', 'y')
      expect(await accounting.isNext(b)).toBe(false)
      expect(await accounting.park(parkedOf(b))).toBe(true)
      // Of another mailbox: there is no order between them.
      expect(await accounting.isNext(envelopeOf('r-1', 2, 1))).toBe(true)
      expect(await accounting.isNext(parkedOf(a))).toBe(true)
      expect(await accounting.park({ ...a, parks: 2 })).toBe(false)
      expect(await accounting.isNext(c)).toBe(false)
      expect(await accounting.isNext(parkedOf(b))).toBe(true)
      expect(await accounting.isNext(c)).toBe(true)
      expect(await firsts()).toEqual([0, 1])
    })
  })
}
