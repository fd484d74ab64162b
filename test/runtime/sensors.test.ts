/** The sensors of a node, on a real event loop. */
import { afterEach, describe, expect, test } from 'bun:test'
import { NodeSensors, type SensorOptions } from '../../runtime/telemetry/sensors.ts'
import { Telemetry } from '../../runtime/telemetry/telemetry.ts'
import { eventually } from '../kit/eventually.ts'

const started: Telemetry[] = []
afterEach(() => {
  for (const telemetry of started.splice(0)) telemetry.stop()
})

function sensorsOf(over: Partial<SensorOptions> = {}, isStarted = true) {
  const telemetry = new Telemetry()
  started.push(telemetry)
  if (isStarted) telemetry.start(false)
  let collections = 0
  const sensors = new NodeSensors({
    telemetry,
    windowMs: 15_000,
    blockedShareMax: 0.1,
    envelopesMax: 10,
    highWaterBytes: 1000,
    redisSlowMs: 500,
    logQueueLimit: 80,
    atHand: () => ({ tasks: 3, silentMs: 0 }),
    logDepth: () => 0,
    askRedis: () => Promise.resolve(2),
    collect: () => {
      collections += 1
    },
    ...over,
  })
  const stateOf = (wanted: string) => sensors.read().sensors.find(({ name }) => name === wanted)
  return { telemetry, sensors, stateOf, collections: () => collections }
}

function block(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until) {
    // As a handler would that computes.
  }
}

describe('the self-test', () => {
  test('proves what sees the deliberate block, which is counted nowhere', async () => {
    const { telemetry, sensors, stateOf } = sensorsOf()
    const { blockedMs, sawMs } = await sensors.prove()
    expect(blockedMs).toBeGreaterThanOrEqual(75)
    expect(sawMs).toBeGreaterThanOrEqual(50)
    expect(stateOf('loopDelay')?.state).toBe('proved')
    expect(stateOf('blocking')?.state).toBe('proved')
    const own = telemetry.tally
      .seriesOf('blocking_duration_seconds')
      .flatMap(({ numbers }) => numbers)
    // Others of a busy machine may be there; one of this length is not.
    expect(own.at(-1)).toBeLessThan((sawMs ?? 0) / 1000)
  })

  test('without a sensor that runs proves nothing, and nothing of it is believed', async () => {
    const { sensors, stateOf } = sensorsOf({}, false)
    expect((await sensors.prove()).sawMs).toBeUndefined()
    expect(stateOf('loopDelay')?.state).toBe('blind')
    expect(sensors.read().measured.eventLoopLagSeconds).toBeUndefined()
    expect(sensors.read().measured.blockingSeconds).toBeUndefined()
  })

  test('tells a utilization that this runtime only pretends to measure', async () => {
    const { sensors, stateOf } = sensorsOf()
    await sensors.prove()
    const { performance: node } = await import('node:perf_hooks')
    const before = node.eventLoopUtilization().active
    block(20)
    const isReal = node.eventLoopUtilization().active > before
    expect(stateOf('loopUtilization')?.state).toBe(isReal ? 'proved' : 'off')
  })
})

