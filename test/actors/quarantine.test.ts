/** A task is condemned for what it did while nothing else ran, and for nothing else. */
import { afterEach, describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, constantFrom, integer, record } from 'fast-check'
import { AtHand } from '../../actors/at-hand.ts'
import type { Kind } from '../../actors/kind.ts'
import { Quarantine, Stay } from '../../actors/quarantine.ts'
import { systemClock } from '../../runtime/clock.ts'
import { testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { beginWorker, isEmpty, jobs, resultsOf } from './working.ts'
import { dispatch, kindOf, memoryWorld, ok, packLimits, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(over: Partial<World> = {}): World {
  const world = { ...memoryWorld(), ...over }
  worlds.push(world)
  return world
}

const never = () => new Promise<never>(() => {})
const oneEach = { ...packLimits, tasksMax: 1 }

/** Tasks that take as long as the test says, and who of them runs now, with whom, how often. */
class Stage {
  life = 0
  readonly runs = new Map<number, number>()
  readonly running = new Set<number>()
  /** How many ran at a time in each life, at most. */
  readonly together: number[] = []

  kind(run: (seq: number) => Promise<void>): Kind {
    return kindOf('job', async (_, { seq, signal }) => {
      this.runs.set(seq, (this.runs.get(seq) ?? 0) + 1)
      this.running.add(seq)
      // As its process is: a task that was killed runs no more.
      signal.addEventListener('abort', () => this.running.delete(seq))
      this.together[this.life] = Math.max(this.together[this.life] ?? 0, this.running.size)
      await run(seq)
      this.running.delete(seq)
      return ok
    })
  }

  begin(world: World, kind: Kind): void {
    this.life += 1
    beginWorker(world, kind)
  }
}

describe('tasks whose process only lost its locks', () => {
  test('are run again, and three times that is taken for a death', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const stage = new Stage()
    let isSlow = true
    const kind = stage.kind(async () => {
      if (isSlow) await never()
    })
    await dispatch(world, 'r-1', jobs(1), oneEach)
    // The first time nothing is noted; then twice three times, less one.
    for (const lost of [1, 2, 3, 4, 5, 6]) {
      stage.begin(world, kind)
      await eventually(() => expect(stage.runs.get(0)).toBe(lost))
      await world.loseLocks()
    }
    isSlow = false
    stage.begin(world, kind)
    expect((await resultsOf(bodies, 1)).map(({ code }) => code)).toEqual([1])
  })

  test('are condemned all the same, when that goes on', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const stage = new Stage()
    const kind = stage.kind(never)
    await dispatch(world, 'r-1', jobs(1), oneEach)
    for (const lost of [1, 2, 3, 4, 5, 6, 7]) {
      stage.begin(world, kind)
      await eventually(() => expect(stage.runs.get(0)).toBe(lost))
      await world.loseLocks()
    }
    stage.begin(world, kind)
    expect((await resultsOf(bodies, 1)).map(({ code }) => code)).toEqual([6])
  })
})

