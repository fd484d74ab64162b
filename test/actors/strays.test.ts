import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { type Envelope, pack, type ResultsEnvelope, workMessage } from '../../actors/envelope.ts'
import { FencedError } from '../../actors/errors.ts'
import type { Place } from '../../actors/place.ts'
import type { Member } from '../../actors/ports-fleet.ts'
import { moreOf } from '../../actors/results.ts'
import { Router } from '../../actors/router.ts'
import { lookAfterStrays, type StraysOptions } from '../../actors/strays.ts'
import { systemClock } from '../../runtime/clock.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { runOf } from '../conformance/accounting.ts'
import { memberOf } from '../conformance/members.ts'
import { eventually } from '../kit/eventually.ts'
import { beginWorker } from './working.ts'
import { itemsOf, kindOf, memoryWorld, packLimits, taskOf, type World } from './world.ts'

const run = 'r-strays'
const staleMs = 60_000
const depthMax = 100_000

let world: World
let members: ReturnType<typeof memoryMembers>
const lives: { life: AbortController; ended: Promise<unknown> }[] = []
beforeEach(async () => {
  world = memoryWorld()
  members = memoryMembers(() => systemClock.now())
  await world.accounting.open(runOf(run))
})
afterEach(async () => {
  for (const { life } of lives) life.abort()
  await Promise.all(lives.splice(0).map(({ ended }) => ended))
  await world.close()
})

const beat = (id: string, over: Partial<Member> = {}) =>
  members.beat(memberOf(id, `${id}-boot`, { kinds: ['job'], load: 0, labels: {}, ...over }), {
    staleMs,
  })

const routerOf = () =>
  new Router({
    ...world,
    members,
    random: () => 0,
    strategy: 'round-robin',
    staleMs,
    depthMax,
    keyPartitions: 4,
    hosts: { inventory: new Map(), isAdHoc: () => false, reaches: () => false },
  })

/** A coordinator, until it is killed: its promises come to nothing then. */
async function begin(over: Partial<StraysOptions> = {}) {
  const acquired = await world.leases.acquire('coordinator', `c/${lives.length}/1`, 60_000)
  const epoch = acquired.granted ? acquired.epoch : 0
  const life = new AbortController()
  const options: StraysOptions = {
    ...world,
    members,
    router: routerOf(),
    staleMs,
    unservedMs: 50,
    nameKeepMs: 3_600_000,
    node: 'c',
    ...over,
  }
  const fence = { lease: 'coordinator', epoch }
  const ended = lookAfterStrays(options, fence, life.signal).then(
    () => 'over',
    (error: unknown) => error,
  )
  lives.push({ life, ended })
  return {
    ended,
    kill: async () => {
      life.abort()
      await ended
      await world.leases.revoke('coordinator', 'killed')
    },
  }
}

/** Envelopes of ten tasks each, which hold their room in a mailbox. */
async function fill(mailbox: string, tasks: number, at: Place): Promise<Envelope[]> {
  const items = itemsOf(Array.from({ length: tasks }, () => taskOf('job')))
  const limits = { ...packLimits, tasksOf: () => 10 }
  const envelopes = pack(run, items, systemClock.now(), limits)
  const placed = envelopes.map((envelope) => Object.assign(envelope, { mailbox, at }))
  await world.accounting.commit(run, {
    afterLine: 0,
    lines: tasks,
    accepted: tasks,
    rejected: [],
    spool: [],
  })
  await world.admission.reserve(mailbox, run, tasks, depthMax)
  await world.mailboxes.send(placed.map((envelope) => workMessage(envelope)))
  return placed
}

/** How often each seq is delivered from a mailbox. */
async function deliveriesOf(mailbox: string): Promise<Map<number, number>> {
  const seen = new Map<number, number>()
  const receiving = { concurrency: 100, ordered: false }
  await world.mailboxes.receive(mailbox, receiving, async ({ body }) => {
    for (const [first, count] of (body as Envelope).seqs) {
      for (let seq = first; seq < first + count; seq += 1) seen.set(seq, (seen.get(seq) ?? 0) + 1)
    }
  })
  return seen
}

const seqsIn = (seen: readonly Map<number, number>[]) => seen.flatMap((of) => Array.from(of.keys()))

const waiting = async (mailbox: string) => (await world.mailboxes.depth(mailbox)).waiting
const used = (...mailboxes: string[]) => world.admission.usedIn(mailboxes)

