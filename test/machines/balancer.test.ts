import { describe, expect, test } from 'bun:test'
import { array, assert, double, integer, property, record } from 'fast-check'
import {
  type Candidate,
  choose,
  costLatencyScore,
  decide,
  eligibilityDefaults,
  fillTasks,
  foldHistory,
  ineligible,
  makePool,
  noteChosen,
  type Pool,
  type Standing,
  strategies,
  unknownHistory,
  weightedScore,
} from '../../machines/balancer.ts'
import { seededRandom } from '../kit/random.ts'

const idle = (id: string, over: Partial<Candidate> = {}): Candidate => ({
  id,
  active: 0,
  queue: 0,
  cost: 1,
  ...unknownHistory,
  ...over,
})
const noChance = () => {
  throw new Error('expected no chance in it')
}
const winners = (pool: Pool, times: number, random: () => number = noChance) =>
  Array.from({ length: times }, () => decide(pool, 1, random)?.winner)

describe('the weighted score (D-20)', () => {
  test('is exact', () => {
    expect(weightedScore({ active: 0, queue: 0, successRate: 1 })).toBe(2100)
    expect(weightedScore({ active: 50, queue: 20, successRate: 0.5 })).toBe(1450)
    expect(weightedScore({ active: 1, queue: 1, successRate: 0.999 })).toBe(990 + 995 + 99)
  })

  test('of one with more than it can count is never above that of an idle one (D-21)', () => {
    expect(weightedScore({ active: 150, queue: 0, successRate: 1 })).toBe(1100)
    expect(weightedScore({ active: 0, queue: 201, successRate: 1 })).toBe(1100)
    const load = { active: integer({ min: 0, max: 1e9 }), queue: integer({ min: 0, max: 1e9 }) }
    assert(
      property(record(load), double({ min: 0, max: 1, noNaN: true }), (busy, successRate) => {
        const score = weightedScore({ ...busy, successRate })
        expect(score).toBeGreaterThanOrEqual(0)
        expect(score).toBeLessThanOrEqual(2100)
        const more = { active: busy.active + 1, queue: busy.queue + 1, successRate }
        expect(weightedScore(more)).toBeLessThanOrEqual(score)
      }),
    )
  })

  test('of a node that nothing is known of is that of a good one (D-22)', () => {
    const pool = makePool('weighted', [
      idle('old', { successRate: 0.9, samples: 1000, latencyMs: 5 }),
      idle('new'),
    ])
    expect(winners(pool, 1)).toEqual(['new'])
  })
})

describe('the cost-latency score (E-64)', () => {
  test('is 1 for the cheapest that never fails and takes no time', () => {
    expect(costLatencyScore({ cost: 2, successRate: 1, latencyMs: 0 }, 2)).toBeCloseTo(1)
    const dear = costLatencyScore({ cost: 4, successRate: 0.85, latencyMs: 750 }, 2)
    expect(dear).toBeCloseTo(0.45 * 0.5 + 0.4 * 0.85 + 0.15 * 0.5)
  })

  test('does not fall below what cost and success give, however slow it is', () => {
    const slow = costLatencyScore({ cost: 1, successRate: 1, latencyMs: 1e9 }, 1)
    expect(slow).toBeCloseTo(0.85)
  })

  test('fills the best node first, and then the next, before it gets more (E-63)', () => {
    const nodes = [idle('cheap'), idle('dear', { cost: 4 })]
    const pool = makePool('cost-latency', nodes)
    const chosen = winners(pool, 3 * fillTasks)
    const ofThird = (third: number) =>
      new Set(chosen.slice(third * fillTasks, (third + 1) * fillTasks))
    expect(ofThird(0)).toEqual(new Set(['cheap']))
    expect(ofThird(1)).toEqual(new Set(['dear']))
    expect(ofThird(2)).toEqual(new Set(['cheap']))
  })

  test('counts weights as shares of their sum', () => {
    const candidate = { cost: 3, successRate: 0.7, latencyMs: 300 }
    const tenfold = { cost: 4.5, success: 4, latency: 1.5 }
    expect(costLatencyScore(candidate, 1, tenfold)).toBeCloseTo(costLatencyScore(candidate, 1))
  })
})

