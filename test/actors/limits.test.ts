import { describe, expect, test } from 'bun:test'
import { limiter } from '../../actors/limits.ts'
import type { Log } from '../../actors/ports.ts'
import type { Limits } from '../../actors/ports-limits.ts'
import { memoryLimits } from '../../runtime/memory/limits.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'

const forever = new AbortController().signal
const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** Buckets whose calls are counted. */
function countedLimits(clock: TestClock): Limits & { calls: number[]; tokens(): number } {
  const limits = memoryLimits(() => clock.monotonic())
  const calls: number[] = []
  return {
    calls,
    tokens: () => calls.reduce((sum, taken) => sum + taken, 0),
    async take(buckets, wanted) {
      const taken = await limits.take(buckets, wanted)
      calls.push(taken.tokens)
      return taken
    },
  }
}

type Policies = Parameters<typeof limiter>[0]['policies']

function begin(policies: Policies, over: { limits?: Limits; clock?: TestClock; log?: Log } = {}) {
  const clock = over.clock ?? testClock()
  const limits = countedLimits(clock)
  const random = seededRandom(7).next
  const options = { limits, policies, clock, random, log: quiet, ...over }
  return { clock, limits, limiter: limiter(options) }
}

/** Takes for one task after the other, as an envelope does; says when each had its token. */
function takeInTurn({ clock, limiter: of }: ReturnType<typeof begin>, tasks: number, workMs = 0) {
  const tokens: number[] = []
  void (async () => {
    for (let task = 0; task < tasks; task += 1) {
      await of.take('job', {}, forever)
      tokens.push(clock.monotonic())
      if (workMs > 0) await clock.wait(workMs)
    }
  })()
  return tokens
}

