/** Who leads when a host is cut off: each node, and Redis, on a network of its own. */
import { afterEach, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { keys } from '../../runtime/redis/keys.ts'
import { eventually } from '../kit/eventually.ts'
import { NodeFleet, shortTerms } from '../kit/fleet.ts'
import type { Term } from '../kit/journal.ts'
import { type Network, namespaceProblem, startNetwork } from '../kit/namespaces.ts'
import { lasting } from '../kit/outage.ts'

const ttlMs = Number(shortTerms['MUSTER_LEASE_TTL_MS'])
const problem = await namespaceProblem()
if (problem !== undefined) console.log(`skipped: ${problem}`)

let fleet: NodeFleet | undefined
let network: Network | undefined
let redis: Redis | undefined

afterEach(async () => {
  redis?.disconnect()
  try {
    await fleet?.end()
  } finally {
    await network?.remove()
  }
})

describe('a leader that is cut off', () => {
  test.skipIf(problem !== undefined)('and comes back is never one of two', async () => {
    const ids = ['a', 'b', 'c']
    network = await startNetwork(ids)
    const env = { ...shortTerms, MUSTER_MEMBER_HEARTBEAT_MS: '500' }
    const all = await NodeFleet.start({ ids, env, network })
    fleet = all
    const direct = new Redis(all.redis.path)
    redis = direct

    let term = all.journal.last
    if (term === undefined) throw new Error('nobody leads')
    const deposed: Term[] = []
    // The second time the first one may lead again: it is to have come back whole.
    for (let round = 1; round <= 2; round += 1) {
      const { node, epoch } = term
      const since = Date.now()
      await network.cut(node)
      const next = await all.leadership(epoch)
      console.log(`${node} cut off: taken over by ${next.node} after ${next.from - since} ms`)
      expect(next.node).not.toBe(node)
      expect(next.from - since).toBeLessThan(ttlMs + 5000)
      await lasting(500)
      const healedAt = Date.now()
      await network.heal(node)
      await eventually(
        async () => {
          const seen = await direct.zrangebyscore(keys.membersSeen, healedAt, '+inf')
          expect(seen.map((member) => member.split(' ')[0])).toContain(node)
        },
        { timeoutMs: 40_000 },
      )
      console.log(`${node} healed: heard of after ${Date.now() - healedAt} ms`)
      expect(all.journal.last?.epoch).toBe(next.epoch)
      deposed.push(term)
      term = next
    }

    await eventually(() => {
      for (const { epoch } of deposed) {
        const refused = all.journal.terms.find((one) => one.epoch === epoch)?.refused
        const ways = refused?.map(({ by, code }) => `${by}: ${code}`)
        expect(ways?.toSorted()).toEqual(['fence: FENCED', 'hand: FENCED'])
      }
    })
    expect(all.faults).toEqual({ doubleLeaders: [], staleWritesTaken: [] })
  })
})
