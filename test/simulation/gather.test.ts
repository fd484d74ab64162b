/**
 * Gathering under seeded faults: answers are lost, doubled, late, and from strangers; readers are
 * slow, or leave. Whatever happens, every set ends once, in time, and says the truth.
 */
import { describe, expect, test } from 'bun:test'
import { createActor } from 'xstate'
import { Gatherer, type Gathering } from '../../actors/gather.ts'
import { testClock } from '../kit/clock.ts'
import { type Random, seededRandom, testSeed } from '../kit/random.ts'

const rounds = 40

interface Expectation {
  sources: Set<string>
  /** Sources of which an answer was taken. */
  answered: Set<string>
  openedAt: number
  timeoutMs: number
}

async function simulate(random: Random): Promise<void> {
  const clock = testClock()
  const strays: string[] = []
  const gatherer = new Gatherer<string>({
    clock,
    tell: (to, event) => to.send(event),
    stray: (correlation) => strays.push(correlation),
    policy: { pendingMax: random.integer(5, 200) },
  })
  const actor = createActor(gatherer.logic, { clock: clock.timers })
  actor.start()
  gatherer.adopt(actor)

  const truth = new Map<string, Expectation>()
  const ended = new Map<string, { status: string; missing: string[]; at: number }>()
  const told = new Map<string, string[]>()
  const readers: Promise<void>[] = []

  const read = async (gathering: Gathering<string>, paceMs: number, readMax: number) => {
    let count = 0
    for await (const part of gathering) {
      if (part.type === 'end') {
        expect(ended.has(part.correlation)).toBe(false)
        ended.set(part.correlation, { ...part, at: clock.monotonic() })
      } else told.set(part.correlation, [...(told.get(part.correlation) ?? []), part.source])
      count += 1
      if (count >= readMax) return
      if (paceMs > 0) await clock.wait(paceMs)
    }
  }

  const answer = async (id: string, source: string, afterMs: number) => {
    await clock.wait(afterMs)
    const known = truth.get(id)
    let verdict = gatherer.offer(id, source, `${id} ${source}`)
    while (verdict === 'held') {
      await gatherer.room()
      verdict = gatherer.offer(id, source, `${id} ${source}`)
    }
    const isLate = clock.monotonic() - (known?.openedAt ?? 0) > (known?.timeoutMs ?? 0)
    if (verdict === 'taken') {
      expect(isLate).toBe(false)
      expect(known?.sources.has(source)).toBe(true)
      known?.answered.add(source)
    }
  }

  const left = new Set<string>()
  const answers: Promise<void>[] = []
  for (let set = 0; set < 60; set += 1) {
    const id = `c-${set}`
    const timeoutMs = random.integer(50, 2000)
    const sources = Array.from({ length: random.integer(1, 30) }, (_, index) => `s-${index}`)
    const wanted = new Map([[id, new Set(sources)]])
    truth.set(id, {
      sources: new Set(sources),
      answered: new Set(),
      openedAt: clock.monotonic(),
      timeoutMs,
    })
    const gathering = gatherer.open(wanted, timeoutMs)
    const isLeaving = random.chance(0.1)
    if (isLeaving) left.add(id)
    const readMax = isLeaving ? random.integer(1, 5) : Number.POSITIVE_INFINITY
    readers.push(read(gathering, random.chance(0.3) ? random.integer(1, 50) : 0, readMax))
    for (const source of [...sources, 'stranger']) {
      if (random.chance(0.1)) continue
      const times = random.chance(0.2) ? 2 : 1
      for (let time = 0; time < times; time += 1) {
        answers.push(answer(id, source, random.integer(1, 1500)))
      }
    }
    await clock.pass(random.integer(0, 100))
  }
  await clock.pass(120_000)
  await Promise.all([...readers, ...answers])

  for (const [id, { sources, answered }] of truth) {
    if (left.has(id)) continue
    const missing = [...sources].filter((source) => !answered.has(source))
    expect(ended.get(id)).toMatchObject({
      status: missing.length === 0 ? 'complete' : 'partial',
      missing,
    })
    expect((told.get(id) ?? []).toSorted()).toEqual([...answered].toSorted())
  }
  const { stats } = gatherer
  expect(stats).toMatchObject({ open: 0, pending: 0, unknown: 0 })
  expect(stats.complete + stats.partial).toBe(truth.size)
  expect(stats.late).toBe(strays.length)
  expect([gatherer.isHeld, clock.armed]).toEqual([false, 0])
}

describe('gathering under faults', () => {
  const seed = testSeed()
  test.each(Array.from({ length: rounds }, (_, round) => seed + round))(
    'ends every set once and truly (seed %i)',
    async (each) => simulate(seededRandom(each)),
  )
})
