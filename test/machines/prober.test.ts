import { describe, expect, test } from 'bun:test'
import { array, assert, boolean, property } from 'fast-check'
import {
  type EndpointRecord,
  isUsable,
  type ProbePolicy,
  probed,
  probeIntervalMs,
  unknownEndpoint,
} from '../../machines/prober.ts'

const policy: ProbePolicy = { intervalMs: 30_000, failuresMax: 3, cooldownMs: 300_000 }
const well = { isOk: true, durationMs: 100 }
const sick = { isOk: false, durationMs: 2500, error: 'TIMEOUT: too slow' }

/** What is known after probes that were answered like this, one a second. */
function after(answers: readonly boolean[], before = unknownEndpoint): EndpointRecord {
  return answers.reduce(
    (known, isOk, index) => probed(known, isOk ? well : sick, 1000 * (index + 1), policy),
    before,
  )
}

const times = (count: number, isOk: boolean) => Array<boolean>(count).fill(isOk)

describe('an endpoint', () => {
  test('is offline at the third failure in a row, and not before', () => {
    expect(after(times(2, false)).state).toBe('failing')
    expect(after(times(3, false))).toMatchObject({
      state: 'offline',
      failures: 3,
      cooldownUntil: 303_000,
      lastError: 'TIMEOUT: too slow',
    })
    expect(after([false, false, true, false, false]).state).toBe('failing')
  })

  test('that recovers is usable at once: neither the state nor the cooldown stays', () => {
    const back = after([false, false, false, true])
    expect(back).toMatchObject({ state: 'online', failures: 0 })
    expect(back).not.toHaveProperty('cooldownUntil')
    expect(back).not.toHaveProperty('lastError')
    expect(isUsable(back, 4000)).toBe(true)
  })

  test('that stays away is cooled down anew when the time is over', () => {
    const down = after(times(3, false))
    expect(probed(down, sick, 100_000, policy).cooldownUntil).toBe(303_000)
    expect(probed(down, sick, 303_000, policy).cooldownUntil).toBe(603_000)
    expect(isUsable(down, 1_000_000)).toBe(false)
  })

  test('is as quick as its successes say; a failure tells no latency', () => {
    expect(after([false, false]).latencyMs).toBe(750)
    expect(after([true]).latencyMs).toBeCloseTo(750 + 0.2 * (100 - 750))
    expect(after([true]).successRate).toBeCloseTo(0.88)
    expect(after([false]).successRate).toBeCloseTo(0.68)
  })

  test('that wavers is asked thrice as often, until it has answered three times', () => {
    const intervals = (answers: boolean[]) => probeIntervalMs(after(answers), policy)
    expect(intervals([true])).toBe(30_000)
    expect(intervals([true, false])).toBe(10_000)
    expect(intervals([true, false, true, true])).toBe(10_000)
    expect(intervals([true, false, true, true, true])).toBe(30_000)
  })

  test('that is steady is asked half as often, after ten answers', () => {
    expect(probeIntervalMs(after(times(9, true)), policy)).toBe(30_000)
    expect(probeIntervalMs(after(times(10, true)), policy)).toBe(60_000)
    expect(probeIntervalMs(after([...times(10, true), false]), policy)).toBe(10_000)
  })

  test('that is offline is asked as usual, for haste would bring nothing', () => {
    expect(probeIntervalMs(after(times(3, false)), policy)).toBe(30_000)
  })

  test('is what its last answers say, whatever came before', () => {
    assert(
      property(array(boolean(), { minLength: 1, maxLength: 40 }), (answers) => {
        const known = after(answers)
        const last = answers.at(-1)
        const failures = answers.length - 1 - answers.lastIndexOf(true)
        expect(known.failures).toBe(failures)
        const down = failures >= 3 ? 'offline' : 'failing'
        expect(known.state).toBe(last === true ? 'online' : down)
        expect(known.cooldownUntil === undefined).toBe(known.state !== 'offline')
        expect(known.successRate).toBeWithin(0, 1)
      }),
    )
  })
})
