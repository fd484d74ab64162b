import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { FencedError, UnavailableError } from '../../actors/errors.ts'
import type { Members } from '../../actors/ports-fleet.ts'
import { type Coordination, coordination, heartbeatMs, staleMs } from './coordination.ts'
import { dispatch, taskOf } from './world.ts'

let fleet: Coordination
beforeEach(() => {
  fleet = coordination()
})
afterEach(() => fleet.close())

describe('a coordinator that was not heard itself', () => {
  test('sweeps nobody, nor itself', async () => {
    const own = fleet.node('c', 'c1')
    await fleet.begin()
    fleet.node('b', 'b1').abort()
    own.abort()
    await fleet.clock.pass(4 * staleMs)
    expect([fleet.sweeps(), fleet.reclaimed]).toEqual([[], []])
    expect(await fleet.members.list(staleMs)).toMatchObject([{ state: 'dead' }, { state: 'dead' }])
  })

  test('that was never registered sweeps nobody', async () => {
    fleet.node('b', 'b1').abort()
    await fleet.begin()
    await fleet.clock.pass(4 * staleMs)
    expect(fleet.sweeps()).toEqual([])
  })

  test('sweeps whose process is known to have ended all the same, never itself', async () => {
    fleet.node('b', 'b1').abort()
    fleet.node('c', 'c1').abort()
    await fleet.clock.pass(2 * staleMs)
    await fleet.begin({ isGone: () => true })
    await fleet.clock.pass(staleMs)
    expect(fleet.sweeps()).toEqual(['b b1'])
  })

  test('gives the others two heartbeats to be heard again', async () => {
    const own = fleet.node('c', 'c1')
    await fleet.begin()
    const slow = fleet.node('b', 'b1')
    fleet.node('d', 'd1').abort()
    await fleet.clock.settle()
    own.abort()
    slow.abort()
    await fleet.clock.pass(2 * staleMs)
    fleet.node('c', 'c1')
    await fleet.clock.pass(1.5 * heartbeatMs)
    expect(fleet.sweeps()).toEqual([])
    fleet.node('b', 'b1')
    await fleet.clock.pass(1.5 * heartbeatMs)
    expect(fleet.sweeps()).toEqual(['d d1'])
  })

  test('nor had an answer, gives them as much', async () => {
    let isAway = false
    const list: Members['list'] = async (ms) => {
      if (isAway) throw new UnavailableError('Redis is away')
      return fleet.members.list(ms)
    }
    const own = fleet.node('c', 'c1')
    const slow = fleet.node('b', 'b1')
    fleet.node('d', 'd1').abort()
    await fleet.begin({ members: { ...fleet.members, list } })
    own.abort()
    slow.abort()
    isAway = true
    await fleet.clock.pass(2 * staleMs)
    // It is heard before it looks again.
    fleet.node('c', 'c1')
    await fleet.clock.settle()
    isAway = false
    await fleet.clock.pass(1.5 * heartbeatMs)
    expect(fleet.sweeps()).toEqual([])
    fleet.node('b', 'b1')
    await fleet.clock.pass(2 * heartbeatMs)
    expect(fleet.sweeps()).toEqual(['d d1'])
  })

  test('and begins right after an outage, gives them as much', async () => {
    fleet.node('b', 'b1').abort()
    await fleet.clock.pass(2 * staleMs)
    fleet.node('c', 'c1')
    await fleet.clock.settle()
    const backAtMs = fleet.clock.monotonic()
    await fleet.begin({ reachableSince: () => backAtMs })
    await fleet.clock.pass(1.9 * heartbeatMs)
    expect(fleet.sweeps()).toEqual([])
    await fleet.clock.pass(heartbeatMs)
    expect(fleet.sweeps()).toEqual(['b b1'])
  })

  test('takes up no run whose driver may be heard again', async () => {
    const own = fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    await fleet.begin()
    await fleet.world.accounting.open({ id: 'r-b', createdAt: 1, driver: 'b1' })
    own.abort()
    await fleet.clock.pass(3 * staleMs)
    fleet.node('c', 'c1')
    await fleet.clock.pass(heartbeatMs)
    expect(fleet.adopted).toEqual([])
    fleet.node('b', 'b1')
    await fleet.clock.pass(3 * staleMs)
    expect(fleet.adopted).toEqual([])
  })
})

