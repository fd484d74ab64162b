import { afterEach, expect, test } from 'bun:test'
import { coordinate } from '../../actors/coordinator.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { memberOf } from '../conformance/members.ts'
import { testClock } from '../kit/clock.ts'
import { memoryWorld } from './world.ts'

const clock = testClock()
const life = new AbortController()
afterEach(() => life.abort())

test('a coordinator promotes low messages at each look, and goes on where that fails', async () => {
  const world = memoryWorld(clock)
  const members = memoryMembers(() => clock.now())
  await members.beat(memberOf('c', 'c1'), { staleMs: 30_000 })
  const acquired = await world.leases.acquire('coordinator', 'c/c1/1', 3_600_000)
  const asked: [number, number][] = []
  const fence = { lease: 'coordinator', epoch: acquired.granted ? acquired.epoch : 0 }
  void coordinate(
    {
      ...world,
      members,
      mailboxes: {
        reclaim: async () => 0,
        async promoteLow(waitedMs, countMax) {
          asked.push([waitedMs, countMax])
          if (asked.length === 2) throw new Error('a mailbox is broken')
          return 0
        },
      },
      boot: 'c1',
      bootOf: (driver) => driver,
      adopt: async () => undefined,
      isGone: () => false,
      reachableSince: () => 0,
      heartbeatMs: 10_000,
      staleMs: 30_000,
    },
    fence,
    life.signal,
  )
  await clock.settle()
  expect(asked).toEqual([[60_000, 100]])
  for (let beat = 0; beat < 3; beat += 1) {
    await clock.pass(10_000)
    await members.beat(memberOf('c', 'c1'), { staleMs: 30_000 })
  }
  expect(asked.length).toBe(4)
  const warned = world.logged.filter(({ level }) => level === 'warn')
  expect(warned.map(({ fields }) => fields['message'])).toEqual(['a mailbox is broken'])
  const closed = world.close()
  life.abort()
  await clock.pass(60_000)
  await closed
})
