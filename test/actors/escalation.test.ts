import { afterEach, describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, constantFrom, integer, record } from 'fast-check'
import { type AnyActorRef, createActor } from 'xstate'
import { Breaker } from '../../actors/breaker.ts'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { NotFoundError, UnavailableError } from '../../actors/errors.ts'
import { EscalationCounter, type EscalationOptions } from '../../actors/escalation.ts'
import { acknowledgeEscalation, listEscalations } from '../../actors/escalation-list.ts'
import type { Escalations } from '../../actors/ports-escalations.ts'
import type { ChildSpec } from '../../actors/supervisor.ts'
import type { Outcome } from '../../machines/outcome.ts'
import { sumOf } from '../../machines/window.ts'
import { memoryEscalations } from '../../runtime/memory/escalations.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'

const shape = { windowMs: 60_000, buckets: 12 }
const policy = { threshold: 500, calmMs: 30_000 }
const metric = 'fail:job'

const living: AnyActorRef[] = []
afterEach(() => {
  for (const actor of living.splice(0)) actor.stop()
})

/** Windows that may be out of reach, and may keep their answer to themselves. */
function windowsOf(clock: TestClock) {
  const memory = memoryEscalations(() => clock.now(), shape)
  const fault = {
    calls: 0,
    away: false,
    /** Does what it is asked, and says that it did not. */
    mute: false,
  }
  const answer = async <T>(work: () => Promise<T>): Promise<T> => {
    fault.calls += 1
    if (fault.away) throw new UnavailableError('away')
    const result = await work()
    if (fault.mute) throw new UnavailableError('no answer')
    return result
  }
  const port: Escalations = {
    count: (batch) => answer(() => memory.count(batch)),
    look: () => answer(() => memory.look()),
    put: (next, before) => answer(() => memory.put(next, before)),
    close: () => memory.close(),
  }
  const held = async (name = metric) => sumOf((await memory.look()).windows.get(name) ?? [])
  const stateOf = async () => (await memory.look()).escalations.get(metric)?.state
  return Object.assign(fault, { answer, port, held, stateOf })
}
type Windows = ReturnType<typeof windowsOf>

/** A node that counts. */
function begin(clock: TestClock, windows: Windows, over: Partial<EscalationOptions> = {}) {
  const logged: string[] = []
  const say = (_: unknown, message: string) => void logged.push(message)
  const log = { debug: () => undefined, info: say, warn: say, error: say }
  const { tell } = new DeadLetters({ clock, log })
  const random = seededRandom(3).next
  const breaker = new Breaker({ name: 'windows', random: () => 0.5, tell })
  const opened: string[] = []
  const counter = new EscalationCounter({
    source: `n-${random()}-${living.length}`,
    shape,
    policy,
    escalations: () => windows.port,
    breaker,
    opened: (name) => opened.push(name),
    clock,
    tell,
    log,
    ...over,
  })
  const start = ({ logic, input }: ChildSpec): AnyActorRef => {
    const actor = createActor(logic, { input, clock: clock.timers }) as AnyActorRef
    actor.subscribe({ error: () => undefined })
    actor.start()
    living.push(actor)
    return actor
  }
  const breakerActor = start(breaker.spec())
  const actor = start(counter.spec())
  return {
    counter,
    actor,
    opened,
    logged,
    stateOf: () => actor.getSnapshot().value as unknown,
    circuit: () => breakerActor.getSnapshot().value as unknown,
    /** An envelope whose tasks had these outcomes; `fresh` of them had none before. */
    count(outcome: Outcome, tasks: number, kind = 'job', fresh = tasks) {
      const outcomes = Array.from({ length: tasks }, () => outcome)
      const settlement = { run: 'r-1', id: 'i', mailbox: `work.${kind}`, seqs: [], outcomes }
      counter.counted(kind, settlement, { fresh })
    },
    list: (all = false) =>
      listEscalations({ escalations: windows.port, counter, threshold: 500, shape, log }, { all }),
    ack: (name: string, reason?: string) =>
      acknowledgeEscalation(
        { escalations: windows.port, threshold: 500, shape, log },
        name,
        reason,
      ),
  }
}

