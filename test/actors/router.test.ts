import { beforeEach, describe, expect, test } from 'bun:test'
import type { Envelope } from '../../actors/envelope.ts'
import { pack } from '../../actors/envelope.ts'
import type { Member } from '../../actors/ports-fleet.ts'
import { type Hosts, Router, type RouterOptions } from '../../actors/router.ts'
import { numberTasks, type SourceLine } from '../../actors/source.ts'
import type { Task } from '../../actors/task.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { runOf } from '../conformance/accounting.ts'
import { memberOf } from '../conformance/members.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { memoryWorld, packLimits, type World } from './world.ts'

const staleMs = 30_000
const run = 'r-placed'

let clock: TestClock
let world: World
let members: ReturnType<typeof memoryMembers>
let routed: number
beforeEach(async () => {
  clock = testClock()
  world = memoryWorld(clock)
  members = memoryMembers(() => clock.now())
  routed = 0
  await world.accounting.open(runOf(run))
})

const beat = (id: string, over: Partial<Member> = {}) =>
  members.beat(memberOf(id, `${id}-boot`, { kinds: ['job'], load: 0, labels: {}, ...over }), {
    staleMs,
  })

const noHosts: Hosts = { inventory: new Map(), isAdHoc: () => false, reaches: () => false }

const routerOf = (over: Partial<RouterOptions> = {}) =>
  new Router({
    ...world,
    members,
    random: () => {
      throw new Error('expected no chance in it')
    },
    strategy: 'weighted',
    staleMs,
    depthMax: 1000,
    keyPartitions: 4,
    hosts: noHosts,
    meter: {
      routed: () => {
        routed += 1
      },
    },
    ...over,
  })

const lineOf = (task: Task, kind = 'job'): SourceLine => ({
  line: 1,
  bytes: 10,
  accepted: { kind, priority: 'normal', task },
})

/** The envelopes that lines become, in their mailboxes. */
async function envelopesOf(router: Router, lines: readonly SourceLine[]): Promise<Envelope[]> {
  const places = await router.placesOf(lines)
  const { items } = await numberTasks(world.accounting, run, 0, lines, places)
  const packed = pack(run, items, clock.now(), packLimits)
  return Promise.all(packed.map((envelope) => router.route(envelope)))
}

const mailboxesOf = async (router: Router, ...tasks: Task[]) =>
  (
    await envelopesOf(
      router,
      tasks.map((task) => lineOf(task)),
    )
  ).map(({ mailbox }) => mailbox)

