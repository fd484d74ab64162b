/** What a dead node listened to is cleaned up by the coordinator, as long as it is one. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { FencedError } from '../../actors/errors.ts'
import { topicMessage } from '../conformance/topics.ts'
import { type Coordination, coordination, staleMs } from './coordination.ts'

let fleet: Coordination
beforeEach(() => {
  fleet = coordination()
})
afterEach(() => fleet.close())

const group = { group: 'g', pattern: 'events.*' }
const listeners = () => fleet.world.topics.tell(topicMessage('events.a'))

async function bothListen(): Promise<void> {
  for (const boot of ['b1', 'c1']) await fleet.world.topics.listen(boot, '>', () => undefined)
  await fleet.world.topics.declare(group)
}

describe('a coordinator', () => {
  test('ends what a dead node listened to, and keeps durable subscriptions', async () => {
    fleet.node('c', 'c1')
    fleet.node('b', 'b1').abort()
    await bothListen()
    await fleet.begin()
    expect(await listeners()).toBe(2)
    await fleet.clock.pass(staleMs)
    expect(fleet.sweeps()).toEqual(['b b1'])
    expect(await listeners()).toBe(1)
    expect(await fleet.world.topics.groups()).toEqual([group])
  })

  test('finishes the cleaning of one that died half-way', async () => {
    fleet.node('c', 'c1')
    await bothListen()
    fleet.node('b', 'b1').abort()
    await fleet.clock.pass(staleMs)
    // Taken off the list by somebody who came no further.
    expect(await fleet.members.forget('b', 'b1', 0)).toBe(true)
    await fleet.begin()
    expect(await listeners()).toBe(1)
  })

  test('that leads no longer cleans nothing, not even what was begun', async () => {
    fleet.node('c', 'c1')
    await bothListen()
    fleet.node('b', 'b1').abort()
    await fleet.clock.pass(staleMs)
    expect(await fleet.members.forget('b', 'b1', 0)).toBe(true)
    const { check } = fleet.world.leases
    let isTaken = false
    fleet.world.leases.check = async (name, epoch) => {
      if (!isTaken) {
        isTaken = true
        await fleet.world.leases.revoke('coordinator', 'drill')
        await fleet.take('coordinator', 'd/d1/1')
      }
      await check(name, epoch)
    }
    const it = await fleet.begin()
    expect(it.end()).toBeInstanceOf(FencedError)
    expect(await listeners()).toBe(2)
  })
})