describe('runs', () => {
  const open = (id: string, driver: string) =>
    fleet.world.accounting.open({ id, createdAt: fleet.clock.now(), driver })
  const driverOf = async (run: string) => (await fleet.world.accounting.get(run))?.driver

  test('of a dead driver are taken up, those of the living are not', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    fleet.node('d', 'd1', { state: 'draining' })
    for (const boot of ['b1', 'c1', 'd1']) await open(`r-${boot}`, boot)
    await fleet.begin()
    await fleet.clock.pass(staleMs * 0.9)
    expect(fleet.adopted).toEqual([])
    await fleet.clock.pass(staleMs)
    expect(fleet.adopted).toEqual(['r-b1'])
    expect(await Promise.all(['r-b1', 'r-c1', 'r-d1'].map(driverOf))).toEqual(['c1', 'c1', 'd1'])
  })

  test('of a driver that left in order are taken up at the next look', async () => {
    fleet.node('c', 'c1')
    await fleet.begin()
    await open('r-1', 'gone')
    await fleet.clock.pass(heartbeatMs)
    expect(fleet.adopted).toEqual(['r-1'])
  })

  test('that are over are left alone', async () => {
    fleet.node('c', 'c1')
    await open('r-1', 'gone')
    await fleet.world.accounting.close('r-1')
    // One may come to its end as they are looked through.
    await fleet.begin({
      accounting: { ...fleet.world.accounting, unfinished: async () => ['r-1', 'r-0'] },
    })
    await fleet.clock.pass(heartbeatMs)
    expect(fleet.adopted).toEqual([])
  })

  test('give back the room that nobody needs', async () => {
    fleet.node('c', 'c1')
    const jobs = [taskOf('job'), taskOf('job')]
    const [envelope] = await dispatch(fleet.world, 'r-1', jobs)
    const mailbox = envelope?.mailbox ?? ''
    await fleet.world.accounting.adopt('r-1', 'c1')
    // As when somebody dies between the room and the message, and comes again.
    await fleet.world.admission.reserve(mailbox, 'r-1', 5, 100)
    await fleet.begin()
    await fleet.clock.pass(heartbeatMs)
    expect(await fleet.world.admission.used(mailbox)).toBe(2)
  })

  test('that cannot be taken up do not keep the others waiting', async () => {
    fleet.node('c', 'c1')
    await open('r-1', 'gone')
    await open('r-2', 'gone')
    await fleet.begin({
      adopt: async (run) => {
        fleet.adopted.push(run)
        if (run === 'r-1') throw new TypeError('this one is broken')
      },
    })
    expect(fleet.adopted).toEqual(['r-1', 'r-2'])
    expect(fleet.warnings()).toMatchObject([{ fields: { run: 'r-1' } }])
  })
})

describe('trouble', () => {
  test('never ends it, and is told once a look', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    const real = fleet.members
    let failures = 2
    const it = await fleet.begin({
      members: {
        ...real,
        async list(ms) {
          failures -= 1
          if (failures >= 0) throw new UnavailableError('Redis did not answer within 1000 ms')
          return real.list(ms)
        },
      },
    })
    await fleet.clock.pass(2 * staleMs)
    expect(it.end()).toBeUndefined()
    expect(fleet.warnings().map(({ fields }) => fields['code'])).toEqual([
      'UNAVAILABLE',
      'UNAVAILABLE',
    ])
    expect(fleet.sweeps()).toEqual(['b b1'])
  })

  test('with Redis ends the look at once: others would fare no better', async () => {
    fleet.node('c', 'c1')
    let asked = 0
    for (const run of ['r-1', 'r-2', 'r-3']) {
      await fleet.world.accounting.open({ id: run, createdAt: 1, driver: 'gone' })
    }
    await fleet.begin({
      adopt: async () => {
        asked += 1
        throw new UnavailableError('Redis is away')
      },
    })
    expect([asked, fleet.warnings().length]).toEqual([1, 1])
  })

  test('a newer grant of its lease ends it, before it sweeps anybody', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    const { end } = await fleet.begin()
    await fleet.world.leases.revoke('coordinator', 'drill')
    await fleet.take('coordinator', 'd/d1/1')
    await fleet.clock.pass(staleMs)
    expect(end()).toBeInstanceOf(FencedError)
    expect(end()).toMatchObject({ code: 'FENCED', lease: 'coordinator' })
    expect([fleet.sweeps(), fleet.reclaimed]).toEqual([[], []])
    expect(await fleet.members.forget('b', 'b1', 0)).toBe(true)
  })

  test('a newer grant of its lease ends it as it takes up a run', async () => {
    fleet.node('c', 'c1')
    const { end } = await fleet.begin()
    await fleet.world.leases.revoke('coordinator', 'drill')
    await fleet.take('coordinator', 'd/d1/1')
    await fleet.world.accounting.open({ id: 'r-1', createdAt: 1, driver: 'gone' })
    await fleet.clock.pass(heartbeatMs)
    expect(end()).toBeInstanceOf(FencedError)
    expect((await fleet.world.accounting.get('r-1'))?.driver).toBe('gone')
  })
})
