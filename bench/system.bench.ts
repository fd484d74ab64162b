/**
 * What does a node's watch over itself cost? Transitions of its state, as a machine and with all
 * that is bound to it; a look that changes nothing; the score, as the audit and as the node tells
 * it; and a whole look of a node at itself, once a second, of which the share of a core follows.
 *
 *   bun bench/system.bench.ts [--quick] [--json]
 */
import { createActor, fromPromise } from 'xstate'
import { assessHealth, defaultThresholds, type Measured } from '../machines/health.ts'
import { healthLevel, reportHealth } from '../machines/health-level.ts'
import type { Owned } from '../machines/service.ts'
import { type SystemOpened, systemMachine } from '../machines/system.ts'
import type { SystemState } from '../machines/system-rules.ts'
import { memoryInspection } from '../runtime/memory/system.ts'
import { NodeSensors } from '../runtime/telemetry/sensors.ts'
import { Telemetry } from '../runtime/telemetry/telemetry.ts'
import { readOptions } from './kit/options.ts'
import { measureParts } from './kit/parts.ts'

const rounds = 1000
const faults: string[] = []
const policy = {
  worsenMs: 3000,
  mendMs: 10_000,
  settleMs: 2000,
  bootMs: 30_000,
  reflectApartMs: 300_000,
}

/** One that turns between two states as fast as it can. */
function turning() {
  const machine = systemMachine.provide({
    actors: {
      open: fromPromise<SystemOpened, Owned>(async () => ({ reason: 'bench', at: 0, now: 0 })),
    },
    actions: { act: () => undefined, tellMove: () => undefined },
  })
  return createActor(machine, { input: { policy, isUp: true } }).start()
}

const actor = turning()
await Promise.resolve()
await Promise.resolve()
const change = (to: SystemState) =>
  actor.send({
    type: 'state.change',
    to,
    reason: 'bench',
    actor: 'bench',
    isAsked: false,
    at: 0,
    now: 0,
  })
change('OPERATIONAL')

async function turn(): Promise<void> {
  for (let index = 0; index < rounds; index += 2) {
    change('DEGRADED')
    change('OPERATIONAL')
  }
  if (actor.getSnapshot().value !== 'OPERATIONAL') faults.push('it did not turn')
}

const facts = { ailments: [], health: 0.95, errors: 0, warnings: 0 }
async function look(): Promise<void> {
  for (let index = 0; index < rounds; index += 1) {
    actor.send({ type: 'looked', facts, at: index, now: index })
  }
}

const measured: Measured = {
  p99LatencySeconds: 0.02,
  eventLoopLagSeconds: 0.3,
  blockingEvents: 7,
  blockingSeconds: 0.2,
  activeRequests: 12,
  queueWaitSeconds: 0.4,
  tasksStarted: 1000,
  tasksCompleted: 990,
}
let sum = 0
async function score(): Promise<void> {
  for (let index = 0; index < rounds; index += 1) {
    const { score: one } = assessHealth({ ...measured, queueWaitSeconds: index / rounds })
    sum += healthLevel(one, defaultThresholds)
  }
}

const telemetry = new Telemetry()
telemetry.start(false)
for (let index = 0; index < 1000; index += 1) telemetry.taken(`work.k${index % 20}`, 100, 5, 1)
const sensors = new NodeSensors({
  telemetry,
  windowMs: 15_000,
  blockedShareMax: 0.2,
  envelopesMax: 1000,
  highWaterBytes: 2 ** 30,
  redisSlowMs: 2000,
  logQueueLimit: 80_000,
  atHand: () => ({ tasks: 0, silentMs: 0 }),
  logDepth: () => 0,
  askRedis: () => memoryInspection().latencyMs(),
  collect: () => undefined,
})
await sensors.prove()
const looks = 10
async function lookAtItself(): Promise<void> {
  for (let index = 0; index < looks; index += 1) {
    sensors.look()
    sum += reportHealth(sensors.read(), defaultThresholds).score
    sensors.ailments()
  }
}

await measureParts({
  bench: 'system',
  options: readOptions(),
  parts: [
    { what: 'a transition of the state', tasks: rounds, calls: rounds, round: turn },
    { what: 'a look that changes nothing', tasks: rounds, calls: rounds, round: look },
    { what: 'the score and its level', tasks: rounds, calls: rounds, round: score },
    { what: 'a node looks at itself, 20 kinds', tasks: looks, calls: looks, round: lookAtItself },
  ],
  notes: [
    'a call: one transition, score or look; a node looks at itself once a second, so that a call',
    'of 10 000 µs would be 1 % of a core',
  ],
  faults: async () => [...new Set([...faults, ...(Number.isFinite(sum) ? [] : ['no score'])])],
})
telemetry.stop()
actor.stop()
