/**
 * The prober under seeded faults: endpoints come and go, answer late or never, Redis refuses now
 * and then, and the prober itself is killed and followed by another. What it says of an endpoint is
 * true as soon as it had the time to find out, and nobody is ever forgotten.
 */
import { describe, expect, test } from 'bun:test'
import { MusterError, UnavailableError } from '../../actors/errors.ts'
import type { Endpoint } from '../../actors/ports-probe.ts'
import { endpointLines, probeEndpoints } from '../../actors/prober.ts'
import { testClock } from '../kit/clock.ts'
import { type Random, seededRandom, testSeed } from '../kit/random.ts'

const rounds = 15
const timeoutMs = 2500
const policy = { intervalMs: 30_000, failuresMax: 3, cooldownMs: 300_000 }
const silence = () => undefined
const log = { debug: silence, info: silence, warn: silence, error: silence }
/** Asked as seldom as can be, and then three times in haste, each late by a whole pass. */
const longestMs = 2 * 30_000 * 1.1 + 2 * 10_000 * 1.1 + 3 * timeoutMs + 3 * 30_000

async function simulate(random: Random): Promise<void> {
  const clock = testClock()
  const concurrency = random.integer(2, 8)
  const endpoints = Array.from({ length: random.integer(5, 30) }, (_, index): Endpoint => {
    return { name: `h-${index}`, url: `http://h-${index}/health` }
  })
  const isUp = new Map(endpoints.map(({ name }) => [name, true]))
  const changedAt = new Map(endpoints.map(({ name }) => [name, 0]))
  let underWay = 0

  const probes = {
    async probe({ name }: Endpoint, signal: AbortSignal) {
      underWay += 1
      expect(underWay).toBeLessThanOrEqual(concurrency)
      try {
        await clock.wait(random.integer(1, 400), signal)
        if (isUp.get(name) === true) return
        if (random.chance(0.5)) throw new MusterError('ECONNREFUSED', 'nobody is there')
        await clock.wait(10 * timeoutMs, signal)
        throw new MusterError('ABORTED', 'nobody wants to know')
      } finally {
        underWay -= 1
      }
    },
  }

  let value: string | undefined
  let isAway = false
  const fence = {
    async put(_key: string, next: string) {
      if (isAway) throw new UnavailableError('Redis is away')
      value = next
    },
    async get() {
      if (isAway) throw new UnavailableError('Redis is away')
      return value
    },
  }
  let life = new AbortController()
  let ended = Promise.resolve()
  const start = () => {
    life = new AbortController()
    const options = { endpoints, probes, policy, timeoutMs, concurrency, clock, log }
    ended = probeEndpoints({ ...options, random: random.next }, fence, life.signal)
  }
  start()

  let calmSince = 0
  for (let step = 0; step < 120; step += 1) {
    const { name } = random.pick(endpoints)
    if (random.chance(0.15)) {
      isUp.set(name, isUp.get(name) !== true)
      changedAt.set(name, clock.monotonic())
    }
    if (random.chance(0.03)) {
      isAway = !isAway
      calmSince = clock.monotonic()
    }
    if (random.chance(0.02)) {
      life.abort()
      await clock.settle()
      await ended
      start()
      calmSince = clock.monotonic()
    }
    await clock.pass(random.integer(1000, 20_000))
    const now = clock.monotonic()
    const lines = endpointLines(value, clock.now())
    if (isAway || now - calmSince < longestMs) continue
    expect(lines).toHaveLength(endpoints.length)
    for (const line of lines) {
      if (now - (changedAt.get(line.name) ?? 0) < longestMs) continue
      const expected = isUp.get(line.name) === true ? 'online' : 'offline'
      expect(`${line.name} ${line.state}`).toBe(`${line.name} ${expected}`)
      expect(line.isUsable).toBe(expected === 'online')
    }
  }
  life.abort()
  await clock.settle()
  await ended
  expect(clock.armed).toBe(0)
}

describe('probing under faults', () => {
  const seed = testSeed()
  test.each(Array.from({ length: rounds }, (_, round) => seed + round))(
    'finds out in time how everybody is, and forgets nobody (seed %i)',
    async (each) => simulate(seededRandom(each)),
  )
})
