import { describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import {
  ConflictError,
  NotAcceptingError,
  UnavailableError,
  UsageError,
} from '../../actors/errors.ts'
import { Gatherer, type Gathering, type GatherOptions } from '../../actors/gather.ts'
import { testClock } from '../kit/clock.ts'

function begin(options: Partial<GatherOptions> = {}) {
  const clock = testClock()
  const strays: string[] = []
  const gatherer = new Gatherer<number>({
    clock,
    tell: (to, event) => to.send(event),
    stray: (correlation, source, verdict) => strays.push(`${verdict} ${correlation} ${source}`),
    ...options,
  })
  const actor: AnyActorRef = createActor(gatherer.logic, { clock: clock.timers })
  actor.start()
  gatherer.adopt(actor)
  const open = (id: string, sources: string[], timeoutMs = 1000) =>
    gatherer.open(new Map([[id, new Set(sources)]]), timeoutMs)
  return { actor, clock, gatherer, open, strays }
}

async function all(gathering: Gathering<number>) {
  return Array.fromAsync(gathering)
}

const ends = async (gathering: Gathering<number>) =>
  (await all(gathering)).filter(({ type }) => type === 'end')

describe('a set', () => {
  test('tells each result as it comes, and its end when every source has answered', async () => {
    const { gatherer, open } = begin()
    const reading = open('c', ['a', 'b'])[Symbol.asyncIterator]()
    gatherer.offer('c', 'b', 2)
    const result = { type: 'result', correlation: 'c', source: 'b', result: 2 } as const
    expect((await reading.next()).value).toEqual(result)
    gatherer.offer('c', 'a', 1)
    expect((await reading.next()).value).toMatchObject({ source: 'a', result: 1 })
    expect((await reading.next()).value).toMatchObject({ status: 'complete', missing: [] })
    expect((await reading.next()).done).toBe(true)
  })

  test('opened but not answered ends exactly at its time, partial, with what came', async () => {
    const { clock, gatherer, open } = begin()
    const gathering = open('c', ['a', 'b', 'c'])
    gatherer.offer('c', 'b', 2)
    clock.advance(999)
    expect(gatherer.stats.open).toBe(1)
    clock.advance(1)
    expect(await all(gathering)).toEqual([
      { type: 'result', correlation: 'c', source: 'b', result: 2 },
      expect.objectContaining({ status: 'partial', received: 1, missing: ['a', 'c'] }),
    ])
  })

  test('is not completed by two results of one source, and keeps the first', async () => {
    const { clock, gatherer, open } = begin()
    const gathering = open('c', ['a', 'b'])
    expect([1, 2, 3].map((n) => gatherer.offer('c', 'a', n))).toEqual([
      'taken',
      'duplicate',
      'duplicate',
    ])
    expect(gatherer.stats).toMatchObject({ open: 1, duplicates: 2 })
    clock.advance(1000)
    const parts = await all(gathering)
    expect(parts.map((part) => (part.type === 'result' ? part.result : part.status))).toEqual([
      1,
      'partial',
    ])
  })

  test('that is over is not opened again by a late result, which is told of', async () => {
    const { clock, gatherer, open, strays } = begin()
    const gathering = open('c', ['a', 'b'])
    clock.advance(1000)
    expect(gatherer.offer('c', 'a', 1)).toBe('late')
    expect(gatherer.stats).toMatchObject({ open: 0, late: 1, partial: 1 })
    expect(strays).toEqual(['late c a'])
    expect(await ends(gathering)).toHaveLength(1)
  })

  test('that is complete ends once, whatever comes after', async () => {
    const { gatherer, open } = begin()
    const gathering = open('c', ['a'])
    expect([gatherer.offer('c', 'a', 1), gatherer.offer('c', 'a', 2)]).toEqual(['taken', 'late'])
    expect(await ends(gathering)).toHaveLength(1)
    expect(gatherer.stats.complete).toBe(1)
  })

  test('that nobody opened takes nothing, and its result does not vanish', () => {
    const { gatherer, strays } = begin()
    expect(gatherer.offer('never', 'a', 1)).toBe('unknown')
    expect([strays, gatherer.stats.unknown]).toEqual([['unknown never a'], 1])
  })

  test('may bear a name again when its tombstone is gone, not before', () => {
    const { clock, gatherer, open } = begin()
    open('c', ['a'])
    expect(() => open('c', ['a'])).toThrow(ConflictError)
    gatherer.offer('c', 'a', 1)
    expect(() => open('c', ['a'])).toThrow('expected one that is not in use, got "c"')
    clock.advance(300_000)
    open('c', ['a'])
    expect(gatherer.offer('c', 'a', 1)).toBe('taken')
  })

  test('ends by its own time though one of its name had another', async () => {
    const { clock, gatherer, open } = begin({ policy: { tombstoneMs: 10 } })
    open('c', ['a'], 1000)
    gatherer.offer('c', 'a', 1)
    clock.advance(20)
    open('c', ['a'], 5000)
    clock.advance(2000)
    expect(gatherer.stats.open).toBe(1)
    clock.advance(3000)
    expect(gatherer.stats).toMatchObject({ open: 0, partial: 1 })
  })
})

describe('sets', () => {
  test('are bounded, and opened all or none', () => {
    const { gatherer, open } = begin({ policy: { setsMax: 2 } })
    open('one', ['a'])
    const two = new Map(['two', 'three'].map((id) => [id, new Set(['a'])]))
    expect(() => gatherer.open(two, 1000)).toThrow(NotAcceptingError)
    expect(() => gatherer.open(new Map([['bad', new Set<string>()]]), 1000)).toThrow(UsageError)
    expect(gatherer.stats.open).toBe(1)
  })

  test('of which thousands are complete in time leave no timer and no deadline behind', () => {
    const { clock, gatherer, open } = begin({ policy: { tombstonesMax: 100 } })
    open('last', ['a'], 60_000)
    for (let index = 0; index < 5000; index += 1) {
      open(`c-${index}`, ['a'], 60_000)
      gatherer.offer(`c-${index}`, 'a', 1)
    }
    expect(clock.armed).toBe(1)
    gatherer.offer('last', 'a', 1)
    expect([clock.armed, gatherer.stats.complete]).toEqual([0, 5001])
    // The oldest are forgotten first.
    expect([gatherer.offer('c-0', 'a', 1), gatherer.offer('c-4999', 'a', 1)]).toEqual([
      'unknown',
      'late',
    ])
  })

  test('that are open when their actor stops end partial, and no more are opened', async () => {
    const { actor, open } = begin()
    const gathering = open('c', ['a'])
    actor.send({ type: 'stop' })
    expect(await ends(gathering)).toEqual([expect.objectContaining({ status: 'partial' })])
    expect(() => open('d', ['a'])).toThrow(UnavailableError)
  })
})

describe('back-pressure', () => {
  const sources = Array.from({ length: 100 }, (_, index) => `s-${index}`)

  test('holds results back at 80 % and lets them in again at 50 %, by reading alone', async () => {
    const { actor, gatherer, open } = begin({ policy: { pendingMax: 10 } })
    const reading = open('c', sources)[Symbol.asyncIterator]()
    const verdicts = sources.slice(0, 9).map((source) => gatherer.offer('c', source, 1))
    expect(verdicts).toEqual([...Array<'taken'>(8).fill('taken'), 'held'])
    expect(actor.getSnapshot().value).toMatchObject({ gathering: { intake: 'holding' } })
    let isRoom = false
    void gatherer.room().then(() => {
      isRoom = true
    })
    for (let read = 0; read < 2; read += 1) await reading.next()
    expect([isRoom, gatherer.isHeld]).toEqual([false, true])
    await reading.next()
    expect([isRoom, gatherer.isHeld]).toEqual([true, false])
    expect(gatherer.offer('c', 's-8', 1)).toBe('taken')
    expect(gatherer.stats.pressures).toBe(1)
  })

  test('ends with the set whose results nobody reads: it does not hold back the others', () => {
    const { clock, gatherer, open } = begin({ policy: { pendingMax: 10 } })
    open('idle', sources)
    for (const source of sources.slice(0, 8)) gatherer.offer('idle', source, 1)
    open('other', ['a'], 5000)
    expect(gatherer.offer('other', 'a', 1)).toBe('held')
    clock.advance(1000)
    expect(gatherer.offer('other', 'a', 1)).toBe('taken')
    expect(gatherer.stats.pending).toBe(0)
  })

  test('ends when the reader leaves, and so do his sets', async () => {
    const { gatherer, open } = begin({ policy: { pendingMax: 10 } })
    const gathering = open('c', sources)
    for (const source of sources.slice(0, 8)) gatherer.offer('c', source, 1)
    for await (const _ of gathering) break
    expect(gatherer.stats).toMatchObject({ open: 0, pending: 0 })
    expect(gatherer.isHeld).toBe(false)
  })
})
