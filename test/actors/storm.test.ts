import { afterEach, describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { NotAcceptingError } from '../../actors/errors.ts'
import type { MailboxDepth } from '../../actors/ports.ts'
import type { WindowsReading } from '../../actors/ports-escalations.ts'
import { Storm } from '../../actors/storm.ts'
import { stormPolicyFor } from '../../machines/storm.ts'
import { Telemetry } from '../../runtime/telemetry/telemetry.ts'
import { testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, sourceOf } from './feed.ts'
import { memoryWorld, taskOf, type World } from './world.ts'

const worlds: World[] = []
const living: AnyActorRef[] = []
afterEach(async () => {
  for (const actor of living.splice(0)) actor.stop()
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

/** So many results in each bucket of the window. */
function reading(each: number): WindowsReading {
  const counts = Array.from({ length: 12 }, () => each)
  return { at: 0, windows: new Map([['results', counts]]), escalations: new Map() }
}

function begin() {
  const clock = testClock()
  const logged: unknown[] = []
  const say = (fields: Record<string, unknown>) => void logged.push(fields['isStorm'])
  const log = { debug() {}, info() {}, warn: say, error() {} }
  let depth: () => Promise<MailboxDepth> = async () => ({ waiting: 0, active: 0, delayed: 0 })
  const storm = new Storm({
    policy: stormPolicyFor(256),
    places: 256,
    shape: { windowMs: 60_000, buckets: 12 },
    mailboxes: () => ({ depth: () => depth() }),
    clock,
    tell: new DeadLetters({ clock, log }).tell,
    log,
  })
  const { logic, input } = storm.spec()
  const actor = createActor(logic, { input }).start() as AnyActorRef
  living.push(actor)
  return {
    clock,
    storm,
    logged,
    waiting: (waiting: number) => {
      depth = async () => ({ waiting, active: 0, delayed: 0 })
    },
    answer: (answer: () => Promise<MailboxDepth>) => {
      depth = answer
    },
    /** A look each second, with so many results a second. */
    async look(seconds: number, rate: number) {
      for (let second = 0; second < seconds; second += 1) {
        await storm.sample(reading(rate * 5))
        await clock.pass(1000)
      }
    },
  }
}

describe('storm mode', () => {
  test('is told when it begins, and when it has been calm for long enough', async () => {
    const it = begin()
    const heard: boolean[] = []
    const unwatch = it.storm.watch(() => heard.push(it.storm.isStorm))
    await it.look(5, 20)
    expect(heard).toEqual([])
    await it.look(1, 21)
    expect(heard).toEqual([true])
    await it.look(30, 4)
    expect(it.storm.isStorm).toBe(true)
    await it.look(1, 4)
    expect([heard, it.logged]).toEqual([
      [true, false],
      [true, false],
    ])
    unwatch()
    await it.look(1, 21)
    expect(heard).toHaveLength(2)
  })

  test('begins when too many results wait for ten seconds', async () => {
    const it = begin()
    it.waiting(200)
    await it.look(10, 1)
    expect(it.storm.isStorm).toBe(false)
    await it.look(1, 1)
    expect(it.storm.isStorm).toBe(true)
  })

  test('does not take what it cannot ask for calm, nor wait for it for ever', async () => {
    const it = begin()
    await it.look(1, 21)
    it.answer(() => Promise.reject(new Error('away')))
    await it.look(100, 0)
    expect(it.storm.isStorm).toBe(true)
    it.answer(() => new Promise(() => undefined))
    const asked = it.storm.sample(reading(0))
    await it.clock.pass(1000)
    await asked
    await it.storm.sample(undefined)
    expect(it.storm.isStorm).toBe(true)
    it.waiting(0)
    await it.look(31, 0)
    expect(it.storm.isStorm).toBe(false)
  })
})

describe('a dispatcher in a storm', () => {
  const jobs = (count: number) => Array.from({ length: count }, () => taskOf('job'))
  const waiting = async (world: World) => (await world.mailboxes.depth('work.job')).waiting
  const worldWith = () => {
    const world = memoryWorld()
    worlds.push(world)
    return world
  }

  test('lets a quarter as much out, drops nothing, and goes on when it is over', async () => {
    const it = begin()
    const world = worldWith()
    const options = { storm: it.storm, inFlightMax: 40, whenFull: 'wait' } as const
    const dispatcher = beginDispatcher(world, options)
    await dispatcher.ready()
    await it.look(1, 21)
    const { run } = await dispatcher.submit({ source: sourceOf(jobs(40)) })
    expect(run.total).toBe(40)
    // Two envelopes of five.
    expect(await waiting(world)).toBe(2)
    await it.look(31, 0)
    expect(it.storm.isStorm).toBe(false)
    await eventually(async () => expect(await waiting(world)).toBe(8))
  })

  test('refuses new runs where it is to refuse them, and counts that by its reason', async () => {
    const it = begin()
    const world = worldWith()
    const meter = new Telemetry()
    const options = { storm: it.storm, whenFull: 'refuse', meter } as const
    const dispatcher = beginDispatcher(world, options)
    await dispatcher.ready()
    await it.look(1, 21)
    const submitting = () => dispatcher.submit({ source: sourceOf(jobs(5)) })
    const error = await submitting().catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(NotAcceptingError)
    expect(error).toMatchObject({ code: 'NOT_ACCEPTING_STORM', reason: 'storm' })
    const refused = meter.tally.seriesOf('muster_admission_rejected_total')
    expect(refused.map(({ labels, numbers }) => [labels, numbers])).toEqual([[['storm'], [1]]])
    await it.look(31, 0)
    expect((await submitting()).run.total).toBe(5)
  })
})