describe('history (D-26)', () => {
  test('begins with the first sample, not with a share of it', () => {
    const first = foldHistory(undefined, { attempts: 4, ok: 3, durationMs: 400 })
    expect(first).toEqual({ successRate: 0.75, latencyMs: 100, samples: 4 })
  })

  test('gives the newest sample a weight of 0.3', () => {
    const before = { successRate: 1, latencyMs: 100, samples: 10 }
    const after = foldHistory(before, { attempts: 1, ok: 0, durationMs: 200 })
    expect(after.successRate).toBeCloseTo(0.7)
    expect(after.latencyMs).toBeCloseTo(130)
    expect(after.samples).toBe(11)
  })

  test('is left as it is by no attempts', () => {
    const before = { successRate: 0.5, latencyMs: 10, samples: 2 }
    expect(foldHistory(before, { attempts: 0, ok: 0, durationMs: 0 })).toEqual(before)
    expect(foldHistory(undefined, { attempts: 0, ok: 0, durationMs: 0 })).toEqual(unknownHistory)
  })
})

describe('who may be chosen (D-30, E-63)', () => {
  const well: Standing = { ...unknownHistory, state: 'alive', silentMs: 0, used: 0, usedMax: 10 }
  const why = (over: Partial<Standing>) => ineligible({ ...well, ...over })

  test('is alive and heard, has room, and does not fail', () => {
    expect(ineligible(well)).toBeUndefined()
    expect(why({ state: 'dead' })).toEqual({ why: 'gone', reason: 'dead' })
    expect(why({ state: 'draining' })).toEqual({ why: 'gone', reason: 'draining' })
    expect(why({ state: 'suspect' })).toEqual({ why: 'poor', reason: 'suspect' })
    expect(why({ state: 'joining' })).toEqual({ why: 'poor', reason: 'joining' })
    expect(why({ used: 10 })).toEqual({ why: 'poor', reason: 'full' })
    expect(why({ used: 9 })).toBeUndefined()
    // Heard as a node, and not answering as a host: only where there is nobody better (E-63).
    expect(why({ isOffline: true })).toEqual({ why: 'poor', reason: 'offline' })
    expect(why({ isOffline: true, state: 'dead' })).toEqual({ why: 'gone', reason: 'dead' })
  })

  test('may be silent for just as long as the limit, and no longer', () => {
    const { staleMs } = eligibilityDefaults
    expect(why({ silentMs: staleMs })).toBeUndefined()
    expect(why({ silentMs: staleMs + 1 })).toEqual({ why: 'gone', reason: 'stale' })
  })

  test('may fail more often than it should only while little is known of it', () => {
    expect(why({ samples: 4, successRate: 0 })).toBeUndefined()
    expect(why({ samples: 5, successRate: 0.59 })).toEqual({ why: 'poor', reason: 'unreliable' })
    expect(why({ samples: 5, successRate: 0.6 })).toBeUndefined()
  })
})

