import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { type CoordinatorOptions, coordinate, sweepGone } from '../../actors/coordinator.ts'
import { memberOf } from '../conformance/members.ts'
import { type Coordination, coordination, heartbeatMs, staleMs } from './coordination.ts'

let fleet: Coordination
beforeEach(() => {
  fleet = coordination()
})
afterEach(() => fleet.close())

describe('a coordinator', () => {
  test('sweeps a dead node once, and within its time of silence', async () => {
    fleet.node('c', 'c1')
    const b = fleet.node('b', 'b1')
    await fleet.begin()
    await fleet.clock.pass(3 * heartbeatMs + 1)
    b.abort()
    const [seen] = await fleet.members.list(staleMs)
    const silentMs = () => fleet.clock.now() - (seen?.lastSeen ?? 0)
    while (fleet.sweeps().length === 0 && silentMs() < 2 * staleMs) await fleet.clock.pass(50)
    expect(silentMs()).toBeGreaterThan(staleMs * 0.9)
    expect(silentMs()).toBeLessThanOrEqual(staleMs)
    await fleet.clock.pass(3 * staleMs)
    expect(fleet.sweeps()).toEqual(['b b1'])
    expect(fleet.reclaimed).toEqual([['b:b1', 'silent']])
    expect(await fleet.members.forget('b', 'b1', staleMs)).toBe(false)
  })

  test('does so whatever the clock of its own host says', async () => {
    const hour = 3_600_000
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    for (const skewMs of [-hour, hour]) {
      const skewed = { ...fleet.clock, now: () => fleet.clock.now() + skewMs }
      const it = await fleet.begin({ clock: skewed })
      await fleet.clock.pass(staleMs / 2)
      it.kill()
      await fleet.world.leases.revoke('coordinator', 'drill')
    }
    expect(fleet.sweeps()).toEqual(['b b1'])
  })

  test('sweeps nobody who is heard, is silent for a while only, or left in order', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1')
    await fleet.members.beat(memberOf('l', 'l1'), { staleMs })
    await fleet.begin()
    await fleet.members.leave('l', 'l1')
    const silent = fleet.node('s', 's1')
    await fleet.clock.pass(heartbeatMs)
    silent.abort()
    await fleet.clock.pass(staleMs * 0.8)
    fleet.node('s', 's1')
    await fleet.clock.pass(3 * staleMs)
    expect([fleet.sweeps(), fleet.reclaimed]).toEqual([[], []])
  })

  test('sweeps a node whose process is known to have ended without waiting', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1', { pid: 4711 })
    await fleet.clock.pass(5)
    await fleet.begin({ isGone: ({ pid }) => pid === 4711 })
    expect(fleet.sweeps()).toEqual(['b b1'])
    expect(fleet.reclaimed).toEqual([['b:b1', 'gone']])
  })

  test('lets a node that was swept meanwhile alone, and hears of its new boot', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    await fleet.begin()
    await fleet.clock.pass(staleMs)
    fleet.node('b', 'b2')
    await fleet.clock.pass(3 * staleMs)
    expect(fleet.sweeps()).toEqual(['b b1'])
  })

  test('ends as soon as it is told to, in the middle of a look too', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    fleet.node('d', 'd1').abort()
    await fleet.clock.pass(staleMs + 1)
    fleet.node('c', 'c1')
    await fleet.clock.settle()
    const gate = Promise.withResolvers<void>()
    const it = await fleet.begin({
      mailboxes: {
        promoteLow: async () => 0,
        async reclaim(of) {
          fleet.reclaimed.push([...of])
          await gate.promise
          return 1
        },
      },
    })
    it.kill()
    gate.resolve()
    await fleet.clock.settle()
    expect([it.end(), fleet.reclaimed, fleet.sweeps()]).toEqual(['done', [['b:b1']], ['b b1']])
  })
})

