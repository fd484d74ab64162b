/** Shards of kinds on several nodes: each on one at a time, by its lease. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { fromPromise } from 'xstate'
import { Failovers } from '../../actors/failovers.ts'
import { contenders } from '../../actors/lease.ts'
import { shardMailbox } from '../../actors/place.ts'
import type { Member } from '../../actors/ports-fleet.ts'
import { Shards } from '../../actors/shards.ts'
import type { ChildSpec } from '../../actors/supervisor.ts'
import { rendezvous } from '../../machines/fnv.ts'
import { type Owned, serviceMachine } from '../../machines/service.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { memberOf } from '../conformance/members.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'
import { times } from './contention.ts'
import { type Begun, memoryWorld, type World } from './world.ts'

const staleMs = 3000
const mailboxes = Array.from({ length: 12 }, (_, shard) => shardMailbox('job', shard))
const policy = { ...defaultPolicy, stopTimeoutMs: 800 }

let clock: TestClock
let world: World
let members: ReturnType<typeof memoryMembers>
/** Mailbox → nodes whose worker is up. */
let workers: Map<string, Set<string>>
/** Mailboxes that had workers on two nodes at once. */
let doubled: string[]
beforeEach(() => {
  clock = testClock()
  world = memoryWorld(clock)
  members = memoryMembers(() => clock.now())
  workers = new Map(mailboxes.map((mailbox) => [mailbox, new Set()]))
  doubled = []
})
afterEach(async () => {
  const closed = world.close()
  await clock.pass(30_000)
  await closed
  await clock.pass(times.operationTimeoutMs)
  expect(doubled).toEqual([])
})

const beat = (id: string, over: Partial<Member> = {}) =>
  members.beat(memberOf(id, `${id}-boot`, { kinds: ['job'], ...over }), { staleMs })

interface Node extends Begun {
  shards: Shards
}

function begin(id: string): Node {
  const random = seededRandom()
  const workerOf = (mailbox: string): ChildSpec => ({
    logic: serviceMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async () => {
          const up = workers.get(mailbox)?.add(id)
          if (up !== undefined && up.size > 1) doubled.push(`${mailbox}: ${[...up].join(' and ')}`)
        }),
        close: fromPromise<void, Owned>(async () => {
          workers.get(mailbox)?.delete(id)
        }),
      },
    }),
  })
  const shards = new Shards({
    ...world,
    members,
    staleMs,
    self: id,
    workerOf,
    policy,
    contender: contenders(id, `${id}-boot`),
    times,
    random: () => random.next(),
    stopLimitMs: 1000,
    failovers: new Failovers(clock),
  })
  for (const mailbox of mailboxes) shards.found(mailbox)
  return { ...world.begin(shards.child().spec(undefined as never), clock.timers), shards }
}

/** Lets time pass in which these nodes are heard. */
async function pass(ms: number, ...ids: string[]): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    for (const id of ids) await beat(id)
    await clock.pass(500)
  }
}

const ownerOf = (mailbox: string) => [...(workers.get(mailbox) ?? [])].join(' and ')
const owners = () => new Map(mailboxes.map((mailbox) => [mailbox, ownerOf(mailbox)]))
const agreed = (...ids: string[]) =>
  new Map(mailboxes.map((mailbox) => [mailbox, rendezvous(mailbox, ids) ?? '']))
/** Long enough for a lease to run out, and for everybody to have looked. */
const settleMs = staleMs + 2 * times.ttlMs + 3000

describe('shards', () => {
  test('are each worked off by one node, the one that all agree on', async () => {
    await beat('a')
    await beat('b')
    begin('a')
    begin('b')
    await pass(settleMs, 'a', 'b')
    expect(owners()).toEqual(agreed('a', 'b'))
    expect(new Set(owners().values()).size).toBe(2)
    const leases = (await world.leases.list()).map(({ name, holder }) => `${name} ${holder}`)
    expect(leases).toContain(`shard.job.0 ${rendezvous(mailboxes[0] ?? '', ['a', 'b'])}`)
    expect(leases.length).toBe(mailboxes.length)
  })

  test('change hands when a node comes, its share of them alone', async () => {
    await beat('a')
    await beat('b')
    begin('a')
    begin('b')
    await pass(settleMs, 'a', 'b')
    const before = owners()
    await beat('c')
    begin('c')
    await pass(settleMs, 'a', 'b', 'c')
    expect(owners()).toEqual(agreed('a', 'b', 'c'))
    const moved = mailboxes.filter((mailbox) => ownerOf(mailbox) !== before.get(mailbox))
    expect(moved.map(ownerOf)).toEqual(moved.map(() => 'c'))
    expect(moved.length).toBeGreaterThan(0)
  })

  test('of a node that falls silent go to the others, those of others stay', async () => {
    for (const id of ['a', 'b', 'c']) {
      await beat(id)
      begin(id)
    }
    await pass(settleMs, 'a', 'b', 'c')
    const before = owners()
    // It is only not heard: nobody works off what it has not let go of.
    await pass(settleMs, 'a', 'b')
    expect(doubled).toEqual([])
    const should = agreed('a', 'b')
    for (const [mailbox, owner] of before) {
      expect(ownerOf(mailbox)).toBe(owner === 'c' ? (should.get(mailbox) ?? '') : owner)
    }
  })

  test('of a kind are not for a node that does not run it, or drains', async () => {
    await beat('a')
    await beat('b', { kinds: ['other'] })
    begin('a')
    begin('b')
    for (let look = 0; look < settleMs; look += 500) {
      await beat('a')
      await beat('b', { kinds: ['other'] })
      await clock.pass(500)
    }
    expect(new Set(owners().values())).toEqual(new Set(['a']))
    for (let look = 0; look < settleMs; look += 500) {
      await beat('a', { state: 'draining' })
      await beat('b')
      await clock.pass(500)
    }
    expect(new Set(owners().values())).toEqual(new Set(['b']))
  })
})
