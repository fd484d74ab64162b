import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { FencedError, UnavailableError } from '../../actors/errors.ts'
import { Contest, jitterMs, marginMs, times, unanswered } from './contending.ts'

let contest: Contest
let clock: Contest['clock']
let leases: Contest['leases']
let begin: Contest['begin']

beforeEach(() => {
  contest = new Contest()
  ;({ clock, leases } = contest)
  begin = (...args) => contest.begin(...args)
})

afterEach(() => contest.end())

describe('a holder', () => {
  test('whose lease is revoked hears of it at once, and contends anew', async () => {
    const a = begin('node-a')
    await clock.settle()
    const first = a.tenure()
    await leases.revoke('a', 'drill')
    await clock.settle()
    expect(a.said()).toEqual([`held ${first.grant.epoch}`, 'lost refused'])
    expect(first.isValid()).toBe(false)
    expect(first.signal.aborted).toBe(true)
    await clock.pass(jitterMs)
    expect(a.isHolding()).toBe(true)
    expect(a.tenure().grant.epoch).toBeGreaterThan(first.grant.epoch)
    expect(first.isValid()).toBe(false)
  })

  test('gives up at two thirds of the ttl when no renewal is confirmed', async () => {
    let isCut = false
    const a = begin('node-a', { renew: unanswered(leases.renew, () => isCut) })
    await clock.settle()
    isCut = true
    await clock.pass((times.ttlMs * 2) / 3 - 1)
    expect(a.isHolding()).toBe(true)
    await clock.pass(2)
    expect(a.said().at(-1)).toBe('lost unconfirmed')
    expect(a.tenure().isValid()).toBe(false)
  })

  test('survives single operations that fail', async () => {
    let asked = 0
    const a = begin('node-a', {
      renew: async (...args) => {
        asked += 1
        if (asked % 2 === 1) throw new UnavailableError('Redis is away')
        return leases.renew(...args)
      },
    })
    await clock.pass(10 * times.ttlMs)
    expect(a.said()).toEqual([`held ${a.tenure().grant.epoch}`])
  })

  test('whose event loop stood still fences itself before anything else', async () => {
    let renewals = 0
    const a = begin('node-a', {
      renew: (...args) => {
        renewals += 1
        return leases.renew(...args)
      },
    })
    await clock.settle()
    const tenure = a.tenure()
    const before = renewals
    // Time passes, and nobody has had his turn yet.
    clock.advance(times.ttlMs)
    expect(tenure.isValid()).toBe(false)
    expect(a.said().at(-1)).toBe('lost expired')
    expect(() => tenure.assert()).toThrow(FencedError)
    await clock.settle()
    expect(renewals).toBe(before)
  })

  test('whose event loop stood still is lost also when nobody asks', async () => {
    let renewals = 0
    const a = begin('node-a', {
      renew: (...args) => {
        renewals += 1
        return leases.renew(...args)
      },
    })
    await clock.settle()
    clock.advance(times.ttlMs)
    await clock.settle()
    expect(a.said().at(-1)).toBe('lost expired')
    expect(renewals).toBe(0)
  })

  test('is valid until a little before Redis forgets it, from before it asked', async () => {
    let delayMs = 200
    const a = begin('node-a', {
      acquire: async (...args) => {
        const answer = await leases.acquire(...args)
        await clock.wait(delayMs)
        delayMs = 0
        return answer
      },
      renew: () => Promise.reject(new UnavailableError('Redis is away')),
    })
    await clock.pass(200)
    const tenure = a.tenure()
    clock.advance(times.ttlMs - marginMs - 200 - 1)
    expect(tenure.isValid()).toBe(true)
    clock.advance(1)
    expect(tenure.isValid()).toBe(false)
    expect(await leases.list()).toHaveLength(1)
  })

  test('is valid anew from before a renewal was sent, not from its confirmation', async () => {
    const a = begin('node-a', {
      renew: async (...args) => {
        const answer = await leases.renew(...args)
        await clock.wait(200)
        return answer
      },
    })
    await clock.pass(times.renewMs + 200)
    const tenure = a.tenure()
    clock.advance(times.ttlMs - marginMs - 200 - 1)
    expect(tenure.isValid()).toBe(true)
    clock.advance(1)
    expect(tenure.isValid()).toBe(false)
  })

  test('does not believe a confirmation that comes after its time', async () => {
    const a = begin('node-a', {
      renew: async (...args) => {
        const answer = await leases.renew(...args)
        // The loop stands still, and the answer is the first thing it sees.
        clock.advance(times.ttlMs)
        return answer
      },
    })
    await clock.pass(times.renewMs)
    expect(a.said()[1]).toBe('lost expired')
  })

  test('that is taken out without being asked has lost the lease', async () => {
    const a = begin('node-a')
    await clock.settle()
    const tenure = a.tenure()
    a.actor.stop()
    expect(a.said().at(-1)).toBe('lost released')
    expect(tenure.isValid()).toBe(false)
  })
})