describe('the event loop', () => {
  test('counts when it stands for more than its share, and not before', async () => {
    const { sensors } = sensorsOf({ windowMs: 5000, blockedShareMax: 0.2 })
    await sensors.prove()
    block(300)
    await eventually(() => expect(sensors.blockedShare()).toBeGreaterThan(0.05))
    // Twice as much, on a machine that is busy as well, may be all there is.
    if (sensors.blockedShare() < 0.2) expect(sensors.read().measured.eventLoopLagSeconds).toBe(0)
    block(1200)
    await eventually(() => {
      const { eventLoopLagSeconds, blockingSeconds } = sensors.read().measured
      expect(eventLoopLagSeconds).toBeGreaterThan(1)
      expect(blockingSeconds).toBeGreaterThan(0.2)
    })
  })

  test('of a worker process that says nothing counts as standing', async () => {
    const { sensors } = sensorsOf({ atHand: () => ({ tasks: 0, silentMs: 9000 }) })
    await sensors.prove()
    expect(sensors.read().measured.eventLoopLagSeconds).toBeGreaterThanOrEqual(9)
  })

  test('is held by somebody: the kind is told', async () => {
    const { telemetry, sensors, stateOf } = sensorsOf()
    await sensors.prove()
    telemetry.heldLoop('parse', 400)
    telemetry.heldLoop('fetch', 100)
    telemetry.heldLoop('parse', 200)
    const [first, second] = sensors.culprits()
    expect(first).toEqual(['parse', expect.closeTo(0.6, 6)])
    expect(second).toEqual(['fetch', expect.closeTo(0.1, 6)])
    expect(stateOf('blocking')?.note).toBe('held by parse')
  })

  test('is held by somebody unknown for the longest: nobody is blamed', async () => {
    const { telemetry, sensors, stateOf } = sensorsOf()
    await sensors.prove()
    telemetry.heldLoop('parse', 100)
    telemetry.heldLoop('unknown', 400)
    expect(sensors.culprit()).toBeUndefined()
    expect(stateOf('blocking')).not.toHaveProperty('note')
  })
})

describe('waiting', () => {
  test('for want of workers is load; beside a free hand it counts', async () => {
    const { telemetry, sensors } = sensorsOf()
    await sensors.prove()
    telemetry.taken('work.a', 100, 60_000, 0)
    expect(sensors.read().measured.queueWaitSeconds).toBe(0)
    expect(sensors.waitP99()).toBeGreaterThan(30)
    telemetry.taken('work.a', 100, 60_000, 3000)
    expect(sensors.read().measured.queueWaitSeconds).toBeCloseTo(1.5, 6)
  })

  test('envelopes at hand are a backlog beyond those that workers may have', async () => {
    const { telemetry, sensors, stateOf } = sensorsOf({ envelopesMax: 2 })
    for (let count = 0; count < 5; count += 1) telemetry.taken('work.a', 1, 0, 0)
    telemetry.released('work.a')
    expect(sensors.read().measured.tasksStarted).toBe(2)
    expect(stateOf('backlog')?.value).toBe(4)
  })
})

describe('what the node stands on', () => {
  test('ails it when it is too slow', async () => {
    const slow = { redisMs: 2, lines: 0 }
    const { sensors, stateOf } = sensorsOf({
      askRedis: () => Promise.resolve(slow.redisMs),
      logDepth: () => slow.lines,
    })
    expect(stateOf('redisLatency')?.state).toBe('blind')
    sensors.look()
    await eventually(() => expect(stateOf('redisLatency')?.value).toBe(2))
    expect(sensors.ailments()).toEqual([])
    slow.lines = 81
    expect(sensors.ailments()).toEqual(['81 lines wait to be written to the log'])
  })

  test('that cannot be asked is not seen', async () => {
    const { sensors, stateOf } = sensorsOf({
      askRedis: () => Promise.reject(new Error('gone')),
      logDepth: () => undefined,
    })
    sensors.look()
    await eventually(() => expect(stateOf('redisLatency')?.state).toBe('blind'))
    expect(stateOf('logQueue')?.state).toBe('off')
  })

  test('memory is that of its worker processes as well, while they live', () => {
    const { telemetry, sensors } = sensorsOf()
    const gibibytes = 100 * 2 ** 30
    const inlet = telemetry.inlet()
    inlet.merge({ series: [], lagsMs: [], rssBytes: gibibytes })
    expect(sensors.memoryBytes()).toBeGreaterThan(gibibytes)
    inlet.end()
    inlet.merge({ series: [], lagsMs: [], rssBytes: gibibytes })
    expect(sensors.memoryBytes()).toBeLessThan(gibibytes)
    expect(sensors.memoryBytes()).toBeGreaterThan(1_000_000)
  })
})
