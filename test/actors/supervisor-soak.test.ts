/** Ten thousand falls: what a supervisor keeps of them is nothing. */
import { heapStats } from 'bun:jsc'
import { expect, test } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { addChild, planOf, removeChild, supervisor } from '../../actors/supervisor.ts'
import { defaultPolicy, type SupervisorPolicy } from '../../machines/supervision.ts'
import { testClock } from '../kit/clock.ts'
import { Nursery } from './nursery.ts'

const falls = 10_000
const ids = Array.from({ length: 10 }, (_, index) => `child-${index}`)
const log = { debug() {}, info() {}, warn() {}, error() {} }

/** A supervisor of ten that may fail as often as they like. */
async function begin(over: Partial<SupervisorPolicy>) {
  const clock = testClock()
  const nursery = new Nursery()
  const { logic, input } = supervisor({
    id: 'root',
    policy: {
      ...defaultPolicy,
      // A fall every other millisecond is within it, for ever.
      intensity: 900,
      streakMax: falls,
      windowMs: 1000,
      backoff: { baseMs: 1, capMs: 1, jitter: 0 },
      ...over,
    },
    children: ids.map((id) => nursery.child(id)),
    specOf: (id) => nursery.child(id).spec(undefined as never),
    clock,
    random: () => 0.5,
    log,
    tell: new DeadLetters({ clock, log }).tell,
  })
  const errors: unknown[] = []
  const actor = createActor(logic, { input, clock: clock.timers }) as AnyActorRef
  actor.subscribe({ error: (error) => errors.push(error) })
  actor.start()
  await clock.settle()
  return { clock, nursery, actor, errors }
}

type Soaked = Awaited<ReturnType<typeof begin>>

/** One after the other falls and is restarted; `awaitedMs` is what that takes. */
async function fall(it: Soaked, count: number, awaitedMs: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    it.nursery.fail(ids[index % ids.length] ?? '')
    await it.clock.pass(awaitedMs)
    it.nursery.events.length = 0
  }
}

function kept({ actor, clock, errors }: Soaked) {
  const { children, context, value } = actor.getSnapshot()
  return {
    value,
    children: Object.keys(children).length,
    statuses: [...new Set((context.children as { status: string }[]).map((one) => one.status))],
    armed: clock.armed,
    observers: observersOf(actor),
    errors: errors.length,
  }
}

/** How many listen to it: XState shows them to nobody, and keeps them all. */
function observersOf(actor: AnyActorRef): number {
  const { observers } = actor as unknown as { observers: Set<unknown> }
  return observers.size
}

function used(): { bytes: number; objects: number } {
  Bun.gc(true)
  return { bytes: process.memoryUsage().rss, objects: heapStats().objectCount }
}

const flat = {
  value: 'running',
  children: 10,
  statuses: ['ready'],
  armed: 0,
  observers: 1,
  errors: 0,
}
const mebibyte = 1024 ** 2

test('after ten thousand falls children, timers and memory are what they were', async () => {
  const it = await begin({})
  expect(kept(it)).toEqual(flat)
  await fall(it, 1000, 2)
  const before = used()
  for (let thousand = 1; thousand < falls / 1000; thousand += 1) {
    await fall(it, 1000, 2)
    expect(kept(it)).toEqual(flat)
  }
  const after = used()
  const bytes = after.bytes - before.bytes
  const objects = after.objects - before.objects
  const grown = `${(bytes / mebibyte).toFixed(1)} MiB and ${objects} objects`
  console.log(`${falls} falls: ${grown} more than after the first 1000`)
  expect(bytes).toBeLessThan(64 * mebibyte)
  // Less than one object for every falling child: nothing is kept of it.
  expect(objects).toBeLessThan(falls / 5)
  const restarts = it.actor.getSnapshot().context.children as { restarts: number }[]
  expect(restarts.reduce((sum, one) => sum + one.restarts, 0)).toBe(falls)
  // Those that no longer count are forgotten.
  expect(it.actor.getSnapshot().context.failures.length).toBeLessThanOrEqual(900)
})

test('after a thousand children that came and went, nobody listens to it any more', async () => {
  const { actor, clock, nursery, errors } = await begin({ strategy: 'dynamic' })
  const it = { actor, clock, nursery, errors }
  const { tell } = new DeadLetters({ clock, log })
  expect(kept(it)).toEqual(flat)
  for (let round = 0; round < 1000; round += 1) {
    const added = addChild(actor, planOf({ id: 'guest' }, defaultPolicy), tell)
    await clock.settle()
    expect((await added).id).toBe(`guest:${round + 1}`)
    const removed = removeChild(actor, 'guest')
    await clock.settle()
    await removed
    nursery.events.length = 0
  }
  expect(kept(it)).toEqual(flat)
})

test('after a thousand restarts of a group there are as many children as before', async () => {
  const it = await begin({ strategy: 'one_for_all' })
  await fall(it, 1000, 5)
  expect(kept(it)).toEqual(flat)
  it.actor.send({ type: 'stop' })
  await it.clock.settle()
  expect([it.actor.getSnapshot().status, it.clock.armed]).toEqual(['done', 0])
})