describe('what waits for a node that is gone', () => {
  test('goes to those that may have it, each task once, with its room', async () => {
    await beat('a', { labels: { role: 'x' } })
    await beat('d', { labels: { role: 'x' } })
    await beat('e')
    await fill('work.job@b', 100, { select: { role: 'x' } })
    await begin()
    await eventually(async () => {
      expect(await waiting('work.job@b')).toBe(0)
      expect((await waiting('work.job@a')) + (await waiting('work.job@d'))).toBe(10)
    })
    expect([await waiting('work.job@a'), await waiting('work.job@d')]).toEqual([5, 5])
    expect(await used('work.job@a', 'work.job@b', 'work.job@d')).toEqual([50, 0, 50])
    const seen = [await deliveriesOf('work.job@a'), await deliveriesOf('work.job@d')]
    await eventually(() => expect(seqsIn(seen).length).toBe(100))
    expect(new Set(seqsIn(seen)).size).toBe(100)
  })

  test('stays with a node that is there, and goes when it begins to drain', async () => {
    await beat('a')
    await beat('b')
    await fill('work.job@b', 10, { select: {} })
    let looks = 0
    const counting = {
      ...members,
      list: (ms: number) => {
        looks += 1
        return members.list(ms)
      },
    }
    await begin({ members: counting })
    await eventually(() => expect(looks).toBeGreaterThan(0))
    expect(await waiting('work.job@b')).toBe(1)
    await beat('b', { state: 'draining' })
    await eventually(async () => expect(await waiting('work.job@a')).toBe(1))
  })

  for (const point of ['before its room is moved', 'before it is sent', 'after it was sent']) {
    test(`is sent once by a coordinator that dies ${point}, and its next`, async () => {
      await beat('a')
      await beat('d')
      await fill('work.job@b', 100, { select: {} })
      const never = new Promise<never>(() => {})
      const reached: string[] = []
      const stuck = (what: string) => {
        reached.push(what)
        return never
      }
      const first = await begin({
        admission: {
          moveRoom: (...move) =>
            point === 'before its room is moved'
              ? stuck('room')
              : world.admission.moveRoom(...move),
        },
        mailboxes: {
          ...world.mailboxes,
          async send(messages) {
            if (point === 'after it was sent') await world.mailboxes.send(messages)
            await stuck('send')
          },
        },
      })
      await eventually(() => expect(reached.length).toBe(10))
      await first.kill()
      await begin()
      await eventually(async () => {
        expect(await world.mailboxes.depth('work.job@b')).toEqual({
          waiting: 0,
          active: 0,
          delayed: 0,
        })
      })
      const seen = [await deliveriesOf('work.job@a'), await deliveriesOf('work.job@d')]
      await eventually(() => expect(seqsIn(seen).length).toBe(100))
      const times = seen.flatMap((of) => Array.from(of))
      expect(new Set(times.map(([seq]) => seq)).size).toBe(100)
      expect(times.every(([, count]) => count === 1)).toBe(true)
      const [a = 0, b, d = 0] = await used('work.job@a', 'work.job@b', 'work.job@d')
      expect([a + d, b]).toEqual([100, 0])
    })
  }

  test('goes to others though the first looks fail (D-43)', async () => {
    await beat('a')
    await fill('work.job@b', 10, { select: {} })
    let looks = 0
    const list = async (ms: number) => {
      looks += 1
      if (looks === 1) throw new Error('a first error')
      return members.list(ms)
    }
    await begin({ members: { list } })
    await eventually(async () => expect(await waiting('work.job@a')).toBe(1))
    const warned = world.logged.map(({ message }) => message)
    expect(warned).toContain('cannot look after mailboxes that nobody serves')
  })

  test('is left alone by one who no longer coordinates', async () => {
    await beat('a')
    await fill('work.job@b', 10, { select: {} })
    const check = async () => {
      throw new FencedError('coordinator', 1, 'there is a newer grant')
    }
    const { ended } = await begin({ leases: { check } })
    expect(await ended).toBeInstanceOf(FencedError)
    expect(await waiting('work.job@a')).toBe(0)
    expect(await waiting('work.job@b')).toBe(1)
  })

  test('was settled already: it is not run again', async () => {
    await beat('a')
    const [envelope] = await fill('work.job@b', 10, { select: {} })
    if (envelope === undefined) throw new Error('expected an envelope')
    const { mailbox, seqs } = envelope
    const outcomes = Array.from({ length: 10 }, () => 'ok' as const)
    await world.accounting.settle([{ run, id: 's', mailbox, seqs, outcomes }])
    await begin()
    await eventually(async () => expect(await waiting('work.job@b')).toBe(0))
    expect(await waiting('work.job@a')).toBe(0)
    expect(await used('work.job@a', 'work.job@b')).toEqual([0, 0])
  })
})

test('of what was settled in part, the rest alone is done elsewhere', async () => {
  await beat('a')
  const [envelope] = await fill('work.job@b', 10, { select: {} })
  if (envelope === undefined) throw new Error('expected an envelope')
  const outcomes = Array.from({ length: 4 }, () => 'ok' as const)
  const { mailbox } = envelope
  await world.accounting.settle([{ run, id: 's', mailbox, seqs: [[2, 4]], outcomes }])
  await begin()
  const seen = await deliveriesOf('work.job@a')
  await eventually(() => expect([...seen.keys()]).toEqual([0, 1, 6, 7, 8, 9]))
  expect(await used('work.job@a', 'work.job@b')).toEqual([6, 0])
})

