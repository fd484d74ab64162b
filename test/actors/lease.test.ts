import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import { FencedError, UnavailableError, UsageError } from '../../actors/errors.ts'
import { contenders, holderOf, type LeaseWord, lease, type Tenure } from '../../actors/lease.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import type { LeaseTimes } from '../../machines/lease-times.ts'
import { memoryLeases } from '../../runtime/memory/leases.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'

const times: LeaseTimes = { ttlMs: 1750, renewMs: 500, operationTimeoutMs: 300 }
/** Of waiting contenders, and of the way to Redis, which here takes no time. */
const jitterMs = 175
const quiet = { debug() {}, info() {}, warn() {}, error() {} }

interface Contender {
  actor: AnyActorRef
  words: LeaseWord[]
  /** `held 1700000000000`, `lost refused`. */
  said(): string[]
  tenure(): Tenure
  errors: unknown[]
}

let clock: TestClock
let leases: Leases
let begun: Contender[]

beforeEach(() => {
  clock = testClock()
  leases = memoryLeases({ now: () => clock.now(), log: quiet })
  begun = []
})

afterEach(async () => {
  for (const { actor } of begun) actor.stop()
  // Operations under way are given up after their time.
  await clock.pass(times.operationTimeoutMs)
  expect(clock.armed).toBe(0)
})

const nameOf = new Map<string, () => string>()

function begin(node: string, over: Partial<Leases> = {}): Contender {
  const words: LeaseWord[] = []
  const errors: unknown[] = []
  const names = nameOf.get(node) ?? contenders(node, 'boot')
  nameOf.set(node, names)
  const random = seededRandom()
  const { logic, input } = lease({
    name: 'a',
    contender: names(),
    times,
    leases: { ...leases, ...over },
    clock,
    random: () => random.next(),
    log: quiet,
    tell: (word) => words.push(word),
  })
  const actor = createActor(logic, { input, clock: clock.timers })
  actor.subscribe({ error: (error: unknown) => errors.push(error) })
  actor.start()
  const contender: Contender = {
    actor,
    words,
    errors,
    said: () =>
      words.map((word) =>
        word.type === 'lease.held' ? `held ${word.tenure.grant.epoch}` : `lost ${word.reason}`,
      ),
    tenure: () => {
      const held = words.findLast((word) => word.type === 'lease.held')
      if (held === undefined) throw new Error('expected it to have held the lease')
      return held.tenure
    },
  }
  begun.push(contender)
  return contender
}

const isHeldBy = ({ actor }: Contender): boolean => actor.getSnapshot().hasTag('held')

/** Answers that never come; what was asked is done all the same. */
const unanswered =
  <A extends unknown[], T>(operation: (...args: A) => Promise<T>, isOn: () => boolean) =>
  (...args: A): Promise<T> => {
    const answer = operation(...args)
    return isOn() ? new Promise(() => undefined) : answer
  }

describe('a contender', () => {
  test('holds a lease that nobody holds, and keeps it by renewing', async () => {
    const a = begin('node-a')
    await clock.settle()
    expect(isHeldBy(a)).toBe(true)
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
    expect(isHeldBy(b)).toBe(true)
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
    expect(isHeldBy(b)).toBe(true)
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
    expect(isHeldBy(b)).toBe(true)
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
    expect(isHeldBy(a)).toBe(true)
    expect(a.tenure().grant.epoch).toBeGreaterThan(first.grant.epoch)
    expect(first.isValid()).toBe(false)
  })

  test('gives up at two thirds of the ttl when no renewal is confirmed', async () => {
    let isCut = false
    const a = begin('node-a', { renew: unanswered(leases.renew, () => isCut) })
    await clock.settle()
    isCut = true
    await clock.pass((times.ttlMs * 2) / 3 - 1)
    expect(isHeldBy(a)).toBe(true)
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

  test('is valid until a little before Redis forgets it, counted from before it asked', async () => {
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
    clock.advance(times.ttlMs - 175 - 200 - 1)
    expect(tenure.isValid()).toBe(true)
    clock.advance(1)
    expect(tenure.isValid()).toBe(false)
    expect(await leases.list()).toHaveLength(1)
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

describe('an operation without an answer', () => {
  test('is given up after its time and tried again', async () => {
    let isCut = true
    const a = begin('node-a', {
      acquire: (...args) => (isCut ? new Promise(() => undefined) : leases.acquire(...args)),
    })
    await clock.pass(times.operationTimeoutMs + times.renewMs)
    expect(isHeldBy(a)).toBe(false)
    isCut = false
    await clock.pass(times.operationTimeoutMs + times.renewMs)
    expect(isHeldBy(a)).toBe(true)
  })

  test('that granted the lease all the same costs nothing: asking again gets the same', async () => {
    let isCut = true
    const a = begin('node-a', { acquire: unanswered(leases.acquire, () => isCut) })
    await clock.settle()
    const [granted] = await leases.list()
    isCut = false
    await clock.pass(times.operationTimeoutMs + times.renewMs)
    expect(isHeldBy(a)).toBe(true)
    expect(a.tenure().grant.epoch).toBe(granted?.epoch ?? 0)
  })

  test('and a late answer of it is not heard', async () => {
    let answerLate: (() => void) | undefined
    let calls = 0
    const a = begin('node-a', {
      acquire: (name, owner, ttlMs) => {
        calls += 1
        if (calls > 1) return Promise.resolve({ granted: false, heldForMs: 60_000 })
        return new Promise((resolve) => {
          answerLate = () =>
            resolve({ granted: true, epoch: Number(name.length + owner.length + ttlMs) })
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
