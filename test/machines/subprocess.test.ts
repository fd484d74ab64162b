import { describe, expect, test } from 'bun:test'
import {
  type ActorLogic,
  createActor,
  type EventFromLogic,
  SimulatedClock,
  type SnapshotFrom,
} from 'xstate'
import { getAdjacencyMap } from 'xstate/graph'
import { type SubprocessTimes, subprocessMachine } from '../../machines/subprocess.ts'

const times = { softKillMs: 30_000, hardKillMs: 60_000, drainMs: 200, reapMs: 10_000 }
const watchedTimes = { ...times, stallMs: 1000 }
const exitedOk = {
  type: 'process.exited',
  exitCode: 0,
  signal: null,
  isOutputEnded: false,
} as const

type Snapshot = SnapshotFrom<typeof subprocessMachine>
type MachineEvent = EventFromLogic<typeof subprocessMachine>

// The explorer's type knows nothing of what a machine emits.
const explorable = subprocessMachine as unknown as ActorLogic<
  Snapshot,
  MachineEvent,
  SubprocessTimes
>

const timerEvents = [
  'softKillAfter.subprocess.running',
  'softKillAfter.subprocess.watched',
  'stallAfter.subprocess.watched.quiet',
  'hardKillAfter.subprocess.softKilled',
  'reapAfter.subprocess.hardKilled',
  'halfDrainAfter.subprocess.draining',
  'halfDrainAfter.subprocess.overdue',
].map((name) => ({ type: `xstate.after.${name}` }) as unknown as MachineEvent)

const events: MachineEvent[] = [
  { type: 'process.started' },
  { type: 'process.failed', code: 'ENOENT', message: 'not found' },
  exitedOk,
  { ...exitedOk, isOutputEnded: true },
  { type: 'output.seen' },
  { type: 'output.ended' },
  { type: 'abort' },
  ...timerEvents,
]

function stateOf(snapshot: Snapshot): string {
  return typeof snapshot.value === 'string' ? snapshot.value : Object.keys(snapshot.value).join()
}

/** A running machine on a clock of its own, and what it asked for. */
function begin(input: SubprocessTimes) {
  const clock = new SimulatedClock()
  const actor = createActor(subprocessMachine, { input, clock })
  const asked: string[] = []
  actor.on('*', (emitted) => {
    asked.push(emitted.type === 'group.kill' ? emitted.signal : emitted.type)
  })
  actor.start()
  return { actor, asked, clock, state: () => stateOf(actor.getSnapshot()) }
}

describe('subprocess machine, explored', () => {
  const explore = (input: SubprocessTimes) =>
    Object.values(
      getAdjacencyMap<Snapshot, MachineEvent, SubprocessTimes>(explorable, {
        input,
        events,
        stopWhen: ({ status }) => status === 'done',
        serializeState: ({ value, context }) => JSON.stringify([value, context]),
      }),
    )

  test('every state is reached', () => {
    const reached = new Set(
      [...explore(times), ...explore(watchedTimes)].map(({ state }) => stateOf(state)),
    )
    expect([...reached].sort()).toEqual(Object.keys(subprocessMachine.states).sort())
  })

  test('every state that is not final leads to a final one', () => {
    for (const input of [times, watchedTimes]) {
      const nodes = explore(input)
      const ends = new Set(
        nodes.filter(({ state }) => state.status === 'done').map(({ state }) => state),
      )
      const keyOf = (state: Snapshot) => JSON.stringify([state.value, state.context])
      const leads = new Set([...ends].map(keyOf))
      for (let grown = true; grown; ) {
        grown = false
        for (const { state, transitions } of nodes) {
          if (leads.has(keyOf(state))) continue
          const next: { state: Snapshot }[] = Object.values(transitions)
          if (next.some((edge) => leads.has(keyOf(edge.state)))) {
            leads.add(keyOf(state))
            grown = true
          }
        }
      }
      expect(nodes.filter(({ state }) => !leads.has(keyOf(state)))).toEqual([])
    }
  })

  test('no process is alive in a final state, unless it was given up', () => {
    for (const { state } of [...explore(times), ...explore(watchedTimes)]) {
      expect(state.hasTag('terminal')).toBe(state.status === 'done')
      if (stateOf(state) === 'failedToStart') expect(state.output?.failure?.code).toBe('ENOENT')
      if (stateOf(state) === 'exited' && !state.output?.cause) {
        expect(state.output?.exit).toEqual({ exitCode: 0, signal: null })
      }
    }
  })
})

