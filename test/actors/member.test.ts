import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { UnavailableError } from '../../actors/errors.ts'
import { type MemberOptions, member } from '../../actors/member.ts'
import { DisplacedError, LiveTwinError } from '../../actors/membership.ts'
import type { Member, Members } from '../../actors/ports-fleet.ts'
import { supervisor } from '../../actors/supervisor.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import { memoryMembers } from '../../runtime/memory/members.ts'
import { memberOf } from '../conformance/members.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { memoryWorld, type World } from './world.ts'

const heartbeatMs = 10_000
const staleMs = 30_000

let clock: TestClock
let world: World
/** Who is there, for everybody. */
let shared: Members
/** Beats as they arrive: milliseconds since the beginning, boot and state. */
let heard: string[]
/** The connection of the node under test. */
let link: { isAway: boolean; held?: Promise<void> }

beforeEach(() => {
  clock = testClock()
  world = memoryWorld(clock)
  shared = memoryMembers(() => clock.now())
  heard = []
  link = { isAway: false }
})

afterEach(async () => {
  link = { isAway: false }
  const closed = world.close()
  await clock.pass(60_000)
  await closed
})

const members = (): Members => {
  const reach = async () => {
    await link.held
    if (link.isAway) throw new UnavailableError('Redis did not answer within 2000 ms')
  }
  return {
    ...shared,
    async beat(said, options) {
      await reach()
      await shared.beat(said, options)
      heard.push(`${clock.monotonic()} ${said.boot} ${said.state}`)
    },
    async leave(id, boot) {
      await reach()
      await shared.leave(id, boot)
      heard.push(`${clock.monotonic()} ${boot} leaves`)
    },
  }
}

const optionsOf = (boot: string, over: Partial<MemberOptions> = {}): MemberOptions => ({
  members: members(),
  describe: () => memberOf('a', boot),
  heartbeatMs,
  staleMs,
  clock,
  log: world.log,
  ...over,
})

const begin = (boot = 'a1', over: Partial<MemberOptions> = {}) =>
  world.begin(member(optionsOf(boot, over)), clock.timers)

const lifeOf = ({ actor }: ReturnType<typeof begin>) =>
  (actor.getSnapshot() as { value: { life: string } }).value.life

const there = async () => (await shared.list(staleMs)).map(({ boot, state }) => `${boot} ${state}`)

