import { describe, expect, test } from 'bun:test'
import { createActor } from 'xstate'
import { stormMachine, stormPolicyFor } from '../../machines/storm.ts'
import { explore } from '../kit/explore.ts'
import { seededRandom } from '../kit/random.ts'

const policy = stormPolicyFor(256)
const changes: boolean[] = []
const bound = stormMachine.provide({
  actions: {
    appear: () => undefined,
    change: (_, { isStorm }) => void changes.push(isStorm),
  },
})
const calm = { halfRate: 0, rate: 0, depth: 0 }
const sample = (at: number, over: Partial<typeof calm> = {}) =>
  ({ type: 'results.sampled', at, ...calm, ...over }) as const

const exploration = explore(bound, {
  input: policy,
  events: [
    { type: 'stop' },
    { type: 'results.unknown' },
    ...[0, 30_000].flatMap((at) => [
      sample(at),
      sample(at, { halfRate: 21, rate: 21 }),
      sample(at, { depth: 0.8 }),
      sample(at, { depth: 0.5 }),
    ]),
  ],
  isBeyond: ({ context }) => context['storms'] > 2,
})

/** Samples, each at its time; says in which state it is after each. */
function play(...samples: ReturnType<typeof sample>[]): unknown[] {
  const actor = createActor(bound, { input: policy }).start()
  return samples.map((one) => {
    actor.send(one)
    return actor.getSnapshot().value
  })
}
const times = (from: number, to: number, stepMs = 1000) =>
  Array.from({ length: (to - from) / stepMs + 1 }, (_, index) => from + index * stepMs)

describe('storm machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })
})

describe('a storm', () => {
  test('begins above 20 a second over half a window, at once', () => {
    expect(play(sample(0, { halfRate: 20 }), sample(1000, { halfRate: 20.1 }))).toEqual([
      'normal',
      'storm',
    ])
  })

  test('begins when more than 192 of 256 have waited for 10 s, without a break', () => {
    const deep = { depth: 193 / 256 }
    expect(play(sample(0, deep), sample(9999, deep), sample(10_000, deep))).toEqual([
      'normal',
      'normal',
      'storm',
    ])
    const broken = [sample(0, deep), sample(9999, { depth: 192 / 256 }), sample(10_000, deep)]
    expect(play(...broken).at(-1)).toBe('normal')
  })

  test('ends when rate and depth have both been low for 30 s', () => {
    const high = sample(0, { halfRate: 100 })
    const low = (over: Partial<typeof calm>) =>
      times(1000, 31_000).map((at) => sample(at, { rate: 4.9, depth: 0.24, ...over }))
    expect(play(high, ...low({})).slice(-2)).toEqual(['storm', 'normal'])
    expect(play(high, ...low({ depth: 0.25 })).at(-1)).toBe('storm')
    expect(play(high, ...low({ rate: 5 })).at(-1)).toBe('storm')
  })

  test('is neither begun nor ended by what is not known', () => {
    const actor = createActor(bound, { input: policy }).start()
    actor.send(sample(0, { depth: 0.9 }))
    actor.send({ type: 'results.unknown' })
    actor.send(sample(10_000, { depth: 0.9 }))
    expect(actor.getSnapshot().value).toBe('normal')
    actor.send(sample(20_000, { depth: 0.9 }))
    actor.send(sample(21_000))
    actor.send({ type: 'results.unknown' })
    actor.send(sample(51_000))
    expect(actor.getSnapshot().value).toBe('storm')
    actor.send(sample(81_000))
    expect(actor.getSnapshot().value).toBe('normal')
  })

  test('does not flap where the results flap about its marks', () => {
    const random = seededRandom(5)
    changes.length = 0
    // Ten minutes about the mark at which it begins, then ten about that at which it ends.
    const about = (mark: number, from: number) =>
      times(from, from + 599_000).map((at) => {
        const rate = mark + random.next() * 2 - 1
        return sample(at, { halfRate: rate, rate })
      })
    play(...about(20, 0), ...about(5, 600_000))
    expect(changes.length).toBeLessThanOrEqual(2)
    expect(changes[0]).toBe(true)
  })

  test('has marks that grow with the places there are', () => {
    expect([policy.enterRate, policy.exitRate]).toEqual([20, 5])
    expect(stormPolicyFor(25_600)).toMatchObject({ enterRate: 2000, exitRate: 500 })
  })
})
