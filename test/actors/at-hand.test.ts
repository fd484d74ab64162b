import { describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, constant, integer, oneof, record } from 'fast-check'
import { AtHand, type Hand, hungError, type Overdue } from '../../actors/at-hand.ts'
import { type TestClock, testClock } from '../kit/clock.ts'

function begin(isAway: () => boolean = () => false) {
  const clock = testClock()
  const told: Overdue[] = []
  const atHand = new AtHand({ clock, isAway, onOverdue: (overdue) => told.push(overdue) })
  return { clock, told, atHand }
}

describe('messages at hand', () => {
  test('the oldest is the first received that has not ended', () => {
    const { clock, atHand } = begin()
    expect(atHand.oldestAt).toBeUndefined()
    clock.advance(5)
    const first = atHand.begin('a', 100)
    clock.advance(5)
    // One that was lost and delivered again may be at hand twice.
    const second = atHand.begin('a', 100)
    expect(atHand.oldestAt).toBe(5)
    first.end()
    expect(atHand.oldestAt).toBe(10)
    second.end()
    expect(atHand.oldestAt).toBeUndefined()
  })

  test('one that makes no progress is overdue at its limit, and told of once', async () => {
    const { clock, told, atHand } = begin()
    await clock.pass(7)
    atHand.begin('a', 100)
    await clock.pass(99)
    expect(told).toEqual([])
    await clock.pass(1)
    expect(told).toEqual([{ id: 'a', limitMs: 100, ageMs: 100, quietMs: 100 }])
    await clock.pass(1000)
    expect([told.length, clock.armed]).toEqual([1, 0])
  })

  test('progress counts the limit anew, and age goes on', async () => {
    const { clock, told, atHand } = begin()
    const hand = atHand.begin('a', 100)
    for (let times = 0; times < 5; times += 1) {
      await clock.pass(90)
      hand.progress()
    }
    await clock.pass(100)
    expect(told).toEqual([{ id: 'a', limitMs: 100, ageMs: 550, quietMs: 100 }])
  })

  test('a pause does not count, and progress in it is no credit for later', async () => {
    const { clock, told, atHand } = begin()
    const hand = atHand.begin('a', 100)
    await clock.pass(60)
    hand.pause()
    await clock.pass(500)
    hand.resume()
    await clock.pass(39)
    hand.pause()
    await clock.pass(500)
    hand.progress()
    hand.resume()
    await clock.pass(99)
    expect(told).toEqual([])
    await clock.pass(1)
    expect(told).toEqual([{ id: 'a', limitMs: 100, ageMs: 1199, quietMs: 100 }])
  })

  test('progress of all is progress of each', async () => {
    const { clock, told, atHand } = begin()
    atHand.begin('a', 100)
    atHand.begin('b', 100)
    await clock.pass(90)
    atHand.progress()
    await clock.pass(90)
    expect(told).toEqual([])
    await clock.pass(10)
    expect(told.map(({ id }) => id)).toEqual(['a'])
  })

  test('a later one with less time is seen in its own time', async () => {
    const { clock, told, atHand } = begin()
    atHand.begin('a', 1000)
    await clock.pass(10)
    atHand.begin('b', 100)
    expect(clock.armed).toBe(1)
    await clock.pass(100)
    expect(told.map(({ id, ageMs }) => [id, ageMs])).toEqual([['b', 100]])
  })

  test('there is no look for one that has ended, and none after the end of all', async () => {
    const { clock, told, atHand } = begin()
    atHand.begin('a', 100).end()
    await clock.pass(1000)
    expect([told, clock.armed]).toEqual([[], 0])
    atHand.begin('b', 100)
    atHand.close()
    atHand.begin('c', 50)
    expect(clock.armed).toBe(0)
    await clock.pass(1000)
    expect(told).toEqual([])
  })

  test('while something is away nothing is overdue, and then limits are counted anew', async () => {
    let isAway = true
    const { clock, told, atHand } = begin(() => isAway)
    atHand.begin('a', 100)
    await clock.pass(60)
    const later = atHand.begin('b', 100)
    await clock.pass(440)
    expect(told).toEqual([])
    isAway = false
    later.end()
    // The last look that found it away was at 500.
    await clock.pass(99)
    expect(told).toEqual([])
    await clock.pass(1)
    expect(told).toEqual([{ id: 'a', limitMs: 100, ageMs: 600, quietMs: 100 }])
  })

  test('that the whole process stood still is no fault of a message', async () => {
    const { clock, told, atHand } = begin()
    atHand.begin('a', 100)
    await clock.pass(50)
    clock.advance(60_000)
    await clock.pass(99)
    expect(told).toEqual([])
    // From then on it has all its time.
    await clock.pass(1)
    expect(told).toEqual([{ id: 'a', limitMs: 100, ageMs: 60_150, quietMs: 100 }])
  })

  test('what is told names mailbox, message, age, silence and limit', () => {
    const overdue = { id: 'r-1.0', limitMs: 100, ageMs: 550.4, quietMs: 101 }
    const error = hungError('work.job', overdue)
    expect(error.code).toBe('HUNG')
    expect(error.message).toBe(
      'work.job: message r-1.0, received 550 ms ago, has made no progress for 101 ms, ' +
        'expected some within 100 ms; it is delivered again by a new life of its receiver',
    )
  })
})

