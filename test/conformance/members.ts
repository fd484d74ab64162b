/** What every implementation of the members port must do. */
import { beforeEach, describe, expect, test } from 'bun:test'
import { UnavailableError } from '../../actors/errors.ts'
import { DisplacedError, deadListedMs, LiveTwinError } from '../../actors/membership.ts'
import type { Member, MemberRecord, Members, NodeRequest } from '../../actors/ports-fleet.ts'
import { faultOf } from '../../actors/supervisor.ts'
import { eventually } from '../kit/eventually.ts'

/** Members nobody knows yet, and a way to let time pass for them. */
export interface OpenedMembers {
  members: Members
  pass(ms: number): Promise<void>
}
export type OpenMembers = () => Promise<OpenedMembers>

const staleMs = 30_000

export function memberOf(id: string, boot: string, over: Partial<Member> = {}): Member {
  return {
    id,
    boot,
    host: 'h1',
    pid: 100,
    url: 'http://h1:7070',
    roles: ['worker'],
    labels: { zone: 'ä "b"' },
    kinds: ['exec', 'noop'],
    version: '1.2.3',
    startedAt: 5,
    load: 3,
    state: 'alive',
    holders: [`${id}:${boot}`],
    ...over,
  }
}

/** What a promise is rejected with. */
export async function refusalOf(promise: Promise<unknown>): Promise<unknown> {
  const nothing = Symbol('nothing')
  const refusal = await promise.then(
    () => nothing,
    (error: unknown) => error,
  )
  if (refusal === nothing) throw new Error('expected it to be refused')
  return refusal
}

