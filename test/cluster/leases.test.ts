/** Who leads, on real nodes and a real Redis, when processes, connections or Redis itself fail. */
import { afterEach, describe, expect, test } from 'bun:test'
import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Redis } from 'ioredis'
import type { Run } from '../../actors/ports-runs.ts'
import { keys } from '../../runtime/redis/keys.ts'
import { eventually } from '../kit/eventually.ts'
import { type FleetOptions, NodeFleet, shortTerms } from '../kit/fleet.ts'
import type { Term } from '../kit/journal.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { lasting } from '../kit/outage.ts'
import { scribe } from '../kit/scribe.ts'

const ttlMs = Number(shortTerms['MUSTER_LEASE_TTL_MS'])
/** What taking over may take beyond the ttl, on a loaded machine. */
const slackMs = 5000
/** The connection on which leases are renewed. */
const client = 'muster:leases'

let fleet: NodeFleet
const clients: Redis[] = []

afterEach(async () => {
  for (const redis of clients.splice(0)) redis.disconnect()
  await fleet.end()
})

/** Two nodes; a leads. */
async function start(options: Partial<FleetOptions> = {}) {
  fleet = await NodeFleet.start({
    ids: ['a', 'b'],
    ...options,
    env: { ...shortTerms, ...options.env },
  })
  const term = fleet.journal.last
  if (term?.node !== 'a') throw new Error('expected a to lead')
  return { a: fleet.node('a'), b: fleet.node('b'), term }
}

/** Past the proxies. */
function direct(): Redis {
  const redis = new Redis(fleet.redis.path)
  redis.on('error', () => undefined)
  clients.push(redis)
  return redis
}

const now = ({ epoch }: Term) => fleet.journal.terms.find((term) => term.epoch === epoch)

function expectOneLeader(): void {
  expect(fleet.faults).toEqual({ doubleLeaders: [], staleWritesTaken: [] })
}

/** The term after this one, which is to be b's. */
async function takenOver(before: Term, since: number, what: string): Promise<Term> {
  const term = await fleet.leadership(before.epoch)
  console.log(`${what}: taken over after ${term.from - since} ms`)
  expect(term.node).toBe('b')
  return term
}

/** Whoever led then is refused, also where it goes by its epoch alone. */
async function expectRefused(term: Term): Promise<void> {
  await eventually(() => {
    const refused = now(term)?.refused.map(({ by, code }) => `${by}: ${code}`)
    expect(refused?.toSorted()).toEqual(['fence: FENCED', 'hand: FENCED'])
  })
}

/** It has lost a lease and nothing else: it leads when it is its turn again. */
async function expectLeadsAgain(after: Term): Promise<void> {
  const ended = fleet.node('b').kill('SIGTERM')
  expect((await fleet.leadership(after.epoch)).node).toBe('a')
  expect((await ended).code).toBe(0)
}