describe('a counter of bad outcomes', () => {
  test('counts what failed, timed out and died by kind, once, and nothing else', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    for (const outcome of ['failed', 'timeout', 'dead'] as const) it.count(outcome, 10)
    for (const outcome of ['ok', 'cancelled', 'expired', 'unreached'] as const) it.count(outcome, 9)
    it.count('failed', 7, 'exec')
    it.count('failed', 100, 'exec', 0)
    it.count('failed', 100, 'exec', 3)
    await clock.pass(1000)
    expect(await windows.held()).toBe(30)
    expect(await windows.held('fail:exec')).toBe(10)
    // Envelopes, but for the one that brought nothing new.
    expect(await windows.held('results')).toBe(9)
  })

  test('asks for nothing in the middle of things: its counts go out once a second', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    await clock.settle()
    for (let envelope = 0; envelope < 1000; envelope += 1) it.count('failed', 1)
    await clock.settle()
    expect(windows.calls).toBe(0)
    await clock.pass(999)
    expect(windows.calls).toBe(0)
    await clock.pass(1)
    // One to count, one to open the escalation.
    expect(windows.calls).toBe(2)
    expect(await windows.held()).toBe(1000)
  })

  test('opens an escalation at the threshold, over all nodes, and one node says so', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const nodes = [begin(clock, windows), begin(clock, windows), begin(clock, windows)]
    for (const node of nodes) node.count('failed', 166)
    await clock.pass(3000)
    expect(nodes.flatMap(({ opened }) => opened)).toEqual([])
    nodes[1]?.count('dead', 2)
    await clock.pass(3000)
    expect(nodes.flatMap(({ opened }) => opened)).toEqual([metric])
    const breached = nodes.flatMap(({ logged }) => logged).filter((line) => line.includes('BREACH'))
    expect(breached).toEqual(['ESCALATION THRESHOLD BREACHED: window=500; see: muster escalations'])
    expect(await nodes[0]?.list()).toMatchObject([
      { metric, kind: 'job', state: 'open', window: 500, threshold: 500, windowMs: 60_000 },
    ])
  })

  test('closes it after the window is calm, and what comes later opens a new one', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    it.count('failed', 500)
    await clock.pass(2000)
    expect(await it.ack('job', 'on it')).toMatchObject({ state: 'acknowledged', reason: 'on it' })
    await clock.pass(58_000)
    expect(await windows.stateOf()).toBe('acknowledged')
    await clock.pass(40_000)
    expect(await windows.stateOf()).toBe('closed')
    expect(await it.list()).toEqual([])
    expect(await it.list(true)).toMatchObject([{ metric, state: 'closed', window: 0 }])
    expect(it.opened).toHaveLength(1)
    it.count('failed', 500)
    await clock.pass(2000)
    expect(await windows.stateOf()).toBe('open')
    expect(it.opened).toHaveLength(2)
  })

  test('a load that hovers about the threshold opens one escalation, not many', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    for (let second = 0; second < 600; second += 1) {
      // In a window of 55 to 60 s about 500, now more and now less.
      it.count('failed', second % 120 < 60 ? 10 : 7)
      await clock.pass(1000)
    }
    expect(it.opened).toEqual([metric])
    expect(await windows.stateOf()).toBe('open')
  })

  test('goes on where another left off: windows and escalations are not its own', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const first = begin(clock, windows)
    first.count('failed', 300)
    await clock.pass(1000)
    // Asked to stop it takes along what it has counted last.
    first.count('failed', 100)
    first.actor.send({ type: 'stop' })
    await clock.settle()
    expect(first.actor.getSnapshot().status).toBe('done')
    const second = begin(clock, windows)
    second.count('failed', 100)
    await clock.pass(1000)
    expect([first.opened, second.opened]).toEqual([[], [metric]])
    const third = begin(clock, windows)
    await clock.pass(2000)
    expect(third.opened).toEqual([])
    expect(await third.list()).toMatchObject([{ state: 'open', window: 500 }])
  })
})