export function membersConformance(open: OpenMembers): void {
  let members: Members
  let pass: OpenedMembers['pass']
  beforeEach(async () => {
    ;({ members, pass } = await open())
  })

  const beat = (id: string, boot: string, over: Partial<Member> = {}) =>
    members.beat(memberOf(id, boot, over), { staleMs })
  const statesOf = async () =>
    (await members.list(staleMs)).map(({ id, boot, state }) => `${id} ${boot} ${state}`)

  describe('who is there', () => {
    test('is listed as it describes itself, by id', async () => {
      await beat('b', 'b1')
      const { url: _, ...silent } = memberOf('a', 'a1', { state: 'joining' })
      await members.beat(silent, { staleMs })
      const [first, second, ...more] = await members.list(staleMs)
      expect(first).toEqual({ ...silent, lastSeen: expect.any(Number) })
      expect(second).toEqual({ ...memberOf('b', 'b1'), lastSeen: expect.any(Number) })
      expect(more).toEqual([])
    })

    test('is what its last beat says', async () => {
      await beat('a', 'a1', { state: 'joining', load: 0 })
      const before = await members.list(staleMs)
      await pass(1000)
      await beat('a', 'a1', { state: 'draining', load: 7 })
      const after = await members.list(staleMs)
      expect(after).toMatchObject([{ state: 'draining', load: 7 }])
      expect(after[0]?.lastSeen).toBeGreaterThanOrEqual(before[0]?.lastSeen ?? Number.NaN)
    })

    test('is suspect after half the time of silence, dead after the whole, and back', async () => {
      await beat('a', 'a1')
      await pass(13_000)
      expect(await statesOf()).toEqual(['a a1 alive'])
      await pass(4000)
      expect(await statesOf()).toEqual(['a a1 suspect'])
      await pass(11_000)
      expect(await statesOf()).toEqual(['a a1 suspect'])
      await pass(4000)
      expect(await statesOf()).toEqual(['a a1 dead'])
      await beat('a', 'a1')
      expect(await statesOf()).toEqual(['a a1 alive'])
    })

    test('is gone when it leaves, and dead only when it does not', async () => {
      await beat('a', 'a1')
      await beat('b', 'b1')
      await members.leave('a', 'a1')
      await members.leave('x', 'x1')
      expect(await statesOf()).toEqual(['b b1 alive'])
      await beat('a', 'a2')
      expect(await statesOf()).toEqual(['a a2 alive', 'b b1 alive'])
    })

    test('vanishes when it has been dead for an hour', async () => {
      await beat('a', 'a1')
      await pass(staleMs + deadListedMs - 60_000)
      expect(await statesOf()).toEqual(['a a1 dead'])
      await pass(61_000)
      expect(await statesOf()).toEqual([])
      await beat('b', 'b1')
      await beat('a', 'a1')
      expect(await statesOf()).toEqual(['a a1 alive', 'b b1 alive'])
    })
  })

  describe('a twin', () => {
    test('that lives is named, with what to do, and nothing changes', async () => {
      await beat('a', 'a1', { pid: 4711, host: 'there', url: 'http://there:1' })
      const error = await refusalOf(beat('a', 'a2'))
      expect(error).toBeInstanceOf(LiveTwinError)
      expect(error).toMatchObject({ code: 'LIVE_TWIN', twin: { boot: 'a1', state: 'alive' } })
      const { message } = error as LiveTwinError
      for (const word of ['pid 4711', 'host there', 'http://there:1', '--node-id']) {
        expect(message).toContain(word)
      }
      expect(faultOf(error)).toBe('fatal')
      await beat('a', 'a1')
      expect(await statesOf()).toEqual(['a a1 alive'])
    })

    test('that is suspect still lives', async () => {
      await beat('a', 'a1')
      await pass(20_000)
      const error = await refusalOf(beat('a', 'a2'))
      expect(error).toMatchObject({ code: 'LIVE_TWIN', twin: { state: 'suspect' } })
    })

    test('that is stale is displaced, stays listed, and has to end', async () => {
      await beat('a', 'a1')
      await pass(31_000)
      await beat('a', 'a2', { pid: 4711 })
      const listed = await members.list(staleMs)
      expect(listed).toMatchObject([
        { boot: 'a2', state: 'alive' },
        { boot: 'a1', state: 'dead', holders: ['a:a1'] },
      ])
      const error = await refusalOf(beat('a', 'a1'))
      expect(error).toBeInstanceOf(DisplacedError)
      expect(error).toMatchObject({ code: 'DISPLACED' })
      expect((error as Error).message).toContain('pid 4711')
      expect(faultOf(error)).toBe('fatal')
      expect(await statesOf()).toEqual(['a a2 alive', 'a a1 dead'])
    })

    test('whose process has ended is displaced at once', async () => {
      await beat('a', 'a1', { pid: 4711 })
      const asked: MemberRecord[] = []
      const isGone = (twin: MemberRecord) => asked.push(twin) > 0
      await members.beat(memberOf('a', 'a2'), { staleMs, isGone })
      expect(asked).toMatchObject([{ id: 'a', boot: 'a1', pid: 4711, state: 'alive' }])
      expect(await statesOf()).toEqual(['a a2 alive', 'a a1 dead'])
      expect(await refusalOf(beat('a', 'a1'))).toMatchObject({ code: 'DISPLACED' })
      await members.leave('a', 'a2')
      await beat('a', 'a3')
      expect(await statesOf()).toEqual(['a a3 alive', 'a a1 dead'])
    })

    test('is not asked about when there is none, or when it is stale', async () => {
      const isGone = () => {
        throw new Error('asked')
      }
      await members.beat(memberOf('a', 'a1'), { staleMs, isGone })
      await members.beat(memberOf('a', 'a1'), { staleMs, isGone })
      await pass(31_000)
      await members.beat(memberOf('a', 'a2'), { staleMs, isGone })
      expect(await statesOf()).toEqual(['a a2 alive', 'a a1 dead'])
    })

    test('of ten that find the old one ended, one takes over', async () => {
      await beat('a', 'a0')
      const isGone = ({ boot }: MemberRecord) => boot === 'a0'
      const boots = Array.from({ length: 10 }, (_, index) => `a${index + 1}`)
      const beats = await Promise.allSettled(
        boots.map((boot) => members.beat(memberOf('a', boot), { staleMs, isGone })),
      )
      expect(beats.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      const states = await statesOf()
      expect(states.filter((state) => state.endsWith('alive'))).toHaveLength(1)
      expect(states).toContain('a a0 dead')
      expect(states).toHaveLength(2)
    })
  })

  describe('a dead boot', () => {
    test('is swept by exactly one, and stays listed', async () => {
      await beat('a', 'a1')
      await pass(31_000)
      const swept = await Promise.all(
        Array.from({ length: 10 }, () => members.forget('a', 'a1', staleMs)),
      )
      expect(swept.filter(Boolean)).toHaveLength(1)
      expect(await members.list(staleMs)).toMatchObject([
        { boot: 'a1', state: 'dead', swept: true },
      ])
    })

    test('that is swept has to end, and its name is free', async () => {
      await beat('a', 'a1')
      await pass(31_000)
      await members.forget('a', 'a1', staleMs)
      const error = await refusalOf(beat('a', 'a1'))
      expect(error).toMatchObject({ code: 'DISPLACED' })
      expect((error as Error).message).toContain('silent for too long')
      await members.leave('a', 'a1')
      await beat('a', 'a2')
      expect(await statesOf()).toEqual(['a a2 alive', 'a a1 dead'])
    })

    test('is swept as well when it was displaced while it was still heard of', async () => {
      await beat('a', 'a1')
      await members.beat(memberOf('a', 'a2'), { staleMs, isGone: () => true })
      expect(await members.forget('a', 'a1', staleMs)).toBe(true)
      expect(await members.forget('a', 'a1', staleMs)).toBe(false)
      await beat('a', 'a2')
      expect(await statesOf()).toEqual(['a a2 alive', 'a a1 dead'])
    })

    test('that was heard of meanwhile is not swept, nor is one nobody knows', async () => {
      await beat('a', 'a1')
      await pass(31_000)
      await beat('a', 'a1')
      expect(await members.forget('a', 'a1', staleMs)).toBe(false)
      expect(await members.forget('x', 'x1', staleMs)).toBe(false)
      await beat('a', 'a1')
      expect(await statesOf()).toEqual(['a a1 alive'])
    })
  })

  describe('a boot that is asked for something', () => {
    const request: NodeRequest = { type: 'drain', reason: 'ä "b"\n' }

    test('hears it whole, and so does nobody else', async () => {
      const heard: string[] = []
      const listenAs = (id: string, boot: string) =>
        members.onAsked(id, boot, (asked) => {
          heard.push(`${id} ${boot} ${asked.type} ${asked.reason}`)
        })
      const listening = await Promise.all([
        listenAs('a', 'a1'),
        listenAs('a', 'a2'),
        listenAs('b', 'a1'),
      ])
      expect(await members.ask('a', 'a2', request)).toBe(true)
      expect(await members.ask('b', 'a1', { ...request, reason: 'last' })).toBe(true)
      await eventually(() => expect(heard).toContain('b a1 drain last'))
      expect(heard.sort()).toEqual([`a a2 drain ${request.reason}`, 'b a1 drain last'])
      await Promise.all(listening.map((unlisten) => unlisten()))
    })

    test('and does not listen is told apart, and hears nothing later', async () => {
      const heard: NodeRequest[] = []
      const listen = () => members.onAsked('a', 'a1', (asked) => heard.push(asked))
      expect(await members.ask('a', 'a1', request)).toBe(false)
      const unlisten = await listen()
      await unlisten()
      expect(await members.ask('a', 'a1', { ...request, reason: 'second' })).toBe(false)
      const unlistenAgain = await listen()
      expect(await members.ask('a', 'a1', { ...request, reason: 'third' })).toBe(true)
      await eventually(() => expect(heard).toEqual([{ ...request, reason: 'third' }]))
      await unlistenAgain()
    })
  })

  test('ids with spaces do not get mixed up', async () => {
    await beat('a', 'b')
    await beat('a b', 'c')
    await beat('a b c', 'd')
    await members.leave('a b', 'c')
    await pass(staleMs + deadListedMs + 1000)
    await beat('a', 'x')
    await beat('a b c', 'x')
    expect(await statesOf()).toEqual(['a x alive', 'a b c x alive'])
  })

  test('what it refuses is never taken for an outage', async () => {
    await beat('a', 'a1')
    expect(await refusalOf(beat('a', 'a2'))).not.toBeInstanceOf(UnavailableError)
  })
}