describe('tasks that ran when their process died', () => {
  test('run alone from then on, and only the one that kills it then is condemned', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const stage = new Stage()
    const killer = 2
    const kind = stage.kind(async (seq) => {
      await systemClock.breathe()
      // They are so slow that each death finds them running, unless they are alone.
      if (seq === killer || stage.running.size > 1) await never()
    })
    await dispatch(world, 'r-1', jobs(4), oneEach)
    for (const killed of [1, 2, 3]) {
      stage.begin(world, kind)
      await eventually(() => {
        expect(stage.runs.get(killer)).toBe(killed)
        if (killed < 3) expect(stage.running.size).toBe(4)
      })
      await world.kill()
      stage.running.clear()
    }
    stage.begin(world, kind)
    const results = await resultsOf(bodies, 4)
    expect(results.map(({ code }) => code)).toEqual([1, 1, 6, 1])
    expect(results[killer]?.result.error?.code).toBe('POISON')
    expect(stage.runs.get(killer)).toBe(3)
    expect(stage.together.slice(1, 4)).toEqual([4, 4, 1])
    await isEmpty(world)
  })

  test('let others in again when they have ended', async () => {
    const told: boolean[] = []
    const world = makeWorld({ quarantine: new Quarantine((is) => told.push(is)) })
    const bodies = await world.settled()
    const stage = new Stage()
    const gate = Promise.withResolvers<void>()
    const kind = stage.kind(async (seq) => {
      if (stage.life < 3) await never()
      if (seq === 0) await gate.promise
    })
    await dispatch(world, 'r-1', jobs(1))
    for (const _ of [1, 2]) {
      stage.begin(world, kind)
      await eventually(() => expect(stage.running.size).toBe(1))
      await world.kill()
      stage.running.clear()
    }
    stage.begin(world, kind)
    await eventually(() => expect(stage.runs.get(0)).toBe(3))
    await dispatch(world, 'r-2', jobs(3), oneEach)
    await eventually(async () => {
      expect((await world.mailboxes.depth('work.job')).active).toBe(4)
    })
    expect(stage.running.size).toBe(1)
    gate.resolve()
    expect((await resultsOf(bodies, 4)).map(({ code }) => code)).toEqual([1, 1, 1, 1])
    await isEmpty(world)
    // One that comes back for the first time is suspect as well: its second life was marked.
    expect(told).toEqual([true, false, true, false])
  })

  test('are not blamed for what a draining node takes away from them', async () => {
    const world = makeWorld()
    const bodies = await world.settled()
    const stage = new Stage()
    const kind = stage.kind(async () => {
      if (stage.life < 6) await never()
    })
    await dispatch(world, 'r-1', jobs(1))
    for (let life = 1; life < 6; life += 1) {
      const drain = new AbortController()
      stage.life = life
      beginWorker(world, kind, { drain: drain.signal })
      await eventually(() => expect(stage.runs.get(0)).toBe(life))
      drain.abort()
      await world.kill()
    }
    stage.begin(world, kind)
    expect((await resultsOf(bodies, 1)).map(({ code }) => code)).toEqual([1])
  })
})

describe('a quarantine', () => {
  const visit = record({
    as: constantFrom<readonly ('together' | 'alone')[]>(
      ['together'],
      ['together', 'alone'],
      ['together', 'alone', 'together'],
      ['together', 'alone', 'alone'],
      ['alone'],
    ),
    arrivesAfter: integer({ min: 0, max: 5 }),
    stays: integer({ min: 0, max: 4 }),
    isTaken: constantFrom(false, false, false, true),
  })

  test('lets everybody in, in the end, and nobody beside who is to be alone', async () => {
    await assert(
      asyncProperty(array(visit, { maxLength: 12 }), async (visits) => {
        const clock = testClock()
        const told: boolean[] = []
        const quarantine = new Quarantine((is) => told.push(is))
        const inHand = new AtHand({ clock, onOverdue: () => undefined })
        const inside = new Set<{ as: string }>()
        let left = 0
        const come = async ({ as, arrivesAfter, stays, isTaken }: (typeof visits)[number]) => {
          const turns = async (count: number) => {
            for (let turn = 0; turn < count; turn += 1) await systemClock.breathe()
          }
          await turns(arrivesAfter)
          const taken = new AbortController()
          const stay = new Stay(quarantine, inHand.begin('m', 60_000), taken.signal)
          if (isTaken) void turns(stays).then(() => taken.abort())
          for (const how of as) {
            await stay[how]()
            if (how === 'alone') stay.suspect()
            if (taken.signal.aborted) break
            const place = { as: how }
            inside.add(place)
            taken.signal.addEventListener('abort', () => inside.delete(place))
            const alone = [...inside].filter((one) => one.as === 'alone')
            expect(alone.length === 0 || inside.size === 1).toBe(true)
            await turns(stays)
            inside.delete(place)
          }
          stay.end()
          left += 1
        }
        await Promise.all(visits.map(come))
        expect([left, inside.size]).toEqual([visits.length, 0])
        // Whoever comes now finds it empty, and every suspicion is over.
        expect(quarantine.share()).toBeUndefined()
        expect(told.length % 2).toBe(0)
      }),
      { numRuns: 100 },
    )
  })
})
