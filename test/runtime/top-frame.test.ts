import { describe, expect, test } from 'bun:test'
import picocolors from 'picocolors'
import type { Run } from '../../actors/ports-runs.ts'
import { readSamples } from '../../runtime/cli/samples.ts'
import { frameOf, type Look, linesOf } from '../../runtime/cli/top-frame.ts'

const counts = { ok: 0, failed: 0, timeout: 0, cancelled: 0, expired: 0, dead: 0, unreached: 0 }

function runOf(id: string, pending: number): Run {
  return {
    id,
    state: 'running',
    total: 1000,
    counts: { ...counts, ok: 1000 - pending, pending },
    rejectedCount: 0,
    rejected: [],
    createdAt: 0,
  }
}

function lookOf(over: Partial<Look> = {}): Look {
  return {
    at: 10_000,
    url: 'http://127.0.0.1:7070',
    system: {
      state: 'DEGRADED',
      since: 4000,
      reason: 'health is 0.4',
      actor: 'system',
      effect: { admission: 0.5, concurrency: 0.5 },
      note: 'slow because DEGRADED since 12:03 UTC: health is 0.4; queue wait p99 2.1 s',
    },
    nodes: [],
    runs: [],
    metrics: [],
    ...over,
  }
}

const screen = { columns: 60, rows: 30, colors: picocolors.createColors(false) }

describe('a frame', () => {
  test('tells what happens a second, between two looks', () => {
    const metrics = (ok: number) =>
      readSamples(
        `muster_tasks_total{kind="a",outcome="ok"} ${ok}\n` +
          'muster_tasks_total{kind="b",outcome="failed"} 5',
      )
    const before = lookOf({ at: 8000, metrics: metrics(100), runs: [runOf('r-1', 900)] })
    const now = lookOf({ metrics: metrics(200), runs: [runOf('r-1', 700), runOf('r-2', 10)] })
    const frame = frameOf(now, before)
    expect(frame.throughput).toEqual({ tasksPerSecond: 50, ended: 205 })
    expect(frame.runs.map(({ tasksPerSecond }) => tasksPerSecond)).toEqual([100, 0])
  })

  test('of a node that was started anew tells no negative throughput', () => {
    const before = lookOf({ at: 8000, metrics: readSamples('muster_tasks_total 900') })
    const now = lookOf({ metrics: readSamples('muster_tasks_total 3') })
    expect(frameOf(now, before).throughput.tasksPerSecond).toBe(0)
    expect(frameOf(now, undefined).throughput.tasksPerSecond).toBe(0)
  })

  test('has each mailbox once, the deepest first', () => {
    const metrics = readSamples(`
# HELP muster_mailbox_depth Tasks
muster_mailbox_depth{mailbox="work.a",state="waiting"} 5
muster_mailbox_depth{mailbox="work.b",state="waiting"} 7
muster_mailbox_depth{mailbox="work.b",state="settling"} 1
muster_mailbox_oldest_age_seconds{mailbox="work.b"} 2.5
muster_mailbox_depth{mailbox="work.c",state="waiting"} NaN
`)
    const frame = frameOf(lookOf({ metrics }), undefined)
    const none = { waiting: 0, active: 0, delayed: 0, settling: 0, oldestSeconds: 0 }
    expect(frame.mailboxes).toEqual([
      { ...none, mailbox: 'work.b', waiting: 7, settling: 1, oldestSeconds: 2.5 },
      { ...none, mailbox: 'work.a', waiting: 5 },
    ])
  })

  test('has the containers of the node, once there are any', () => {
    const none = frameOf(lookOf(), undefined)
    expect([none.containers, linesOf(none, screen).join().includes('containers')]).toEqual([
      undefined,
      false,
    ])
    const metrics = readSamples(`
muster_container_slots{state="available"} 17
muster_container_slots{state="leased"} 2
muster_container_slots{state="resetting"} 1
muster_container_slots{state="replacing"} 0
muster_container_waiting 4
`)
    const frame = frameOf(lookOf({ metrics }), undefined)
    const counted = { available: 17, leased: 2, resetting: 1, replacing: 0, waiting: 4 }
    expect(frame.containers).toEqual(counted)
    expect(linesOf(frame, { ...screen, columns: 200 })).toContain(
      'containers: 17 available, 2 leased, 1 resetting, 0 replacing; 4 tasks wait for one',
    )
  })
})

describe('the lines of a frame', () => {
  test('say the state, since when, and why', () => {
    const lines = linesOf(frameOf(lookOf(), undefined), { ...screen, columns: 200 })
    expect(lines[0]).toBe(
      'DEGRADED for 6.0 s  http://127.0.0.1:7070  admission × 0.5, concurrency × 0.5',
    )
    expect(lines[1]).toContain('slow because DEGRADED since 12:03 UTC')
    expect(lines).toContain('no run is under way')
  })

  test('are never wider or more than the screen', () => {
    const runs = Array.from({ length: 50 }, (_, index) => runOf(`r-${index}`, 500))
    const frame = frameOf(lookOf({ runs }), undefined)
    for (const colors of [picocolors.createColors(false), picocolors.createColors(true)]) {
      const lines = linesOf(frame, { columns: 40, rows: 12, colors })
      expect(lines).toHaveLength(12)
      expect(lines.at(-1)).toBe('…')
      for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(40)
    }
  })

  test('let nobody write to the terminal', () => {
    const look = lookOf()
    const system = { ...look.system, note: 'slow\x1b[2J because\nof you' }
    const text = linesOf(frameOf({ ...look, system }, undefined), screen).join('\n')
    expect(text).not.toContain('\x1b')
    expect(text).toContain('because of you')
  })
})

test('samples are read back as they were written', () => {
  const text = 'a{x="1\\"2",y="b\\\\c\\nd"} 1.5e3 \nb +Inf\nc 7\n# HELP c words 8\nnot a sample\n'
  expect(readSamples(text)).toEqual([
    { name: 'a', labels: { x: '1"2', y: 'b\\c\nd' }, value: 1500 },
    { name: 'c', labels: {}, value: 7 },
  ])
})