describe('a counter whose windows are out of reach', () => {
  test('counts on, and adds it to the windows when they are back, once, at its time', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    it.count('failed', 10)
    await clock.pass(1000)
    windows.away = true
    it.count('failed', 20)
    await clock.pass(4000)
    it.count('failed', 30)
    await clock.pass(1000)
    expect([it.stateOf(), it.circuit()]).toEqual(['alone', 'open'])
    windows.away = false
    await clock.pass(8000)
    expect([it.stateOf(), it.circuit()]).toEqual(['together', 'closed'])
    expect(await windows.held()).toBe(60)
    const counts = (await windows.port.look()).windows.get(metric) ?? []
    // In the first five seconds and the five after, and not now.
    expect(counts.slice(-3)).toEqual([30, 30, 0])
    await clock.pass(60_000)
    expect(await windows.held()).toBe(0)
  })

  test('tries three times, then after 8 s, and is not asked in between', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    windows.away = true
    await clock.pass(3000)
    expect([windows.calls, it.circuit()]).toEqual([3, 'open'])
    await clock.pass(7000)
    expect(windows.calls).toBe(3)
    await clock.pass(2000)
    expect([windows.calls, it.circuit()]).toEqual([4, 'open'])
    await clock.pass(14_000)
    expect(windows.calls).toBe(4)
    windows.away = false
    await clock.pass(3000)
    expect(it.circuit()).toBe('closed')
  })

  test('counts once what was counted unheard', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    it.count('failed', 40)
    windows.mute = true
    await clock.pass(2000)
    it.count('failed', 2)
    windows.mute = false
    await clock.pass(20_000)
    expect(await windows.held()).toBe(42)
  })

  test('opens an escalation alone by what is surely in it, and tells it later', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    it.count('failed', 300)
    await clock.pass(1000)
    windows.away = true
    it.count('failed', 199)
    await clock.pass(1000)
    expect(it.opened).toEqual([])
    it.count('failed', 1)
    await clock.pass(2000)
    expect(it.opened).toEqual([metric])
    const [line] = await it.list()
    expect(line).toMatchObject({ metric, state: 'open', window: null, buckets: null, atLeast: 500 })
    const { openedAt } = line ?? {}
    windows.away = false
    await clock.pass(10_000)
    expect(it.opened).toEqual([metric])
    expect(await it.list()).toMatchObject([{ state: 'open', window: 500, openedAt }])
  })

  test('closes nothing for want of counts, and an answer is never an empty list', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    it.count('failed', 500)
    await clock.pass(2000)
    windows.away = true
    await clock.pass(300_000)
    expect(await it.list()).toMatchObject([{ state: 'open', window: null, atLeast: 0 }])
    const quiet = begin(clock, windows)
    expect(await quiet.list().catch((error: unknown) => error)).toBeInstanceOf(UnavailableError)
    windows.away = false
    await clock.pass(120_000)
    expect(await windows.stateOf()).toBe('closed')
  })

  test('keeps no more than a window of it, however long that lasts', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    windows.away = true
    for (let second = 0; second < 600; second += 1) {
      it.count('failed', 1)
      await clock.pass(1000)
    }
    windows.away = false
    await clock.pass(90_000)
    const counts = (await windows.port.look()).windows.get(metric) ?? []
    expect(sumOf(counts)).toBeLessThanOrEqual(60)
  })

  test('loses no count in a window, and counts none twice, whatever goes wrong', async () => {
    const words = array(
      record({
        what: constantFrom('count', 'away', 'back', 'mute', 'pass'),
        by: integer({ min: 1, max: 9 }),
      }),
      { maxLength: 40 },
    )
    await assert(
      asyncProperty(words, async (all) => {
        const clock = testClock()
        // As wide as nothing leaves.
        const wide = { windowMs: 3_600_000, buckets: 12 }
        const port = memoryEscalations(() => clock.now(), wide)
        const windows = windowsOf(clock)
        windows.port.count = (batch) => windows.answer(() => port.count(batch))
        const it = begin(clock, windows, { shape: wide })
        let counted = 0
        for (const { what, by } of all) {
          if (what === 'count') {
            it.count('failed', by)
            counted += by
          } else if (what === 'pass') await clock.pass(by * 1000)
          else {
            windows.away = what === 'away'
            windows.mute = what === 'mute'
          }
        }
        windows.away = false
        windows.mute = false
        await clock.pass(90_000)
        const { windows: held } = await port.look()
        expect(sumOf(held.get(metric) ?? [])).toBe(counted)
        for (const actor of living.splice(0)) actor.stop()
      }),
      { numRuns: 30 },
    )
  })
})

describe('acknowledging', () => {
  test('names what is open by metric or kind; what is not open is not found', async () => {
    const clock = testClock()
    const windows = windowsOf(clock)
    const it = begin(clock, windows)
    const none = await it.ack('job').catch((error: unknown) => error)
    expect(none).toBeInstanceOf(NotFoundError)
    it.count('failed', 500)
    await clock.pass(2000)
    expect(await it.ack(metric, 'first')).toMatchObject({ state: 'acknowledged', reason: 'first' })
    expect(await it.ack('job', 'second')).toMatchObject({ reason: 'first', window: 500 })
    expect(it.opened).toHaveLength(1)
  })
})
