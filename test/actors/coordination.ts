/** A fleet to be looked after: nodes that are heard until they die, and coordinators of them. */
import { expect } from 'bun:test'
import { type CoordinatorOptions, coordinate } from '../../actors/coordinator.ts'
import type { FencingToken, Member } from '../../actors/ports-fleet.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { memberOf } from '../conformance/members.ts'
import { testClock } from '../kit/clock.ts'
import { memoryWorld } from './world.ts'

export const heartbeatMs = 10_000
export const staleMs = 30_000
/** An hour: the leases of these tests end when somebody takes them away. */
const ttlMs = 3_600_000

export type Coordination = ReturnType<typeof coordination>

export function coordination() {
  const clock = testClock()
  const world = memoryWorld(clock)
  const members = memoryMembers(() => clock.now())
  /** Holders whose messages were delivered again, each time, and what they were taken for. */
  const reclaimed: string[][] = []
  /** Runs that were taken up, in order. */
  const adopted: string[] = []
  const lives: AbortController[] = []

  /** A node that says it is there until it is killed. */
  const node = (id: string, boot: string, over: Partial<Member> = {}): AbortController => {
    const life = new AbortController()
    lives.push(life)
    const live = async () => {
      while (!life.signal.aborted) {
        await members.beat(memberOf(id, boot, over), { staleMs })
        await clock.wait(heartbeatMs, life.signal)
      }
    }
    void live()
    return life
  }

  const take = async (lease: string, owner: string): Promise<FencingToken> => {
    const acquired = await world.leases.acquire(lease, owner, ttlMs)
    if (!acquired.granted) throw new Error(`expected ${lease} to be free`)
    return { lease, epoch: acquired.epoch }
  }

  const optionsOf = (boot: string, over: Partial<CoordinatorOptions> = {}): CoordinatorOptions => ({
    ...world,
    members,
    mailboxes: {
      async reclaim(holders, are) {
        reclaimed.push([...holders, are])
        return 0
      },
      promoteLow: async () => 0,
    },
    boot,
    bootOf: (driver) => driver,
    async adopt(run, fence) {
      adopted.push(run)
      await world.accounting.adopt(run, boot, fence)
    },
    isGone: () => false,
    reachableSince: () => Number.NEGATIVE_INFINITY,
    heartbeatMs,
    staleMs,
    ...over,
  })

  /** Begins a coordinator on node `c`; its first look is over then, unless something holds it. */
  const begin = async (over: Partial<CoordinatorOptions> = {}, boot = 'c1') => {
    const fence = await take('coordinator', `c/${boot}/1`)
    const life = new AbortController()
    lives.push(life)
    let end: unknown
    void coordinate(optionsOf(boot, over), fence, life.signal).then(
      () => {
        end = 'done'
      },
      (error: unknown) => {
        end = error
      },
    )
    await clock.settle()
    return { fence, kill: () => life.abort(), end: () => end }
  }

  return {
    clock,
    world,
    members,
    reclaimed,
    adopted,
    lives,
    node,
    take,
    optionsOf,
    begin,
    sweeps: () =>
      world.logged
        .filter(({ message }) => message === 'a dead node was swept')
        .map(({ fields }) => `${String(fields['node'])} ${String(fields['boot'])}`),
    warnings: () => world.logged.filter(({ message }) => message.startsWith('cannot look')),
    /** Who leads what, but for the coordinators. */
    holders: async () =>
      (await world.leases.list())
        .filter(({ name }) => name !== 'coordinator')
        .map(({ name, holder }) => `${name} ${holder}`),
    async close(): Promise<void> {
      for (const life of lives) life.abort()
      const closed = world.close()
      await clock.pass(60_000)
      await closed
      expect(clock.armed).toBe(0)
    },
  }
}
