import { beforeEach, describe, expect, test } from 'bun:test'
import { FencedError } from '../../actors/errors.ts'
import { fenceOf, fenceOfEnvelope } from '../../actors/fence.ts'
import type { Tenure } from '../../actors/lease.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import { memoryLeases } from '../../runtime/memory/leases.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { refusalOf } from './contention.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const ttlMs = 1000

let clock: TestClock
let leases: Leases

beforeEach(() => {
  clock = testClock()
  leases = memoryLeases({ now: () => clock.now(), log: quiet })
})

const grantTo = async (owner: string): Promise<number> => {
  const acquired = await leases.acquire('a', owner, ttlMs)
  if (!acquired.granted) throw new Error('expected it to be free')
  return acquired.epoch
}

/** One that holds as long as the test says so, whatever Redis knows. */
const tenureOf = async (owner: string): Promise<Tenure & { end(): void }> => {
  const epoch = await grantTo(owner)
  const loss = new AbortController()
  return {
    grant: { name: 'a', owner, epoch },
    signal: loss.signal,
    isValid: () => !loss.signal.aborted,
    assert: () => {
      if (loss.signal.aborted) throw new FencedError('a', epoch, 'it is over')
    },
    end: () => loss.abort(),
  }
}

describe('the fence of a holder', () => {
  test('lets it write, and the next holder read', async () => {
    const first = fenceOf(await tenureOf('a/1/1'), leases)
    await first.put('cursor', '7')
    await clock.pass(ttlMs)
    const second = fenceOf(await tenureOf('b/1/1'), leases)
    expect(second.epoch).toBeGreaterThan(first.epoch)
    expect(await second.get('cursor')).toBe('7')
    expect(await second.get('other')).toBeUndefined()
  })

  test('lets nothing pass once the tenure is over, though nobody else has the lease', async () => {
    const tenure = await tenureOf('a/1/1')
    const fence = fenceOf(tenure, leases)
    expect(fence.assert).not.toThrow()
    tenure.end()
    expect(fence.assert).toThrow(FencedError)
    expect(await refusalOf(fence.put('cursor', '7'))).toBeInstanceOf(FencedError)
    expect(await refusalOf(fence.check())).toBeInstanceOf(FencedError)
    expect(await leases.get('a', 'cursor')).toBeUndefined()
  })

  test('is refused by Redis after a newer grant, tells it once and stays shut', async () => {
    let doubts = 0
    const fence = fenceOf(await tenureOf('a/1/1'), leases, () => {
      doubts += 1
    })
    await clock.pass(ttlMs)
    const newest = await grantTo('b/1/1')
    expect(String(await refusalOf(fence.put('cursor', '7')))).toContain(`the newest is ${newest}`)
    expect(fence.assert).toThrow(`the newest is ${newest}`)
    expect(await refusalOf(fence.put('cursor', '8'))).toBeInstanceOf(FencedError)
    expect(doubts).toBe(1)
    expect(await leases.get('a', 'cursor')).toBeUndefined()
  })

  test('stays open when Redis only did not answer', async () => {
    const noAnswer = new Error('no answer')
    const away: Leases = { ...leases, put: () => Promise.reject(noAnswer) }
    let doubts = 0
    const fence = fenceOf(await tenureOf('a/1/1'), away, () => {
      doubts += 1
    })
    expect(await refusalOf(fence.put('cursor', '7'))).toBe(noAnswer)
    expect(fence.assert).not.toThrow()
    expect(doubts).toBe(0)
  })
})

describe('the fence of an envelope', () => {
  test('is open until Redis says that there is a newer grant', async () => {
    const epoch = await grantTo('a/1/1')
    const fence = fenceOfEnvelope({ lease: 'a', epoch }, leases)
    await fence.check()
    await fence.put('done', 'yes')
    // The lease of its sender may be over: nobody leads who could object.
    await clock.pass(ttlMs)
    await fence.check()
    await grantTo('b/1/1')
    expect(fence.assert).not.toThrow()
    expect(await refusalOf(fence.check())).toBeInstanceOf(FencedError)
    expect(fence.assert).toThrow(FencedError)
    expect(await refusalOf(fence.put('done', 'no'))).toBeInstanceOf(FencedError)
    expect(await fence.get('done')).toBe('yes')
  })
})