describe('a leader', () => {
  test('killed is followed within its ttl, at a higher epoch', async () => {
    const { a, term } = await start()
    const since = Date.now()
    await a.kill('SIGKILL')
    const next = await takenOver(term, since, 'kill -9')
    expect(next.from - since).toBeLessThan(ttlMs + slackMs)
    expectOneLeader()
  })

  test('stopped in order is followed at once', async () => {
    // So long that nobody could have waited for its end.
    const { a, term } = await start({
      env: { MUSTER_LEASE_TTL_MS: '12000', MUSTER_LEASE_RENEW_MS: '3000' },
    })
    const ended = a.kill('SIGTERM')
    const next = await fleet.leadership(term.epoch)
    const afterMs = next.from - (now(term)?.until ?? 0)
    console.log(`SIGTERM: taken over ${afterMs} ms after it last led`)
    expect(next.node).toBe('b')
    expect(afterMs).toBeLessThan(5000)
    expect((await ended).code).toBe(0)
    expectOneLeader()
  })

  test('frozen past its ttl has every write refused when it wakes up', async () => {
    const { a, term } = await start()
    const since = Date.now()
    process.kill(a.pid, 'SIGSTOP')
    const next = await takenOver(term, since, 'SIGSTOP')
    process.kill(a.pid, 'SIGCONT')
    await expectRefused(term)
    expect(fleet.journal.last?.epoch).toBe(next.epoch)
    await expectLeadsAgain(next)
    expectOneLeader()
  })

  test('whose lease connection alone passes nothing stops before another one leads', async () => {
    const { a, term } = await start()
    const since = Date.now()
    const end = fleet.proxy('a').hold({ client })
    const next = await takenOver(term, since, 'lease connection held')
    expect(next.from - since).toBeLessThan(ttlMs + slackMs)
    // Everything else of it works.
    expect((await fetch(`${a.url}/readyz`)).status).toBe(200)
    await expectRefused(term)
    const taken = await direct().hget(keys.leaseValues(scribe.name), `fence-${term.epoch}`)
    const isUnanswered = fleet.journal.entries.some(
      ({ says, by, epoch }) => says === 'unanswered' && by === 'fence' && epoch === term.epoch,
    )
    expect(isUnanswered).toBe(true)
    end()
    await expectLeadsAgain(next)
    // What was under way has arrived by now, and was too late.
    expect(await direct().hget(keys.leaseValues(scribe.name), `fence-${term.epoch}`)).toBe(taken)
    expectOneLeader()
  })

  test('whose renewals come too late is followed, for as long as that lasts', async () => {
    const { term } = await start()
    const since = Date.now()
    fleet.proxy('a').delay(400, { client })
    const next = await takenOver(term, since, 'renewals 800 ms late')
    await expectRefused(term)
    expect(fleet.journal.last?.epoch).toBe(next.epoch)
    expectOneLeader()
  })

  test('goes on through trouble that passes', async () => {
    // Longer than a restart of Redis takes on a busy machine.
    const patientMs = 4000
    const env = {
      MUSTER_LEASE_TTL_MS: String(patientMs),
      MUSTER_LEASE_RENEW_MS: '1000',
      MUSTER_LEASE_OPERATION_TIMEOUT_MS: '1200',
    }
    const { term } = await start({ appendfsync: 'always', env })
    const redis = direct()
    const goesOn = async (what: string) => {
      const since = Date.now()
      const isWritten = () => expect(now(term)?.written.at(-1)?.at).toBeGreaterThan(since)
      await eventually(isWritten)
      expect({ what, epoch: fleet.journal.last?.epoch }).toEqual({ what, epoch: term.epoch })
    }

    const end = fleet.proxy('a').delay(80, { client })
    await lasting(patientMs)
    await goesOn('renewals a little late')
    end()
    for (let count = 0; count < 5; count += 1) {
      expect(fleet.proxy('a').cut()).toBeGreaterThan(0)
      await lasting(patientMs / 5)
    }
    await goesOn('connections that break again and again')
    await redis.client('PAUSE', 300, 'ALL')
    await redis.ping()
    await goesOn('a pause of Redis')
    await fleet.redis.kill()
    await fleet.redis.restart()
    await goesOn('a restart of Redis')
    await lasting(patientMs)
    await goesOn('all of it')
    expectOneLeader()
  })
})

describe('when Redis', () => {
  test('pauses for longer than the ttl the leader stops in time', async () => {
    const { term } = await start()
    const redis = direct()
    const pausedAt = Date.now()
    await redis.client('PAUSE', ttlMs + 500, 'ALL')
    await redis.ping()
    const next = await fleet.leadership(term.epoch)
    expect(now(term)?.until).toBeLessThan(pausedAt + ttlMs)
    expect(next.from).toBeGreaterThan(pausedAt + ttlMs)
    await expectRefused(term)
    expectOneLeader()
  })

  test('is back with its data after the ttl, somebody leads at a higher epoch', async () => {
    const { term } = await start({ appendfsync: 'always' })
    await fleet.redis.kill()
    await lasting(ttlMs + 500)
    await fleet.redis.restart()
    await fleet.leadership(term.epoch)
    await expectRefused(term)
    expectOneLeader()
  })

  test('is back without its data, somebody leads at a higher epoch all the same', async () => {
    const { term } = await start()
    await fleet.redis.kill()
    rmSync(join(dirname(fleet.redis.path), 'appendonlydir'), { recursive: true })
    await fleet.redis.restart()
    const next = await fleet.leadership(term.epoch)
    await expectRefused(term)
    // Nobody can know of a lease that Redis has forgotten; but who writes is one, at any time.
    const overlapMs = (now(term)?.until ?? 0) - next.from
    console.log(`data lost: two believed that they led for ${Math.max(0, overlapMs)} ms`)
    expect(overlapMs).toBeLessThan(ttlMs)
    expect(fleet.faults.staleWritesTaken).toEqual([])
  })
})

