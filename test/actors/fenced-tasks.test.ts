/** Tasks that a singleton submitted: they carry its fence, and are not run once it is stale. */
import { afterEach, describe, expect, test } from 'bun:test'
import type { Envelope } from '../../actors/envelope.ts'
import { workMessage } from '../../actors/envelope.ts'
import { FencedError } from '../../actors/errors.ts'
import type { Execution } from '../../actors/ports.ts'
import type { Fence, FencingToken } from '../../actors/ports-fleet.ts'
import { outcomeCode } from '../../machines/outcome.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, countTo, drain, sourceOf } from './feed.ts'
import { beginWorker, isEmpty, jobs, resultsOf } from './working.ts'
import { dispatch, failed, kindOf, memoryWorld, ok, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(): World {
  const world = memoryWorld()
  worlds.push(world)
  return world
}

let terms = 0
/** A newer grant than any before. */
async function lead({ leases }: World, lease = 'sweeper'): Promise<FencingToken> {
  terms += 1
  await leases.revoke(lease, 'drill')
  const acquired = await leases.acquire(lease, `n/boot/${terms}`, 60_000)
  if (!acquired.granted) throw new Error(`expected ${lease} to be free`)
  return { lease, epoch: acquired.epoch }
}

/** Envelopes of a run under a fence, as a dispatcher would send them. */
async function send(world: World, fence: FencingToken, tasks = jobs(3)): Promise<void> {
  const sent: Envelope[] = []
  const keeping = { ...world.mailboxes, send: async () => {} }
  sent.push(...(await dispatch({ ...world, mailboxes: keeping }, 'r-1', tasks)))
  await world.mailboxes.send(sent.map((envelope) => workMessage({ ...envelope, fence })))
}

const unreached = outcomeCode('unreached')

describe('envelopes of a run that a singleton submitted', () => {
  const fence = { lease: 'sweeper', epoch: 7 }

  test('carry its fence, those from the spool as well', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 10 })
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(40)), fence })
    expect((await world.accounting.get(run.id))?.fence).toEqual(fence)
    expect((await world.accounting.get(run.id))?.spooled).toBeGreaterThan(0)
    const { envelopes, seqs } = await drain(world, 'work.job', 'at once')
    await eventually(() => expect(seqs()).toEqual(countTo(40)))
    expect(new Set(envelopes.map((envelope) => JSON.stringify(envelope.fence)))).toEqual(
      new Set([JSON.stringify(fence)]),
    )
  })

  test('carry it when another node goes on with the run', async () => {
    const world = makeWorld()
    const first = beginDispatcher(world, { inFlightMax: 5 })
    await first.ready()
    const { run } = await first.submit({ source: sourceOf(jobs(20)), fence })
    await first.stop()
    const second = beginDispatcher(world, { driver: 'n-2' })
    await second.ready()
    await second.adopt(run.id, await lead(world, 'coordinator'))
    const { envelopes, seqs } = await drain(world, 'work.job', 'at once')
    await eventually(() => expect(seqs()).toEqual(countTo(20)))
    for (const envelope of envelopes) expect(envelope.fence).toEqual(fence)
  })

  test('and of any other run carry none', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    await it.submit({ source: sourceOf(jobs(5)) })
    const { envelopes } = await drain(world, 'work.job', 'at once')
    await eventually(() => expect(envelopes).toHaveLength(1))
    expect(envelopes[0]).not.toHaveProperty('fence')
  })
})