describe('a sweep that is cut off', () => {
  /** The first one never comes back from what it asks for. */
  const hanging: CoordinatorOptions['mailboxes'] = {
    promoteLow: async () => 0,
    async reclaim(of) {
      fleet.reclaimed.push([...of])
      return new Promise<number>(() => undefined)
    },
  }

  test('by the death of the coordinator is brought to its end by the next, once', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    await fleet.take('lease-of-b', 'b/b1/1')
    const first = await fleet.begin({ mailboxes: hanging })
    await fleet.clock.pass(staleMs)
    first.kill()
    expect([fleet.reclaimed, fleet.sweeps(), await fleet.holders()]).toEqual([
      [['b:b1']],
      [],
      ['lease-of-b b'],
    ])
    await fleet.world.leases.revoke('coordinator', 'drill')
    fleet.node('d', 'd1')
    await fleet.clock.settle()
    await fleet.begin({}, 'd1')
    expect([fleet.reclaimed, fleet.sweeps(), await fleet.holders()]).toEqual([
      [['b:b1'], ['b:b1', 'silent']],
      ['b b1'],
      [],
    ])
    await fleet.clock.pass(3 * staleMs)
    expect([fleet.reclaimed.length, fleet.sweeps()]).toEqual([2, ['b b1']])
  })

  test('by an error is tried again, and others are swept meanwhile', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    fleet.node('d', 'd1').abort()
    let failures = 2
    await fleet.begin({
      mailboxes: {
        promoteLow: async () => 0,
        async reclaim([holder = '']) {
          if (holder === 'b:b1') {
            failures -= 1
            if (failures >= 0) throw new TypeError('a mailbox is broken')
          }
          fleet.reclaimed.push([holder])
          return holder === 'b:b1' ? 3 : 0
        },
      },
    })
    await fleet.clock.pass(staleMs)
    expect(fleet.reclaimed).toEqual([['d:d1']])
    await fleet.clock.pass(staleMs)
    expect(fleet.reclaimed).toEqual([['d:d1'], ['b:b1']])
    expect(fleet.sweeps()).toEqual(['d d1', 'b b1'])
    expect(fleet.warnings().map(({ fields }) => fields['node'])).toEqual(['b', 'b'])
  })

  test('by two at once is done by each of them, and told by one', async () => {
    fleet.node('c', 'c1')
    fleet.node('d', 'd1')
    fleet.node('b', 'b1').abort()
    const fence = await fleet.take('coordinator', 'c/c1/1')
    const life = new AbortController()
    fleet.lives.push(life)
    for (const boot of ['c1', 'd1']) void coordinate(fleet.optionsOf(boot), fence, life.signal)
    await fleet.clock.pass(3 * staleMs)
    expect(fleet.sweeps()).toEqual(['b b1'])
  })
})

describe('leases of a dead node', () => {
  test('are taken away, all of them, and nobody else’s', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    await fleet.take('x', 'b/b1/1')
    await fleet.take('y', 'b/b1/2')
    await fleet.take('z', 'd/d1/1')
    await fleet.begin()
    await fleet.clock.pass(staleMs)
    expect(await fleet.holders()).toEqual(['z d'])
    const reasons = fleet.world.logged.map(({ fields }) => fields['reason']).filter(Boolean)
    expect(new Set(reasons)).toEqual(new Set(['its holder b (pid 100) is dead']))
  })

  test('stay where a newer boot of the same id lives: they may be its own', async () => {
    fleet.node('c', 'c1')
    await fleet.members.beat(memberOf('b', 'b1'), { staleMs })
    await fleet.clock.pass(5)
    await fleet.members.beat(memberOf('b', 'b2'), { staleMs, isGone: () => true })
    fleet.node('b', 'b2')
    await fleet.take('x', 'b/b2/1')
    await fleet.begin()
    await fleet.clock.pass(staleMs)
    expect([fleet.sweeps(), await fleet.holders()]).toEqual([['b b1'], ['x b']])
  })

  test('go where the newer boot is dead as well', async () => {
    fleet.node('c', 'c1')
    await fleet.members.beat(memberOf('b', 'b1'), { staleMs })
    await fleet.members.beat(memberOf('b', 'b2'), { staleMs, isGone: () => true })
    await fleet.take('x', 'b/b2/1')
    await fleet.begin()
    await fleet.clock.pass(staleMs)
    expect(fleet.sweeps().toSorted()).toEqual(['b b1', 'b b2'])
    expect(await fleet.holders()).toEqual([])
  })
})

describe('before a node joins', () => {
  const isGone = ({ pid }: { pid: number }) => pid === 4711

  test('those whose processes have ended are swept, and nobody else', async () => {
    await fleet.members.beat(memberOf('a', 'a1', { pid: 4711 }), { staleMs })
    await fleet.members.beat(memberOf('b', 'b1'), { staleMs })
    await fleet.take('x', 'a/a1/1')
    await fleet.take('y', 'b/b1/1')
    await fleet.clock.pass(5)
    for (let round = 0; round < 2; round += 1) await sweepGone(fleet.optionsOf('c1', { isGone }))
    expect([fleet.sweeps(), fleet.reclaimed, await fleet.holders()]).toEqual([
      ['a a1'],
      [['a:a1', 'gone']],
      ['y b'],
    ])
  })
})
