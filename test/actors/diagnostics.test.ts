import { describe, expect, test } from 'bun:test'
import { Alarms } from '../../actors/alarms.ts'
import { Diagnostics, type DiagnosticsPorts, sampleMs } from '../../actors/diagnostics.ts'
import type { Log, LogLevel } from '../../actors/ports.ts'
import type { LeaseRecord, MemberRecord } from '../../actors/ports-fleet.ts'
import { testClock } from '../kit/clock.ts'

const nothing = () => undefined
const silent = { debug: nothing, info: nothing, warn: nothing, error: nothing }
const usual = { loopLagMs: 3, queueWaitMs: 2, transitionsPerHour: 0, taskSuccess: 1 }

interface Seen {
  used: number
  waiting: number
  leases: Partial<LeaseRecord>[]
  held: string[]
  sensors: Partial<typeof usual>
  health: number | undefined
  redisMs: number
}

function diagnosticsOf(over: Partial<Seen> = {}) {
  const seen: Seen = {
    used: 0,
    waiting: 0,
    leases: [],
    held: [],
    sensors: usual,
    health: undefined,
    redisMs: 1,
    ...over,
  }
  const clock = testClock()
  const ports = {
    mailboxes: {
      names: async () => ['work.job'],
      depth: async () => ({ waiting: seen.waiting, active: 0, delayed: 0 }),
    },
    admission: { used: async () => seen.used },
    leases: { list: async () => seen.leases as LeaseRecord[] },
    members: {
      list: async () =>
        [
          { id: 'a', state: 'alive' },
          { id: 'old', state: 'dead' },
        ] as MemberRecord[],
    },
    inspection: { settings: async () => [], latencyMs: async () => seen.redisMs },
  } satisfies DiagnosticsPorts
  const diagnostics = new Diagnostics({
    ports: () => ports,
    sensors: () => seen.sensors,
    health: () => seen.health,
    node: 'a',
    held: () => seen.held,
    staleMs: 30_000,
    clock,
    log: silent,
  })
  const diagnose = async () => {
    const diagnosis = diagnostics.diagnose(new AbortController().signal)
    await clock.pass(2000)
    return diagnosis
  }
  return { seen, clock, diagnostics, diagnose }
}

describe('diagnostics', () => {
  test('of a node that is well find nothing', async () => {
    expect(await diagnosticsOf().diagnose()).toEqual({ health: 1, findings: [] })
  })

  test('say what is not measured, which costs no health', async () => {
    const { health, findings } = await diagnosticsOf({ sensors: { loopLagMs: 3 } }).diagnose()
    expect(health).toBe(1)
    expect(findings).toMatchObject([{ severity: 'info' }])
    expect(findings[0]?.what).toContain('taskSuccess, queueWaitMs')
  })

  test('find what is not as usual, and how far from it', async () => {
    const { seen, clock, diagnostics, diagnose } = diagnosticsOf()
    const over = new AbortController()
    const watching = diagnostics.watch(over.signal)
    for (let sample = 0; sample < 20; sample += 1) {
      seen.redisMs = sample % 2 === 0 ? 1 : 3
      await clock.pass(sampleMs)
    }
    over.abort()
    await watching
    seen.redisMs = 4
    expect((await diagnose()).findings).toEqual([])
    seen.redisMs = 400
    const { health, findings } = await diagnose()
    expect(findings).toEqual([{ severity: 'error', what: 'redisMs is 400 (usual 2 in 1h, z 398)' }])
    expect(health).toBe(0.85)
  })

  test('find room that nobody holds, once it has stayed so for a moment', async () => {
    expect((await diagnosticsOf({ used: 5, waiting: 1 }).diagnose()).findings).toEqual([])
    const { findings } = await diagnosticsOf({ used: 5 }).diagnose()
    expect(findings).toMatchObject([{ severity: 'warning' }])
    expect(findings[0]?.what).toContain('work.job: 5 tasks')
    const passing = diagnosticsOf({ used: 5 })
    const diagnosis = passing.diagnostics.diagnose(new AbortController().signal)
    await passing.clock.pass(500)
    passing.seen.used = 0
    await passing.clock.pass(1000)
    expect((await diagnosis).findings).toEqual([])
  })

  test('find leases of the dead, and those that somebody else holds', async () => {
    const leases = [
      { name: 'collector', holder: 'old' },
      { name: 'coordinator', holder: 'b' },
      { name: 'ledger', holder: 'a' },
    ]
    const held = ['coordinator', 'ledger', 'gone']
    const { findings } = await diagnosticsOf({ leases, held }).diagnose()
    expect(findings.map(({ severity, what }) => [severity, what.split(' ')[1]])).toEqual([
      ['warning', 'collector'],
      ['warning', 'coordinator'],
      ['error', 'coordinator'],
    ])
  })

  test('take health from those who measure it', async () => {
    expect((await diagnosticsOf({ health: 0.42 }).diagnose()).health).toBe(0.42)
  })
})

describe('alarms', () => {
  test('count the errors and warnings of the last minute, and pass everything on', () => {
    const clock = testClock()
    const alarms = new Alarms(clock)
    const passed: LogLevel[] = []
    const pass =
      (level: LogLevel): Log[LogLevel] =>
      () =>
        void passed.push(level)
    const plain = { debug: pass('debug'), info: pass('info'), warn: pass('warn') }
    const log = alarms.counting({ ...plain, error: pass('error'), more: 7 })
    for (const level of ['debug', 'info', 'warn', 'warn', 'error'] as const) log[level]({}, '')
    expect([alarms.warnings, alarms.errors, log.more]).toEqual([2, 1, 7])
    expect(passed).toEqual(['debug', 'info', 'warn', 'warn', 'error'])
    clock.advance(59_999)
    log.error({}, '')
    expect([alarms.warnings, alarms.errors]).toEqual([2, 2])
    clock.advance(1)
    expect([alarms.warnings, alarms.errors]).toEqual([0, 1])
    alarms.clear()
    expect(alarms.errors).toBe(0)
  })
})
