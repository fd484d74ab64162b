import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { UsageError } from '../../actors/errors.ts'
import { holderOf, lease } from '../../actors/lease.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import { Contest, jitterMs, quiet, times, unanswered } from './contending.ts'

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

describe('a contender', () => {
  test('holds a lease that nobody holds, and keeps it by renewing', async () => {
    const a = begin('node-a')
    await clock.settle()
    expect(a.isHolding()).toBe(true)
    const { grant } = a.tenure()
    expect(grant.owner).toMatch(/^node-a\/boot\/\d+\.1$/)
    await clock.pass(20 * times.ttlMs)
    expect(a.said()).toEqual([`held ${grant.epoch}`])
    expect(a.tenure().isValid()).toBe(true)
    expect(await leases.list()).toMatchObject([{ name: 'a', holder: 'node-a' }])
  })

  test('waits while another holds it, asking about once a ttl', async () => {
    begin('node-a')
    await clock.settle()
    let asked = 0
    const b = begin('node-b', {
      acquire: (...args) => {
        asked += 1
        return leases.acquire(...args)
      },
    })
    await clock.pass(10 * times.ttlMs)
    expect(b.words).toEqual([])
    expect(b.actor.getSnapshot().hasTag('ready')).toBe(true)
    expect(asked).toBeGreaterThan(5)
    expect(asked).toBeLessThan(16)
  })

  test('gets it within the ttl and a jitter when the holder is gone without a word', async () => {
    const a = begin('node-a')
    const b = begin('node-b')
    await clock.pass(3 * times.renewMs)
    a.actor.stop()
    const [left] = await leases.list()
    await clock.pass((left?.ttlMs ?? 0) - 1)
    expect(b.words).toEqual([])
    await clock.pass(1 + jitterMs)
    expect(b.isHolding()).toBe(true)
    expect(b.tenure().grant.epoch).toBeGreaterThan(a.tenure().grant.epoch)
  })

  test('gets it at once when the holder releases it', async () => {
    const a = begin('node-a')
    await clock.settle()
    const b = begin('node-b')
    await clock.pass(times.renewMs / 2)
    a.actor.send({ type: 'stop' })
    await clock.settle()
    expect(a.actor.getSnapshot().status).toBe('done')
    expect(a.said()).toEqual([`held ${a.tenure().grant.epoch}`, 'lost released'])
    expect(b.isHolding()).toBe(true)
  })

  test('hears of a release that comes while its own question is refused', async () => {
    const a = begin('node-a')
    await clock.settle()
    // Refused, but the answer takes its time; meanwhile the lease is released.
    let isSlow = true
    const b = begin('node-b', {
      acquire: async (...args) => {
        const answer = await leases.acquire(...args)
        if (isSlow) await clock.wait(times.operationTimeoutMs / 2)
        return answer
      },
    })
    await clock.settle()
    isSlow = false
    a.actor.send({ type: 'stop' })
    await clock.settle()
    expect(b.isHolding()).toBe(true)
  })

  test('asked to stop while it acquires, does not keep what it gets', async () => {
    const a = begin('node-a', {
      acquire: async (...args) => {
        const answer = await leases.acquire(...args)
        await clock.wait(100)
        return answer
      },
    })
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.pass(100)
    expect(a.actor.getSnapshot().status).toBe('done')
    expect(a.words).toEqual([])
    expect(await leases.list()).toEqual([])
  })

  test('asked to stop while it waits, ends at once', async () => {
    begin('node-a')
    await clock.settle()
    const b = begin('node-b')
    await clock.settle()
    b.actor.send({ type: 'stop' })
    expect(b.actor.getSnapshot().status).toBe('done')
  })

  test('stops also when the release is not answered', async () => {
    const a = begin('node-a', { release: () => new Promise(() => undefined) })
    await clock.settle()
    a.actor.send({ type: 'stop' })
    await clock.pass(times.operationTimeoutMs)
    expect(a.actor.getSnapshot().status).toBe('done')
  })

  test('in another life, or after a loss, contends under another name', async () => {
    const owners: string[] = []
    const acquire: Leases['acquire'] = (name, owner, ttlMs) => {
      owners.push(owner)
      return leases.acquire(name, owner, ttlMs)
    }
    const first = begin('node-a', { acquire })
    await clock.settle()
    await leases.revoke('a', 'drill')
    await clock.pass(jitterMs)
    first.actor.stop()
    begin('node-a', { acquire })
    await clock.settle()
    expect(new Set(owners).size).toBe(3)
    expect(owners.map(holderOf)).toEqual(['node-a', 'node-a', 'node-a'])
  })

  test('cannot be made with times that contradict each other', () => {
    const options = { name: 'a', contender: 'x', leases, clock, random: () => 0, log: quiet }
    const contradicting = { ttlMs: 900, renewMs: 500, operationTimeoutMs: 100 }
    const make = () => lease({ ...options, times: contradicting, tell: () => undefined })
    expect(make).toThrow(UsageError)
    expect(make).toThrow('lease a: renewMs: expected less than 5/9 of ttlMs (900)')
  })

  test('whose notices cannot be had ends in error, and its supervisor decides', async () => {
    const broken = new Error('no such channel')
    const a = begin('node-a', { watch: () => Promise.reject(broken) })
    await clock.settle()
    expect(a.errors).toEqual([broken])
  })
})

describe('an operation without an answer', () => {
  test('is given up after its time and tried again', async () => {
    let isCut = true
    const a = begin('node-a', {
      acquire: (...args) => (isCut ? new Promise(() => undefined) : leases.acquire(...args)),
    })
    await clock.pass(times.operationTimeoutMs + times.renewMs)
    expect(a.isHolding()).toBe(false)
    isCut = false
    await clock.pass(times.operationTimeoutMs + times.renewMs)
    expect(a.isHolding()).toBe(true)
  })

  test('that granted the lease all the same costs nothing: the next gets the same', async () => {
    let isCut = true
    const a = begin('node-a', { acquire: unanswered(leases.acquire, () => isCut) })
    await clock.settle()
    const [granted] = await leases.list()
    isCut = false
    await clock.pass(times.operationTimeoutMs + times.renewMs)
    expect(a.isHolding()).toBe(true)
    expect(a.tenure().grant.epoch).toBe(granted?.epoch ?? 0)
  })

  test('and a late answer of it is not heard', async () => {
    let answerLate: (() => void) | undefined
    let calls = 0
    const a = begin('node-a', {
      acquire: () => {
        calls += 1
        if (calls > 1) return Promise.resolve({ granted: false, heldForMs: 60_000 })
        return new Promise((resolve) => {
          answerLate = () => resolve({ granted: true, epoch: 1 })
        })
      },
    })
    await clock.pass(times.operationTimeoutMs + times.renewMs)
    expect(calls).toBe(2)
    answerLate?.()
    await clock.settle()
    expect(a.words).toEqual([])
  })
})