describe('a member', () => {
  test('joins, is alive as soon as it was heard, and says so again every heartbeat', async () => {
    const life = begin()
    await clock.settle()
    expect(lifeOf(life)).toBe('alive')
    await life.ready()
    await clock.pass(25_000)
    expect(heard).toEqual(['0 a1 joining', '0 a1 alive', '10000 a1 alive', '20000 a1 alive'])
    expect(await there()).toEqual(['a1 alive'])
  })

  test('describes itself anew at each beat', async () => {
    let load = 0
    begin('a1', { describe: () => memberOf('a', 'a1', { load, holders: [`h${load}`] }) })
    await clock.settle()
    load = 5
    await clock.pass(heartbeatMs)
    expect(await shared.list(staleMs)).toMatchObject([{ load: 5, holders: ['h5'] }])
  })

  test('is ready only when it was heard', async () => {
    link.isAway = true
    const life = begin()
    await clock.pass(25_000)
    expect([lifeOf(life), heard, life.errors]).toEqual(['joining', [], []])
    link.isAway = false
    await clock.pass(5000)
    expect(lifeOf(life)).toBe('alive')
    expect(heard).toEqual(['30000 a1 joining', '30000 a1 alive'])
  })

  test('stays what it is while Redis is away, and is the same life afterwards', async () => {
    const life = begin()
    await clock.settle()
    link.isAway = true
    await clock.pass(45_000)
    expect(await there()).toEqual(['a1 dead'])
    expect([lifeOf(life), life.errors]).toEqual(['alive', []])
    link.isAway = false
    await clock.pass(5000)
    expect(await there()).toEqual(['a1 alive'])
    expect(heard).toEqual(['0 a1 joining', '0 a1 alive', '50000 a1 alive'])
    const told = world.logged.map(({ level, fields }) => [level, fields['code'], fields['awayMs']])
    expect(told).toEqual([
      ['warn', 'UNAVAILABLE', undefined],
      ['info', undefined, 40_000],
    ])
  })

  test('is not started again by its supervisor while Redis is away', async () => {
    const root = supervisor({
      id: 'root',
      policy: defaultPolicy,
      children: [{ id: 'member', spec: () => member(optionsOf('a1')) }],
      clock: { ...clock },
      random: () => 0.5,
      tell: world.tell,
      log: world.log,
    })
    const life = world.begin(root, clock.timers)
    await clock.settle()
    link.isAway = true
    await clock.pass(100_000)
    const { context } = life.actor.getSnapshot() as { context: { children: unknown[] } }
    expect(context.children).toMatchObject([{ status: 'ready', restarts: 0 }])
  })

  test('is heard again at once when the connection is back', async () => {
    const life = begin()
    await clock.settle()
    life.actor.send({ type: 'connection.back' })
    link.isAway = true
    await clock.pass(12_000)
    link.isAway = false
    life.actor.send({ type: 'connection.back' })
    await clock.settle()
    // Who was heard last time has nothing to make up for.
    expect(heard).toEqual(['0 a1 joining', '0 a1 alive', '12000 a1 alive'])
  })

  test('tells its news at once, and goes on at its pace', async () => {
    let load = 0
    const life = begin('a1', { describe: () => memberOf('a', 'a1', { load }) })
    await clock.pass(3000)
    load = 7
    life.actor.send({ type: 'news' })
    await clock.settle()
    expect(await shared.list(staleMs)).toMatchObject([{ load: 7 }])
    await clock.pass(heartbeatMs)
    expect(heard.slice(2)).toEqual(['3000 a1 alive', '13000 a1 alive'])
  })

  test('tells once more what became news while it was telling', async () => {
    let load = 0
    const life = begin('a1', { describe: () => memberOf('a', 'a1', { load }) })
    await clock.pass(3000)
    load = 7
    life.actor.send({ type: 'news' })
    load = 8
    life.actor.send({ type: 'news' })
    await clock.settle()
    expect(await shared.list(staleMs)).toMatchObject([{ load: 8 }])
    expect(heard.slice(2)).toEqual(['3000 a1 alive', '3000 a1 alive'])
  })

  test('tells at once that it drains', async () => {
    const life = begin()
    await clock.pass(3000)
    life.actor.send({ type: 'drain' })
    await clock.settle()
    expect(await there()).toEqual(['a1 draining'])
    expect(life.actor.getSnapshot().hasTag('ready')).toBe(true)
    await clock.pass(heartbeatMs)
    expect(heard.slice(2)).toEqual(['3000 a1 draining', '13000 a1 draining'])
  })

  test('that is to drain while a beat is under way tells it with the next, at once', async () => {
    const life = begin()
    await clock.settle()
    const held = Promise.withResolvers<void>()
    link.held = held.promise
    await clock.pass(heartbeatMs)
    life.actor.send({ type: 'drain' })
    await clock.pass(1000)
    held.resolve()
    await clock.settle()
    expect(heard.slice(2)).toEqual(['11000 a1 alive', '11000 a1 draining'])
  })

  test('that is to drain before it was ever heard is never alive', async () => {
    link.isAway = true
    const life = begin()
    await clock.settle()
    link.isAway = false
    life.actor.send({ type: 'drain' })
    await clock.settle()
    expect(heard).toEqual(['0 a1 draining'])
    expect(lifeOf(life)).toBe('draining')
  })

  test('leaves when it stops, and is not there any more', async () => {
    const life = begin()
    await clock.settle()
    await life.stop()
    expect(await there()).toEqual([])
    expect(clock.armed).toBe(0)
    expect(heard.at(-1)).toBe('0 a1 leaves')
  })

  test('leaves after the beat that is under way, however long that takes', async () => {
    const held = Promise.withResolvers<void>()
    link.held = held.promise
    const life = begin()
    await clock.settle()
    const stopped = life.stop()
    await clock.pass(5000)
    held.resolve()
    await stopped
    expect(heard).toEqual(['5000 a1 joining', '5000 a1 leaves'])
    expect(await there()).toEqual([])
  })

  test('that cannot say farewell stops all the same, and says so', async () => {
    const life = begin()
    await clock.settle()
    link.isAway = true
    await life.stop()
    expect(life.errors).toEqual([])
    expect(world.logged).toMatchObject([{ level: 'warn', fields: { code: 'UNAVAILABLE' } }])
    expect(await there()).toEqual(['a1 alive'])
  })
})

describe('a member of the same name', () => {
  const refusalOf = async (life: ReturnType<typeof begin>): Promise<unknown> => {
    await clock.settle()
    expect(life.actor.getSnapshot().status).toBe('error')
    return life.errors[0]
  }

  test('is refused while the first lives', async () => {
    begin('a1')
    await clock.settle()
    const error = await refusalOf(begin('a2', { isGone: () => false }))
    expect(error).toBeInstanceOf(LiveTwinError)
    expect(error).toMatchObject({ code: 'LIVE_TWIN', fault: 'fatal' })
    expect(await there()).toEqual(['a1 alive'])
  })

  test('takes over at once when the process of the first has ended', async () => {
    await shared.beat(memberOf('a', 'a1'), { staleMs })
    const life = begin('a2', { isGone: ({ pid }) => pid === memberOf('a', 'a1').pid })
    await clock.settle()
    expect(lifeOf(life)).toBe('alive')
    expect(await there()).toEqual(['a2 alive', 'a1 dead'])
  })

  test('takes over when the first is stale, which ends when it is heard', async () => {
    const first = begin('a1')
    await clock.settle()
    link.isAway = true
    await clock.pass(31_000)
    link.isAway = false
    const second = begin('a2')
    await clock.settle()
    expect(lifeOf(second)).toBe('alive')
    await clock.pass(heartbeatMs)
    const error = await refusalOf(first)
    expect(error).toBeInstanceOf(DisplacedError)
    expect(error).toMatchObject({ code: 'DISPLACED', fault: 'fatal' })
    expect(await there()).toEqual(['a2 alive', 'a1 dead'])
  })

  test('that was swept ends, and its node with it, whatever it was doing', async () => {
    const life = begin('a1')
    await clock.settle()
    link.isAway = true
    await clock.pass(31_000)
    expect(await shared.forget('a', 'a1', staleMs)).toBe(true)
    link.isAway = false
    life.actor.send({ type: 'drain' })
    expect(await refusalOf(life)).toMatchObject({ code: 'DISPLACED', fault: 'fatal' })
  })

  test('an error that is no outage ends it', async () => {
    const broken = new TypeError('describe is broken')
    const describeBroken = (): Member => {
      throw broken
    }
    expect(await refusalOf(begin('a1', { describe: describeBroken }))).toBe(broken)
  })
})
