import { describe, expect, test } from 'bun:test'
import { FencedError, UnavailableError } from '../../actors/errors.ts'
import type { Endpoint, Probes } from '../../actors/ports-probe.ts'
import {
  type EndpointLine,
  endpointLines,
  type ProberOptions,
  probeEndpoints,
} from '../../actors/prober.ts'
import { memoryProbes, type ProbeAnswer } from '../../runtime/memory/probes.ts'
import { testClock } from '../kit/clock.ts'
import { memoryWorld } from './world.ts'

const policy = { intervalMs: 30_000, failuresMax: 3, cooldownMs: 300_000 }
const named = (name: string): Endpoint => ({ name, url: `http://${name}/health` })

/** A lease that keeps what is put, as long as the test wants it to. */
class Kept {
  value: string | undefined
  puts = 0
  refusal: Error | undefined

  async put(_key: string, value: string): Promise<void> {
    if (this.refusal !== undefined) throw this.refusal
    this.puts += 1
    this.value = value
  }

  async get(): Promise<string | undefined> {
    return this.value
  }
}

function begin(names: string[], options: Partial<ProberOptions> = {}, kept = new Kept()) {
  const clock = testClock()
  const world = memoryWorld(clock)
  const answers = new Map<string, ProbeAnswer>(names.map((name) => [named(name).url, 'well']))
  const twin = memoryProbes(answers)
  const asked: string[] = []
  let underWay = 0
  let most = 0
  const probes: Pick<Probes, 'probe'> = {
    async probe(endpoint, signal) {
      asked.push(endpoint.name)
      underWay += 1
      most = Math.max(most, underWay)
      try {
        await twin.probe(endpoint, signal)
      } finally {
        underWay -= 1
      }
    },
  }
  const stop = new AbortController()
  const ended = probeEndpoints(
    {
      endpoints: names.map(named),
      probes,
      policy,
      timeoutMs: 2500,
      concurrency: 10,
      clock,
      random: () => 0.5,
      log: world.log,
      ...options,
    },
    kept,
    stop.signal,
  )
  const seen = (): Record<string, EndpointLine> =>
    Object.fromEntries(endpointLines(kept.value, clock.now()).map((line) => [line.name, line]))
  return {
    answers,
    asked,
    clock,
    ended,
    kept,
    logged: world.logged,
    most: () => most,
    seen,
    async stop() {
      stop.abort()
      await clock.settle()
      await ended
    },
  }
}

describe('the prober', () => {
  test('asks everybody at once, then each at its interval', async () => {
    const { asked, clock, seen, stop } = begin(['a', 'b'])
    await clock.settle()
    expect(asked).toEqual(['a', 'b'])
    await clock.pass(29_999)
    expect(asked).toHaveLength(2)
    await clock.pass(1)
    expect(asked).toEqual(['a', 'b', 'a', 'b'])
    expect(seen()['a']).toMatchObject({ state: 'online', isUsable: true, successes: 2 })
    await stop()
  })

  test('passes over many dead hosts side by side, never more than its cap', async () => {
    const names = Array.from({ length: 40 }, (_, index) => `h-${index}`)
    const { answers, asked, clock, most, seen, stop } = begin(names)
    for (const name of names.slice(0, 39)) answers.set(named(name).url, 'silent')
    // One after the other it would be 40 × 2.5 s.
    await clock.pass(4 * 2500 + 100)
    expect(new Set(asked).size).toBe(40)
    expect(most()).toBe(10)
    await clock.pass(5000)
    expect(seen()['h-39']?.state).toBe('online')
    expect(seen()['h-0']).toMatchObject({
      state: 'failing',
      lastError: 'TIMEOUT: did not answer within 2500 ms',
    })
    await stop()
  })

  test('finds one that is gone at its third failure, told at once and logged', async () => {
    const { answers, clock, logged, seen, stop } = begin(['a', 'b'])
    await clock.settle()
    answers.delete(named('a').url)
    // Alarmed by the first one, it asks again in a third of the time.
    await clock.pass(30_000 + 2 * 10_000 + 10)
    expect(seen()['a']).toMatchObject({ state: 'offline', failures: 3, isUsable: false })
    expect(seen()['b']).toMatchObject({ state: 'online' })
    expect(logged.map(({ message }) => message)).toEqual(['an endpoint is offline'])
    answers.set(named('a').url, 'well')
    await clock.pass(30_010)
    expect(seen()['a']).toMatchObject({ state: 'online', isUsable: true })
    expect(seen()['a']).not.toHaveProperty('cooldownUntil')
    expect(logged.at(-1)?.message).toBe('an endpoint is back')
    await stop()
  })

  test('is not stopped by any error: of a probe, nor of Redis', async () => {
    const kept = new Kept()
    kept.refusal = new UnavailableError('Redis is away')
    const failing: Pick<Probes, 'probe'> = {
      probe: () => {
        throw new Error('a bug')
      },
    }
    const { clock, seen, stop } = begin(['a'], { probes: failing }, kept)
    await clock.pass(60_000)
    kept.refusal = undefined
    await clock.pass(10_000)
    expect(seen()['a']).toMatchObject({ state: 'offline', lastError: 'Error: a bug' })
    await stop()
  })

  test('ends when somebody else probes', async () => {
    const kept = new Kept()
    kept.refusal = new FencedError('prober', 7, 'epoch 8 was granted')
    const { clock, ended } = begin(['a'], {}, kept)
    const end = ended.then(
      () => 'in order',
      (error: unknown) => error,
    )
    await clock.pass(10_000)
    expect(await end).toBe(kept.refusal)
  })

  test('goes on from what the one before knew of the same endpoints', async () => {
    const first = begin(['a', 'b'])
    first.answers.delete(named('a').url)
    await first.clock.pass(60_000)
    await first.stop()
    const second = begin(['a', 'c'], {}, first.kept)
    second.answers.set(named('a').url, 'silent')
    await second.clock.pass(5000 + 2500)
    expect(second.seen()).toMatchObject({ a: { state: 'offline' }, c: { state: 'online' } })
    expect(second.seen()['a']?.failures).toBeGreaterThan(3)
    expect(second.seen()).not.toHaveProperty('b')
    await second.stop()
  })

  test('keeps what it knows seldom, while nothing changes', async () => {
    const names = Array.from({ length: 30 }, (_, index) => `h-${index}`)
    const { clock, kept, stop } = begin(names, { random: Math.random })
    await clock.pass(10_000)
    const before = kept.puts
    await clock.pass(300_000)
    expect(kept.puts - before).toBeLessThanOrEqual(61)
    await stop()
  })

  test('told to stop leaves no probe and no timer', async () => {
    const { answers, clock, stop } = begin(['a', 'b'])
    answers.set(named('a').url, 'silent')
    await clock.pass(1000)
    await stop()
    expect(clock.armed).toBe(0)
  })
})

test('of what was never kept nothing is shown', () => {
  expect(endpointLines(undefined, 0)).toEqual([])
})