describe('a router', () => {
  test('is not asked about tasks that may run anywhere', async () => {
    const router = routerOf({
      members: {
        list: () => {
          throw new Error('expected nobody to ask')
        },
      },
    })
    const lines = [lineOf({}), lineOf({ key: 'k' }), lineOf({ placement: 'any' })]
    expect(await router.placesOf(lines)).toBeUndefined()
    expect(await mailboxesOf(router, {}, { key: 'k', placement: 'sharded' })).toEqual([
      'work.job',
      expect.stringMatching(/^work\.job#0[0-3]$/),
    ])
  })

  test('resolves a target to a node, a label, a host, and else to who may yet come', async () => {
    await beat('a', { labels: { rack: 'r1' } })
    await beat('b')
    const inventory = new Map([['web', {}]])
    const hosts = { inventory, isAdHoc: (name: string) => name === 'ad.hoc', reaches: () => true }
    const router = routerOf({ hosts })
    expect(
      await mailboxesOf(
        router,
        { target: 'b' },
        { target: 'rack=r1' },
        { target: 'web' },
        { target: 'ad.hoc', key: 'k' },
        { target: 'b', key: 'k' },
        { target: 'nobody' },
      ),
    ).toEqual([
      'work.job@b',
      'work.job@a',
      'work.job+ssh',
      expect.stringMatching(/^work\.job~0[0-3]$/),
      expect.stringMatching(/^work\.job~0[0-3]@b$/),
      'work.job@nobody',
    ])
    const deaf = routerOf({ hosts: { ...hosts, reaches: () => false } })
    expect(await mailboxesOf(deaf, { target: 'web' })).toEqual(['work.job@web'])
  })

  test('takes the name of a node that died lately for a node, and not for a host', async () => {
    await beat('a')
    await clock.pass(staleMs + 1)
    const router = routerOf({
      hosts: { inventory: new Map(), isAdHoc: () => true, reaches: () => true },
    })
    expect(await mailboxesOf(router, { target: 'a' })).toEqual(['work.job@a'])
  })

  test('makes one task for each node that matches, and each host of the inventory', async () => {
    await beat('a', { labels: { role: 'web' } })
    await beat('b')
    await beat('c', { labels: { role: 'web' }, kinds: ['other'] })
    await beat('d', { labels: { role: 'web' }, state: 'draining' })
    const inventory = new Map([
      ['h1', { role: 'web' }],
      ['h2', { role: 'db' }],
    ])
    const router = routerOf({ hosts: { inventory, isAdHoc: () => false, reaches: () => true } })
    const everywhere = await envelopesOf(router, [lineOf({ placement: 'all', id: 'x' })])
    expect(everywhere.map(({ mailbox, seqs }) => [mailbox, seqs])).toEqual([
      ['work.job@a', [[0, 1]]],
      ['work.job@b', [[1, 1]]],
    ])
    expect(everywhere[0]?.tasks).toEqual([{ id: 'x', target: 'a' }])
    const web = { placement: 'all', select: { role: 'web' } } as const
    expect(await mailboxesOf(router, web)).toEqual(['work.job@a', 'work.job+ssh'])
  })

  test('lets others wait for every task that a line became', async () => {
    await beat('a')
    await beat('b')
    const lines = [
      lineOf({ placement: 'all', id: 'x' }),
      lineOf({ id: 'y' }),
      lineOf({ dependsOn: ['x', 'y'] }),
    ]
    const places = await routerOf().placesOf(lines)
    const numbered = await numberTasks(world.accounting, run, 0, lines, places)
    expect(numbered.items.map(({ seq, needs }) => [seq, needs])).toEqual([
      [0, undefined],
      [1, undefined],
      [2, undefined],
      [3, [0, 1, 2]],
    ])
    expect(numbered.accepted).toBe(4)
    const later = [lineOf({ dependsOn: ['x'] })]
    const { items } = await numberTasks(world.accounting, run, 4, later)
    expect(items[0]?.needs).toEqual([0, 1])
  })

  test('cuts balanced tasks into envelopes for all nodes, and tells why each went', async () => {
    await beat('a')
    await beat('b', { load: 20 })
    const router = routerOf()
    const lines = Array.from({ length: 80 }, () => lineOf({ placement: 'balanced' }))
    const envelopes = await envelopesOf(router, lines)
    expect(envelopes.map(({ tasks }) => tasks.length)).toEqual(Array(8).fill(10))
    const winners = envelopes.map(({ routing }) => routing?.winner)
    expect(winners.slice(0, 4)).toEqual(['a', 'a', 'a', 'a'])
    expect(new Set(winners)).toEqual(new Set(['a', 'b']))
    expect(envelopes[0]?.routing).toEqual({
      strategy: 'weighted',
      candidates: 2,
      winner: 'a',
      score: 2100,
      fallbacks: [{ node: 'b', score: 1900 }],
    })
    expect(routed).toBe(8)
  })

  test('knows what waits in the mailboxes of nodes, whoever sent it', async () => {
    await beat('a')
    await beat('b')
    await world.admission.reserve('work.job@a', run, 100, 1000)
    const router = routerOf({ strategy: 'least-loaded' })
    expect(await mailboxesOf(router, { placement: 'balanced' })).toEqual(['work.job@b'])
    await world.admission.reserve('work.job@b', run, 1000, 1000)
    await clock.pass(1000)
    const [envelope] = await envelopesOf(router, [lineOf({ placement: 'balanced' })])
    expect(envelope?.routing).toMatchObject({ winner: 'a', candidates: 1, excluded: { full: 1 } })
  })

  test('leaves out who drains, is silent or fails, and still finds somebody poor', async () => {
    const bad = { successRate: 0.1, latencyMs: 5, samples: 50 }
    await beat('a', { history: bad })
    await beat('b', { state: 'draining' })
    const router = routerOf()
    const [envelope] = await envelopesOf(router, [lineOf({ placement: 'balanced' })])
    expect(envelope).toMatchObject({
      mailbox: 'work.job@a',
      routing: { excluded: { unreliable: 1, draining: 1 } },
    })
    await beat('c')
    await clock.pass(1000)
    expect(await mailboxesOf(router, { placement: 'balanced' })).toEqual(['work.job@c'])
    await clock.pass(staleMs)
    expect(await mailboxesOf(router, { placement: 'balanced' })).toEqual(['work.job@?'])
  })

  test('goes by the newest beat of each node, and by its silence (D-24)', async () => {
    await beat('a', { load: 50 })
    await beat('b', { load: 10 })
    const router = routerOf({ strategy: 'least-loaded' })
    const chosen = () => mailboxesOf(router, { placement: 'balanced' })
    expect(await chosen()).toEqual(['work.job@b'])
    await clock.pass(1000)
    // Its own word alone: nobody else counts up or down what it has at hand (E-66).
    await beat('a', { load: 0 })
    expect(await chosen()).toEqual(['work.job@a'])
    await clock.pass(staleMs - 500)
    await beat('b', { load: 99 })
    await clock.pass(600)
    expect(await chosen()).toEqual(['work.job@b'])
  })

  test('leaves out a node whose host is offline, until it answers again (E-63)', async () => {
    await beat('a')
    await beat('b', { load: 20 })
    let away = new Set(['a', 'no node'])
    const router = routerOf({ offline: async () => away })
    const [envelope] = await envelopesOf(router, [lineOf({ placement: 'balanced' })])
    expect(envelope).toMatchObject({ mailbox: 'work.job@b', routing: { excluded: { offline: 1 } } })
    away = new Set(['a', 'b'])
    await clock.pass(1000)
    expect(await mailboxesOf(router, { placement: 'balanced' })).toEqual(['work.job@a'])
    away = new Set()
    await clock.pass(1000)
    const both = await mailboxesOf(
      router,
      ...Array.from({ length: 40 }, (): Task => ({ placement: 'balanced' })),
    )
    expect(both).toContain('work.job@a')
  })

  test('goes round in turns, also when what it knows of the nodes is renewed', async () => {
    for (const id of ['a', 'b', 'c']) await beat(id)
    const router = routerOf({ strategy: 'round-robin' })
    const went: string[] = []
    for (let turn = 0; turn < 6; turn += 1) {
      went.push(...(await mailboxesOf(router, { placement: 'balanced' })))
      await clock.pass(400)
    }
    expect(went.map((mailbox) => mailbox.at(-1))).toEqual('abcabc'.split(''))
  })

  test('asks again after it could not ask', async () => {
    await beat('a')
    let isAway = true
    const router = routerOf({
      members: {
        list: (ms) => (isAway ? Promise.reject(new Error('away')) : members.list(ms)),
      },
    })
    const asking = mailboxesOf(router, { placement: 'balanced' })
    expect(await asking.catch((error: Error) => error.message)).toBe('away')
    isAway = false
    expect(await mailboxesOf(router, { placement: 'balanced' })).toEqual(['work.job@a'])
  })
})