describe('a choice', () => {
  test('among equals falls on the least recently chosen, first by id (D-23)', () => {
    const equals = ['c', 'a', 'b'].map((id) => idle(id))
    expect(winners(makePool('round-robin', equals), 7)).toEqual('abcabca'.split(''))
    // A queue that ends as fast as it is filled: nobody is a hot spot.
    const pool = makePool('weighted', equals)
    const chosen = Array.from({ length: 6 }, () => {
      const [winner] = choose(pool, noChance)
      noteChosen(pool, winner, 0)
      return pool.candidates[winner]?.id
    })
    expect(chosen).toEqual('abcabc'.split(''))
  })

  test('knows of the tasks that went before it', () => {
    const pool = makePool('least-loaded', [idle('a'), idle('b', { active: 10 })])
    expect(decide(pool, 30, noChance)?.winner).toBe('a')
    expect(decide(pool, 5, noChance)?.winner).toBe('b')
    expect(decide(pool, 5, noChance)?.winner).toBe('b')
    expect(decide(pool, 5, noChance)?.winner).toBe('b')
  })

  test('goes on in a new pool where the last one stopped (D-29)', () => {
    const nodes = ['a', 'b', 'c'].map((id) => idle(id))
    const first = makePool('round-robin', nodes)
    expect(winners(first, 2)).toEqual(['a', 'b'])
    const chosen = new Map(first.candidates.map(({ id }, at) => [id, first.chosenAt[at] ?? 0]))
    const next = makePool('round-robin', nodes.toReversed(), chosen, first.choices)
    expect(winners(next, 3)).toEqual(['c', 'a', 'b'])
  })

  test('by chance is repeated by the same seed, and meets everybody', () => {
    const pool = () => makePool('random', [idle('a'), idle('b'), idle('c')])
    const [one, other] = [seededRandom(7), seededRandom(7)]
    const chosen = winners(pool(), 60, one.next)
    expect(winners(pool(), 60, other.next)).toEqual(chosen)
    expect(new Set(chosen)).toEqual(new Set(['a', 'b', 'c']))
  })

  test('goes by every figure that is kept of a node, in some strategy (D-24)', () => {
    const better: Partial<Candidate>[] = [
      { active: 3 },
      { queue: 3 },
      { cost: 0.5 },
      { successRate: 0.9 },
      { latencyMs: 100 },
    ]
    for (const figure of better) {
      const wins = strategies.filter((strategy) => {
        const pair = ['a', 'b'].map((good) => {
          const others = { active: 9, queue: 9, cost: 2, successRate: 0.5, latencyMs: 900 }
          const candidates = ['a', 'b'].map((id) =>
            idle(id, { ...others, ...(id === good ? figure : {}) }),
          )
          return decide(makePool(strategy, candidates), 1, () => 0)?.winner
        })
        return pair.join(' ') === 'a b'
      })
      expect([figure, wins.length > 0]).toEqual([figure, true])
    }
  })

  test('among nobody is nobody (D-27)', () => {
    for (const strategy of strategies) {
      expect(decide(makePool(strategy, []), 1, () => 0)).toBeUndefined()
    }
  })

  test('tells who was compared, who won and who was next', () => {
    const pool = makePool('weighted', [
      idle('a', { active: 3 }),
      idle('b', { active: 1 }),
      idle('c', { active: 2 }),
      idle('d', { active: 9 }),
    ])
    expect(decide(pool, 1, noChance)).toEqual({
      strategy: 'weighted',
      candidates: 4,
      winner: 'b',
      score: 2090,
      fallbacks: [
        { node: 'c', score: 2080 },
        { node: 'a', score: 2070 },
      ],
    })
  })

  test('is the best three in order, whatever the candidates', () => {
    const load = record({ active: integer({ min: 0, max: 5 }), queue: integer({ min: 0, max: 5 }) })
    assert(
      property(array(load, { minLength: 1, maxLength: 30 }), (loads) => {
        const pool = makePool(
          'weighted',
          loads.map((of, at) => idle(`n-${at}`, of)),
        )
        const order = [...pool.scores.keys()].sort(
          (a, b) => (pool.scores[b] ?? 0) - (pool.scores[a] ?? 0) || a - b,
        )
        expect(choose(pool, noChance)).toEqual([order[0] ?? -1, order[1] ?? -1, order[2] ?? -1])
      }),
    )
  })

  test('among two nodes brings a hundred tasks to both, and to none more than 95 (D-40)', () => {
    for (const strategy of strategies) {
      const random = seededRandom(1)
      const pool = makePool(strategy, [idle('a'), idle('b')])
      const chosen = Array.from({ length: 100 }, () => decide(pool, 1, random.next)?.winner)
      const ofA = chosen.filter((id) => id === 'a').length
      expect(ofA).toBeGreaterThan(4)
      expect(ofA).toBeLessThan(96)
    }
  })
})