describe('a limiter', () => {
  test('has nothing to do with kinds and sources that have no limit', () => {
    const it = begin({ job: { rate: 1, burst: 1 }, 'source:crm': { rate: 1, burst: 1 } })
    expect(it.limiter.take('other', {}, forever)).toBeUndefined()
    expect(it.limiter.take('source:crm', {}, forever)).toBeUndefined()
    expect(it.limiter.take('other', { labels: { source: 'shop' } }, forever)).toBeUndefined()
    expect(it.limiter.take('other', { labels: { crm: 'source' } }, forever)).toBeUndefined()
    expect(begin({}).limiter.take('job', { labels: { source: 'crm' } }, forever)).toBeUndefined()
    expect(it.limits.calls).toEqual([])
  })

  test('lets tasks begin at the rate of their kind, after a burst', async () => {
    const it = begin({ job: { rate: 4, burst: 3 } })
    const tokens = takeInTurn(it, 8)
    await it.clock.pass(2000)
    expect(tokens.slice(0, 3)).toEqual([0, 0, 0])
    expect(tokens).toHaveLength(8)
    for (const [index, at] of tokens.slice(3).entries()) {
      expect(at).toBeGreaterThanOrEqual((index + 1) * 250)
      expect(at).toBeLessThan((index + 1) * 250 + 100)
    }
  })

  test('counts a task against its kind and its source, and a source over all kinds', async () => {
    const it = begin({ job: { rate: 0, burst: 5 }, 'source:crm': { rate: 0, burst: 3 } })
    const crm = { labels: { source: 'crm' } }
    let begun = 0
    const take = (kind: string, task: object) =>
      it.limiter.take(kind, task, forever)?.then(() => {
        begun += 1
      })
    void take('job', crm)
    void take('other', crm)
    await it.clock.settle()
    for (let more = 0; more < 4; more += 1) void take('job', crm)
    await it.clock.settle()
    expect(begun).toBe(3)
    for (let more = 0; more < 5; more += 1) void take('job', {})
    await it.clock.settle()
    expect(begun).toBe(3 + 3)
  })

  test('fetches a quarter second of tokens at a time where tasks run in turn', async () => {
    const it = begin({ job: { rate: 1000, burst: 1000 } })
    const tokens = takeInTurn(it, 5000)
    await it.clock.pass(5000)
    expect(tokens).toHaveLength(5000)
    console.log(`${it.limits.calls.length} calls for 5000 tasks in 5 s`)
    expect(it.limits.calls.length).toBeLessThan(70)
    expect(Math.max(...it.limits.calls)).toBeLessThanOrEqual(250)
    for (const [index, at] of tokens.entries()) {
      expect(index + 1).toBeLessThanOrEqual(1000 + at)
    }
  })

  test('does not hoard: what few use is fetched in small numbers', async () => {
    const it = begin({ job: { rate: 1000, burst: 1000 } })
    const tokens = takeInTurn(it, 50, 100)
    await it.clock.pass(5000)
    expect(tokens).toHaveLength(50)
    // Ten a second are used: no more than a quarter second of that is at hand at any time.
    expect(Math.max(...it.limits.calls)).toBeLessThanOrEqual(5)
    expect(it.limits.tokens()).toBeLessThanOrEqual(50 + 5)
  })

  test('tokens that nobody used for a second are gone', async () => {
    const it = begin({ job: { rate: 1000, burst: 1000 } })
    takeInTurn(it, 100)
    await it.clock.settle()
    const spare = it.limits.tokens() - 100
    expect(spare).toBeGreaterThan(0)
    const before = it.limits.calls.length
    await it.clock.pass(1001)
    const wait = it.limiter.take('job', {}, forever)
    expect(wait).toBeDefined()
    await wait
    // And what is fetched then is what was used since.
    expect(it.limits.calls.slice(before)).toEqual([15])
  })

  test('a hundred that wait at once are served in the order in which they came', async () => {
    const it = begin({ job: { rate: 100, burst: 10 } })
    const served: number[] = []
    for (let index = 0; index < 100; index += 1) {
      void it.limiter.take('job', {}, forever)?.then(() => served.push(index))
    }
    await it.clock.pass(450)
    expect(served.length).toBeGreaterThan(10)
    expect(served.length).toBeLessThanOrEqual(55)
    await it.clock.pass(700)
    expect(served).toEqual(Array.from({ length: 100 }, (_, index) => index))
    expect(it.limits.calls.length).toBeLessThan(30)
  })

  test('whose signal aborts waits no longer, and nothing is asked for him', async () => {
    const it = begin({ job: { rate: 0.1, burst: 1 } })
    const [first, second] = [new AbortController(), new AbortController()]
    const ended: string[] = []
    await it.limiter.take('job', {}, forever)
    void it.limiter.take('job', {}, first.signal)?.then(() => ended.push('first'))
    void it.limiter.take('job', {}, second.signal)?.then(() => ended.push('second'))
    await it.clock.settle()
    first.abort()
    await it.clock.settle()
    expect(ended).toEqual(['first'])
    expect(it.limiter.take('job', {}, first.signal)).toBeUndefined()
    second.abort()
    await it.clock.settle()
    expect(ended).toEqual(['first', 'second'])
    expect(it.clock.armed).toBe(0)
    const calls = it.limits.calls.length
    await it.clock.pass(30_000)
    expect(it.limits.calls.length).toBe(calls)
    // And who comes after them finds what has come in the meantime.
    let isServed = false
    void it.limiter.take('job', {}, forever)?.then(() => (isServed = true))
    await it.clock.settle()
    expect(isServed).toBe(true)
  })

  test('a bucket that is never refilled is not asked without end', async () => {
    const it = begin({ job: { rate: 0, burst: 1 } })
    takeInTurn(it, 2)
    await it.clock.pass(600_000)
    expect(it.limits.calls.length).toBeLessThan(15)
  })

  test('while the buckets are out of reach tasks wait, and it is told once', async () => {
    const clock = testClock()
    const limits = countedLimits(clock)
    let tries = 0
    const broken: Limits = {
      take(...args) {
        tries += 1
        if (clock.monotonic() < 10_000) return Promise.reject(new Error('OOM command not allowed'))
        return limits.take(...args)
      },
    }
    const warned: Record<string, unknown>[] = []
    const log = { ...quiet, warn: (fields: Record<string, unknown>) => void warned.push(fields) }
    const it = begin({ job: { rate: 1000, burst: 1000 } }, { clock, limits: broken, log })
    const tokens = takeInTurn(it, 3)
    await clock.pass(9999)
    expect([tokens.length, tries <= 11]).toEqual([0, true])
    await clock.pass(1500)
    expect(tokens).toHaveLength(3)
    expect(warned).toEqual([{ limits: ['job'], code: 'Error', message: 'OOM command not allowed' }])
  })
})

describe('limiters of several processes', () => {
  const policies = { job: { rate: 200, burst: 50 } }

  test.each([1, 2, 3])('keep to the limit together, and share it (seed %i)', async (seed) => {
    const clock = testClock()
    const limits = countedLimits(clock)
    const random = seededRandom(seed).next
    // One with many envelopes at hand, three with one each.
    const takers = [20, 1, 1, 1].map((envelopes) => {
      const it = {
        clock,
        limits,
        limiter: limiter({ limits, policies, clock, random, log: quiet }),
      }
      return Array.from({ length: envelopes }, () => takeInTurn(it, 10_000))
    })
    await clock.pass(30_000)
    const begun = takers.flat(2).toSorted((a, b) => a - b)
    for (const [index, at] of begun.entries()) {
      expect(index + 1).toBeLessThanOrEqual(50 + (200 * at) / 1000 + 1e-6)
    }
    expect(begun.length).toBeGreaterThan((50 + 200 * 30) * 0.97)
    const shares = takers.map((lives) => lives.flat().length)
    console.log(`seed ${seed}: ${shares.join(' ')} in ${limits.calls.length} calls`)
    expect(Math.min(...shares)).toBeGreaterThan(begun.length / 4 / 3)
    expect(limits.calls.length).toBeLessThan(30 * 4 * 12)
  })
})
