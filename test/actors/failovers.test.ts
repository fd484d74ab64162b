import { beforeEach, describe, expect, test } from 'bun:test'
import { Failovers } from '../../actors/failovers.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import { memoryLeases } from '../../runtime/memory/leases.ts'
import { type TestClock, testClock } from '../kit/clock.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const ttlMs = 1000

let clock: TestClock
/** Of everybody, and as this node hears them. */
let leases: Leases
let failovers: Failovers
let heard: Leases

beforeEach(() => {
  clock = testClock()
  leases = memoryLeases({ now: () => clock.now(), log: quiet })
  failovers = new Failovers(clock)
  heard = failovers.listen('a', leases)
})

describe('the time nobody led', () => {
  test('is unknown to the first that leads', async () => {
    await heard.acquire('a', 'me/1/1', ttlMs)
    expect(failovers.takenOver('a')).toBeUndefined()
  })

  test('counts from the end of the ttl of a holder that is gone without a word', async () => {
    await leases.acquire('a', 'other/1/1', ttlMs)
    await clock.pass(400)
    await heard.acquire('a', 'me/1/1', ttlMs)
    await clock.pass(600 + 70)
    expect(failovers.takenOver('a')).toBe(70)
    // From now on it leads, and what was before is settled.
    expect(failovers.takenOver('a')).toBeUndefined()
  })

  test('counts from the release of the holder', async () => {
    const grant = { name: 'a', owner: 'other/1/1', epoch: 0 }
    const acquired = await leases.acquire('a', grant.owner, ttlMs)
    if (acquired.granted) grant.epoch = acquired.epoch
    const told: unknown[] = []
    await heard.watch((name) => told.push(name))
    await heard.acquire('a', 'me/1/1', ttlMs)
    await clock.pass(100)
    await leases.release(grant)
    await clock.pass(30)
    expect(told).toEqual(['a'])
    expect(failovers.takenOver('a')).toBe(30)
  })

  test('counts from a release of another lease not at all', async () => {
    await heard.watch(() => undefined)
    await leases.acquire('b', 'other/1/1', ttlMs)
    await leases.revoke('b', 'drill')
    await clock.settle()
    expect(failovers.takenOver('a')).toBeUndefined()
  })

  test('counts from the loss of its own leadership, and not from a notice before it', async () => {
    await heard.watch(() => undefined)
    expect(failovers.takenOver('a')).toBeUndefined()
    await leases.acquire('a', 'me/1/1', ttlMs)
    await leases.revoke('a', 'drill')
    await clock.pass(50)
    failovers.ended('a')
    await clock.pass(20)
    expect(failovers.takenOver('a')).toBe(20)
  })

  test('goes on while a holder does not come to lead', async () => {
    await leases.acquire('a', 'other/1/1', ttlMs)
    await heard.acquire('a', 'me/1/1', ttlMs)
    await clock.pass(ttlMs + 10)
    failovers.ended('a')
    await clock.pass(10)
    expect(failovers.takenOver('a')).toBe(20)
  })

  test('is never below zero', async () => {
    await leases.acquire('a', 'other/1/1', ttlMs)
    await heard.acquire('a', 'me/1/1', ttlMs)
    expect(failovers.takenOver('a')).toBe(0)
  })
})