describe('what nobody may have', () => {
  /** How it ends, after this long. */
  async function endOf(mailbox: string, at: Place): Promise<ResultsEnvelope> {
    const results = await world.settled()
    await fill(mailbox, 10, at)
    await begin()
    return eventually(() => {
      const [body] = results
      if (body === undefined) throw new Error('nothing has ended')
      return body
    })
  }

  test('ends as unreached with the reason, and holds no room any more', async () => {
    await beat('a')
    const ended = await endOf('work.job@?', { select: { rack: 'r9' } })
    expect(ended).toMatchObject({ outcomes: '7777777777', mailbox: 'work.job@?', node: 'c' })
    expect(moreOf(ended)?.[0]?.error).toEqual({
      code: 'NO_NODE',
      message: 'no node with rack=r9 runs tasks of kind "job"',
    })
  })

  test('for it is meant for one node, does not go to another', async () => {
    await beat('a')
    const more = moreOf(await endOf('work.job@b', { node: 'b' }))
    expect(more?.[0]?.error?.message).toStartWith('there is no node "b" now')
  })

  test('for its node does not do that, says so', async () => {
    await beat('b', { kinds: ['other'] })
    const more = moreOf(await endOf('work.job@b', { node: 'b' }))
    expect(more?.[0]?.error?.message).toBe('node "b" does not run tasks of kind "job"')
  })

  test('of a run that was cancelled ends as cancelled', async () => {
    await beat('a')
    const results = await world.settled()
    await fill('work.job@b', 10, { node: 'b' })
    await world.accounting.control(run, 'cancel', 'enough')
    await begin({ unservedMs: 60_000 })
    await eventually(() => expect(results[0]?.outcomes).toBe('4444444444'))
  })

  test('is done after all by a node that comes while it is waited for', async () => {
    await fill('work.job@b', 10, { node: 'b' })
    const results = await world.settled()
    await begin({ unservedMs: 60_000 })
    await eventually(async () => {
      expect((await world.mailboxes.depth('work.job@b')).active).toBe(1)
    })
    await beat('b')
    const seen = await deliveriesOf('work.job@b')
    await eventually(() => expect(seen.size).toBe(10))
    expect(results).toEqual([])
  })
})

describe('the name of a mailbox', () => {
  const names = async () => (await world.mailboxes.names()).toSorted()
  const job = { select: {} }

  test('goes when its node is gone, nothing is in it and time has passed', async () => {
    await beat('a')
    await deliveriesOf('work.job@a')
    const [envelope] = await fill('work.job@gone', 10, job)
    if (envelope === undefined) throw new Error('expected an envelope')
    await begin({ nameKeepMs: 20 })
    // What waits there goes to the node that is there, and only then the name.
    await eventually(async () => expect(await names()).toEqual(['work.job@a']))
    await beat('gone')
    await world.mailboxes.send([workMessage(envelope)])
    expect(await names()).toEqual(['work.job@a', 'work.job@gone'])
    const seen = await deliveriesOf('work.job@gone')
    await eventually(() => expect(seen.size).toBe(10))
  })

  test('stays while its time has not passed', async () => {
    await beat('a')
    await fill('work.job@gone', 10, job)
    await deliveriesOf('work.job@a')
    await begin({ nameKeepMs: 60_000 })
    await eventually(async () => expect(await waiting('work.job@gone')).toBe(0))
    await begin({ nameKeepMs: 60_000 })
    expect(await names()).toContain('work.job@gone')
  })

  test('is not taken off by who coordinates no longer', async () => {
    await fill('work.job@gone', 1, job)
    await deliveriesOf('work.job@gone')
    let isReplaced = false
    const retire = async (mailboxes: readonly string[]) => {
      if (isReplaced)
        throw new Error(`expected nothing to be taken off, got ${mailboxes.join(', ')}`)
      isReplaced = true
      await world.leases.revoke('coordinator', 'another one is to lead')
      await world.leases.acquire('coordinator', 'd/d-boot/1', 60_000)
      return []
    }
    const mailboxes = { ...world.mailboxes, retire }
    const { ended } = await begin({ nameKeepMs: 20, mailboxes })
    expect(await ended).toBeInstanceOf(FencedError)
    expect(await names()).toEqual(['work.job@gone'])
  })
})

test('a task that takes every node down is condemned by the second, wherever it goes', async () => {
  await beat('a')
  await fill('work.job@b', 1, { select: {} })
  const results = await world.settled()
  const kind = kindOf('job', () => new Promise<never>(() => {}))
  /** A node that is killed by the task: how often its worker began it. */
  const dies = async (mailbox: string) => {
    let begun = 0
    const runForEver = () => {
      begun += 1
      return new Promise<never>(() => {})
    }
    const worker = beginWorker(
      world,
      { ...kind, executor: { ...kind.executor, run: runForEver } },
      { mailbox },
    )
    await worker.ready()
    await eventually(() => expect(begun + results.length).toBeGreaterThan(0))
    await world.kill()
    return begun
  }
  const timesBegun = [await dies('work.job@b'), await dies('work.job@b')]
  await begin()
  await eventually(async () => expect(await waiting('work.job@a')).toBe(1))
  timesBegun.push(await dies('work.job@a'), await dies('work.job@a'))
  await eventually(() => expect(results[0]?.outcomes).toBe('6'))
  // Not noted, noted beside others, noted alone; then it was known.
  expect(timesBegun).toEqual([1, 1, 1, 0])
})
