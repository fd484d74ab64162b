import { describe, expect, test } from 'bun:test'
import { createActor } from 'xstate'
import { Health } from '../../actors/health.ts'
import type { HealthSensors } from '../../actors/ports-health.ts'
import type { Headroom } from '../../actors/ports-limits.ts'
import { Shedding } from '../../actors/shedding.ts'
import { defaultThresholds, type Measured } from '../../machines/health.ts'
import { type SelfTest, waterMarks } from '../../machines/health-watch.ts'
import { testClock } from '../kit/clock.ts'

const well: Measured = { eventLoopLagSeconds: 0, blockingSeconds: 0, queueWaitSeconds: 0 }
const proof: SelfTest = { at: 1, blockedMs: 75, sawMs: 55 }

function healthOf(over: { prove?: () => Promise<SelfTest> } = {}) {
  const clock = testClock()
  const logged: string[] = []
  const log = {
    debug() {},
    info: (_: object, message: string) => logged.push(message),
    warn: (_: object, message: string) => logged.push(message),
    error() {},
  }
  const seen = { measured: well, bytes: 100, looks: 0, collections: 0, collected: 0, pressed: 0 }
  const sensors: HealthSensors = {
    prove: over.prove ?? (async () => proof),
    look: () => {
      seen.looks += 1
    },
    read: () => ({ measured: seen.measured, sensors: [{ name: 'loopDelay', state: 'proved' }] }),
    memoryBytes: () => seen.bytes,
    collect: () => {
      // By then nothing new comes in any more.
      expect(shedding.reason).toBeDefined()
      seen.collections += 1
    },
  }
  const shedding = new Shedding()
  const health = new Health({
    sensors,
    thresholds: defaultThresholds,
    marks: waterMarks(1000, 0.9, 30_000),
    shedding,
    collected: () => {
      seen.collected += 1
    },
    pressed: () => {
      seen.pressed += 1
    },
    clock,
    log,
    tell: (to, event) => to.send(event),
  })
  const { logic, input } = health.spec()
  const actor = createActor(logic, { input, clock: clock.timers })
  return { clock, logged, seen, shedding, health, actor }
}

const plenty: Headroom = {
  shortage: () => undefined,
  isScarce: () => false,
  look: () => undefined,
  watch: () => () => undefined,
}

describe('the health of a node', () => {
  test('tells of its self-test, in the log and to whoever asks', async () => {
    const { actor, health, logged, clock } = healthOf()
    expect(health.view().selfTest).toBeUndefined()
    actor.start()
    await clock.settle()
    expect(health.view()).toMatchObject({ status: 'HEALTHY', level: 1, selfTest: proof })
    expect(logged).toEqual(['the sensors of health were tested by a deliberate block'])
    actor.stop()
  })

  test.each([
    ['fails', () => Promise.reject(new Error('no timers here'))],
    ['never ends', () => new Promise<SelfTest>(() => {})],
  ])('looks on when the self-test %s, and says so', async (_, prove) => {
    const { actor, health, logged, clock, seen } = healthOf({ prove })
    actor.start()
    await clock.pass(10_000)
    expect(logged).toEqual(['the sensors of health could not be tested'])
    expect(health.view().selfTest).toBeUndefined()
    expect(seen.looks).toBeGreaterThan(0)
    actor.stop()
  })

  test('closes the intake above the high-water mark, then collects, then opens it', async () => {
    const { actor, clock, seen, shedding } = healthOf()
    const headroom = shedding.over(plenty)
    let changes = 0
    const unwatch = headroom.watch(() => {
      changes += 1
    })
    actor.start()
    await clock.pass(3000)
    expect(headroom.shortage()).toBeUndefined()

    seen.bytes = 5_000_000_000
    await clock.pass(1000)
    expect([seen.pressed, seen.collections, changes]).toEqual([1, 0, 1])
    expect(headroom.shortage()).toContain('holds 4768 MiB of memory')
    await clock.pass(1000)
    expect([seen.collections, seen.collected]).toEqual([1, 1])
    await clock.pass(29_000)
    expect(seen.collections).toBe(1)
    await clock.pass(1000)
    expect(seen.collections).toBe(2)

    seen.bytes = 950
    await clock.pass(5000)
    expect(headroom.shortage()).toBeDefined()
    seen.bytes = 899
    await clock.pass(1000)
    expect(headroom.shortage()).toBeUndefined()
    expect([seen.pressed, changes]).toEqual([1, 2])
    unwatch()
    shedding.set('again')
    expect(changes).toBe(2)
    actor.stop()
  })

  test('what Redis lacks is told while this node lacks nothing', () => {
    const { shedding } = healthOf()
    const headroom = shedding.over({ ...plenty, shortage: () => 'Redis is full' })
    expect(headroom.shortage()).toBe('Redis is full')
    shedding.set('this node is full')
    expect(headroom.shortage()).toBe('this node is full')
  })

  test('stops looking when it is stopped', async () => {
    const { actor, clock, seen } = healthOf()
    actor.start()
    await clock.pass(3000)
    actor.send({ type: 'stop' })
    const looks = seen.looks
    await clock.pass(10_000)
    expect(seen.looks).toBe(looks)
    expect(clock.armed).toBe(0)
  })
})