describe('subprocess machine', () => {
  test('a command gets SIGTERM at 30 s and SIGKILL at 60 s from its start', () => {
    const { actor, asked, clock, state } = begin(times)
    actor.send({ type: 'process.started' })
    clock.increment(29_999)
    expect([state(), ...asked]).toEqual(['running'])
    clock.increment(1)
    expect([state(), ...asked]).toEqual(['softKilled', 'SIGTERM'])
    clock.increment(29_999)
    expect(state()).toBe('softKilled')
    clock.increment(1)
    expect([state(), ...asked]).toEqual(['hardKilled', 'SIGTERM', 'SIGKILL'])
    actor.send({
      type: 'process.exited',
      exitCode: null,
      signal: 'SIGKILL',
      isOutputEnded: false,
    })
    expect(state()).toBe('draining')
    actor.send({ type: 'output.ended' })
    expect(actor.getSnapshot().output).toEqual({
      cause: 'timeLimit',
      exit: { exitCode: null, signal: 'SIGKILL' },
      failure: undefined,
    })
  })

  test('what is left of the group is killed as soon as the leader exits', () => {
    const { actor, asked, clock, state } = begin(times)
    actor.send({ type: 'process.started' })
    actor.send(exitedOk)
    expect([state(), ...asked]).toEqual(['draining', 'SIGKILL'])
    clock.increment(100)
    expect(state()).toBe('overdue')
    clock.increment(100)
    expect([state(), ...asked]).toEqual(['exited', 'SIGKILL', 'pipes.release'])
  })

  test('output that ended before the leader is not waited for', () => {
    const { actor, asked, state } = begin(times)
    actor.send({ type: 'process.started' })
    actor.send({ ...exitedOk, isOutputEnded: true })
    expect([state(), ...asked]).toEqual(['exited', 'SIGKILL'])
    expect(actor.getSnapshot().output).toEqual({
      cause: undefined,
      exit: { exitCode: 0, signal: null },
      failure: undefined,
    })
  })

  test('output puts the stall off, but not the time limit', () => {
    const { actor, asked, clock, state } = begin({ ...watchedTimes, softKillMs: 1800 })
    actor.send({ type: 'process.started' })
    clock.increment(900)
    actor.send({ type: 'output.seen' })
    clock.increment(899)
    expect([state(), ...asked]).toEqual(['watched'])
    clock.increment(1)
    expect([state(), ...asked]).toEqual(['softKilled', 'SIGTERM'])
    expect(actor.getSnapshot().context.cause).toBe('timeLimit')
  })

  test('a stalled command gets SIGKILL as long after SIGTERM as it was silent, at most 5 s', () => {
    for (const [stallMs, graceMs] of [
      [1000, 1000],
      [20_000, 5000],
    ] as const) {
      const { actor, clock, state } = begin({ ...times, stallMs })
      actor.send({ type: 'process.started' })
      clock.increment(stallMs)
      expect(state()).toBe('softKilled')
      clock.increment(graceMs - 1)
      expect(state()).toBe('softKilled')
      clock.increment(1)
      expect(state()).toBe('hardKilled')
      expect(actor.getSnapshot().context.cause).toBe('stalled')
    }
  })

  test('a cancelled command gets SIGKILL at once, also when its start was under way', () => {
    const running = begin(times)
    running.actor.send({ type: 'process.started' })
    running.actor.send({ type: 'abort' })
    expect([running.state(), ...running.asked]).toEqual(['hardKilled', 'SIGKILL'])
    const starting = begin(times)
    starting.actor.send({ type: 'abort' })
    starting.actor.send({ type: 'process.started' })
    expect([starting.state(), ...starting.asked]).toEqual(['hardKilled', 'SIGKILL'])
  })

  test('a command that ran out of time stays a timeout when it is then cancelled', () => {
    const { actor, clock } = begin(times)
    actor.send({ type: 'process.started' })
    clock.increment(30_000)
    actor.send({ type: 'abort' })
    expect(actor.getSnapshot().context.cause).toBe('timeLimit')
  })

  test('a command that does not die of SIGKILL is given up', () => {
    const { actor, asked, clock, state } = begin(times)
    actor.send({ type: 'process.started' })
    actor.send({ type: 'abort' })
    clock.increment(10_000)
    expect([state(), ...asked]).toEqual(['exited', 'SIGKILL', 'pipes.release'])
    expect(actor.getSnapshot().output).toEqual({
      cause: 'aborted',
      exit: undefined,
      failure: undefined,
    })
  })
})