/** The same by adding up, millisecond by millisecond. */
class Model {
  readonly hands: { id: string; limitMs: number; quietMs: number; ageMs: number; on: boolean }[] =
    []

  /** What is overdue first within so much time. */
  pass(ms: number): Overdue | undefined {
    for (let passed = 0; passed <= ms; passed += 1) {
      const due = this.hands.find(({ on, quietMs, limitMs }) => on && quietMs >= limitMs)
      if (due !== undefined) {
        const { id, limitMs, quietMs, ageMs } = due
        return { id, limitMs, quietMs, ageMs }
      }
      if (passed === ms) return undefined
      for (const hand of this.hands) {
        hand.ageMs += 1
        if (hand.on) hand.quietMs += 1
      }
    }
    return undefined
  }
}

test('what is overdue is told, then and only then, whatever happens to the messages', async () => {
  const which = integer({ min: 0, max: 5 })
  const move = oneof(
    record({ type: constant('begin' as const), limitMs: integer({ min: 1, max: 60 }) }),
    // Time passes as often as anything happens to a message.
    ...Array.from({ length: 3 }, () =>
      record({ type: constant('pass' as const), ms: integer({ min: 0, max: 40 }) }),
    ),
    ...(['progress', 'pause', 'resume', 'end'] as const).map((type) =>
      record({ type: constant(type), which }),
    ),
  )
  const play = async (clock: TestClock, hand: Hand, type: string): Promise<void> => {
    if (type === 'progress') hand.progress()
    if (type === 'pause') hand.pause()
    if (type === 'resume') hand.resume()
    if (type === 'end') hand.end()
    await clock.settle()
  }
  let overdueRuns = 0
  await assert(
    asyncProperty(array(move, { minLength: 10, maxLength: 40 }), async (moves) => {
      const { clock, told, atHand } = begin()
      const model = new Model()
      const hands: Hand[] = []
      for (const [index, step] of moves.entries()) {
        if (step.type === 'begin') {
          const id = String(index)
          hands.push(atHand.begin(id, step.limitMs))
          model.hands.push({ id, limitMs: step.limitMs, quietMs: 0, ageMs: 0, on: true })
        } else if (step.type === 'pass') {
          const expected = model.pass(step.ms)
          await clock.pass(step.ms)
          expect(told).toEqual(expected === undefined ? [] : [expected])
          if (expected !== undefined) {
            overdueRuns += 1
            expect(clock.armed).toBe(0)
            return
          }
        } else {
          const at = step.which % Math.max(1, hands.length)
          const [hand, known] = [hands[at], model.hands[at]]
          if (hand === undefined || known === undefined) continue
          await play(clock, hand, step.type)
          if (step.type === 'progress') known.quietMs = 0
          if (step.type === 'pause') known.on = false
          if (step.type === 'resume') known.on = true
          if (step.type === 'end') {
            hands.splice(at, 1)
            model.hands.splice(at, 1)
          }
        }
        expect(clock.armed).toBeLessThanOrEqual(1)
        const oldest = model.hands[0]
        expect(atHand.oldestAt).toBe(
          oldest === undefined ? undefined : clock.monotonic() - oldest.ageMs,
        )
      }
    }),
  )
  // Else it would hold of a watch that never tells.
  expect(overdueRuns).toBeGreaterThan(20)
})