describe('a run', () => {
  const total = 12_000
  /** So slow that there is a middle of it. */
  const env = {
    MUSTER_DISPATCHER_RATE: '6000',
    MUSTER_DISPATCHER_BURST: '1000',
    MUSTER_DISPATCHER_QUEUE_MAX: '2000',
  }

  test.each(['a', 'b'])('driven by %s is complete when a is killed, who collects', async (id) => {
    const { a, b, term } = await start({ env })
    expect(await direct().hget(keys.leaseLock('collector'), 'holder')).toBe('a')
    const submitted = await fetch(`${fleet.node(id).url}/v1/runs`, {
      method: 'POST',
      body: '{"kind":"noop"}\n'.repeat(total),
      headers: { 'content-type': 'application/x-ndjson' },
    })
    const { run } = (await submitted.json()) as { run: string }
    await eventually(() => expect(countRows(fleet.dataDir)).toBeGreaterThan(2000))
    const since = Date.now()
    await a.kill('SIGKILL')
    expect(countRows(fleet.dataDir)).toBeLessThan(total)
    await takenOver(term, since, 'kill -9')
    await eventually(
      async () => {
        const { state, counts } = (await (await fetch(`${b.url}/v1/runs/${run}`)).json()) as Run
        expect({ state, counts }).toMatchObject({
          state: 'completed',
          counts: { ok: total, pending: 0 },
        })
      },
      { timeoutMs: 40_000, intervalMs: 50 },
    )
    console.log(`driven by ${id}: complete ${Date.now() - since} ms after the kill`)
    const { rows, audited } = readLedger(fleet.dataDir, run)
    expect(rows).toEqual(Array.from({ length: total }, (_, seq) => ({ seq, outcome: 'ok' })))
    expect(audited.size).toBe(total)
    expect(await direct().hget(keys.leaseLock('collector'), 'holder')).toBe('b')
    expectOneLeader()
  })
})

describe('a node that', () => {
  const staleMs = 2500
  const env = { MUSTER_MEMBER_STALE_MS: String(staleMs), MUSTER_MEMBER_HEARTBEAT_MS: '800' }

  /** Resolves when somebody has taken it upon himself to see to what the dead node held. */
  async function swept(id: string): Promise<void> {
    const redis = direct()
    const isSwept = async () => {
      const dead = Object.entries(await redis.hgetall(keys.membersDead))
      const ways = dead.filter(([member]) => member.startsWith(`${id} `)).map(([, way]) => way)
      expect(ways).toEqual(['swept'])
    }
    await eventually(isSwept, { intervalMs: 20 })
  }

  const deaths: [string, string, NodeJS.Signals][] = [
    ['falls silent', 'b', 'SIGSTOP'],
    ['falls silent while it coordinates', 'a', 'SIGSTOP'],
    ['is killed', 'b', 'SIGKILL'],
    ['is killed while it coordinates', 'a', 'SIGKILL'],
  ]
  test.each(deaths)('%s is found to be dead soon after it is stale', async (what, id, signal) => {
    await start({ env })
    expect(await direct().hget(keys.leaseLock('coordinator'), 'holder')).toBe('a')
    const since = Date.now()
    const { pid, ended } = fleet.node(id)
    process.kill(pid, signal)
    await swept(id)
    const tookMs = Date.now() - since
    console.log(`${what}: swept after ${tookMs} ms`)
    expect(tookMs).toBeLessThan(staleMs + slackMs)
    if (signal !== 'SIGSTOP') return
    // Its work is others' by now: it must not go on.
    process.kill(pid, 'SIGCONT')
    expect((await ended).code).toBe(70)
    expectOneLeader()
  })
})