describe('a worker', () => {
  test('runs tasks of the newest fence, and shows it to them', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const token = await lead(world)
    const fences: (Fence | undefined)[] = []
    await send(world, token)
    beginWorker(
      world,
      kindOf('job', (_, { fence }) => {
        fences.push(fence)
        return ok
      }),
    )
    expect((await resultsOf(bodies, 3)).map(({ code }) => code)).toEqual([1, 1, 1])
    const [fence] = fences
    expect(fences).toHaveLength(3)
    expect(fence).toMatchObject(token)
    await fence?.put('cursor', '7')
    expect(await world.leases.get('sweeper', 'cursor')).toBe('7')
    await lead(world)
    const refused = await fence?.put('cursor', '8').catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(FencedError)
    expect(() => fence?.assert()).toThrow(FencedError)
    expect(await world.leases.get('sweeper', 'cursor')).toBe('7')
  })

  test('shows no fence to tasks that nobody has to lead for', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const seen: boolean[] = []
    await dispatch(world, 'r-1', jobs(1))
    beginWorker(
      world,
      kindOf('job', (_, context) => {
        seen.push('fence' in context && context.fence !== undefined)
        return ok
      }),
    )
    await resultsOf(bodies, 1)
    expect(seen).toEqual([false])
  })

  test.each(['together', 'one by one'])('refuses those of a stale fence, %s', async (how) => {
    const world = makeWorld()
    const bodies = await world.settled()
    const stale = await lead(world)
    const newest = await lead(world)
    let runs = 0
    const kind = kindOf('job', () => {
      runs += 1
      return ok
    })
    await send(world, stale, jobs(3, how === 'together' ? {} : { delivery: 'at-most-once' }))
    beginWorker(world, kind)
    const results = await resultsOf(bodies, 3)
    expect(results.map(({ code }) => code)).toEqual([unreached, unreached, unreached])
    for (const { result } of results) {
      expect(result).toMatchObject({ durationMs: 0, error: { code: 'FENCED' } })
      for (const { epoch } of [stale, newest]) {
        expect(result.error?.message).toContain(String(epoch))
      }
    }
    expect(runs).toBe(0)
    // That is their end: none is tried again.
    await isEmpty(world)
  })

  test('runs those of a lease that is lost while nobody leads since', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const fence = await lead(world)
    await world.leases.revoke('sweeper', 'drill')
    await send(world, fence)
    beginWorker(
      world,
      kindOf('job', () => ok),
    )
    expect((await resultsOf(bodies, 3)).map(({ code }) => code)).toEqual([1, 1, 1])
  })

  test('does not run again what failed when somebody else leads meanwhile', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const fence = await lead(world)
    let runs = 0
    const kind = kindOf('job', async () => {
      runs += 1
      await lead(world)
      return failed
    })
    await send(world, fence, jobs(1))
    beginWorker(world, kind)
    const [result] = await resultsOf(bodies, 1)
    expect([result?.code, result?.attempt, runs]).toEqual([unreached, 2, 1])
    expect(result?.result).toMatchObject({
      error: { code: 'FENCED' },
      attempts: [{ attempt: 1, error: { code: 'BOOM' } }],
    })
  })

  test('that comes after a killed one leaves unreached what is stale by then', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const fence = await lead(world)
    const started: number[] = []
    const kind = kindOf('job', (_, { seq }) => {
      started.push(seq)
      return new Promise<Execution>(() => {})
    })
    await send(world, fence)
    beginWorker(world, kind)
    await eventually(() => expect(started).toHaveLength(3))
    const newest = await lead(world)
    await world.kill()
    beginWorker(world, kind)
    const results = await resultsOf(bodies, 3)
    expect(results.map(({ code }) => code)).toEqual([unreached, unreached, unreached])
    expect([started.length, newest.epoch > fence.epoch]).toEqual([3, true])
  })

  test('gives back what it cannot ask about, and settles it when it can', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const fence = await lead(world)
    let failures = 2
    const leases = {
      ...world.leases,
      async check(...args: Parameters<typeof world.leases.check>) {
        failures -= 1
        if (failures >= 0) throw new Error('Redis is away')
        await world.leases.check(...args)
      },
    }
    let runs = 0
    await send(world, fence)
    const kind = kindOf('job', () => {
      runs += 1
      return ok
    })
    beginWorker(world, kind, { leases })
    expect((await resultsOf(bodies, 3)).map(({ code }) => code)).toEqual([1, 1, 1])
    expect([runs, failures]).toEqual([3, -1])
  })
})
