import { describe, expect, test } from 'bun:test'
import {
  type AnyActorRef,
  type AnyMachineSnapshot,
  assign,
  createActor,
  fromCallback,
} from 'xstate'
import type { Owned } from '../../machines/service.ts'
import { type WorkerProcessEvent, workerProcessMachine } from '../../machines/worker-process.ts'
import { testClock } from '../kit/clock.ts'
import { explore } from '../kit/explore.ts'

const input = { silenceMs: 10_000, reapMs: 2000, leaveMs: 3000 }
const hung = new Error('silent')
const died = new Error('died of SIGKILL')
const beat = { type: 'process.beat', tree: { id: 'root' }, holders: ['a'], at: 7 } as const

/** Actions that only note what they were asked for. */
const bound = (asked: string[] = []) =>
  workerProcessMachine.provide({
    actors: { process: fromCallback<WorkerProcessEvent, Owned>(() => () => asked.push('reaped')) },
    actions: {
      askToStop: () => asked.push('stop'),
      kill: () => asked.push('kill'),
      askHowItIs: () => asked.push('check'),
      recordSilence: assign({ error: hung }),
    },
  })

/** In a machine that runs, the actor has ended with its error. */
const hasFailed = (snapshot: AnyMachineSnapshot) => snapshot.matches('failed')

const exploration = explore(bound(), {
  input,
  events: [
    { type: 'stop' },
    { type: 'process.started', pid: 7 },
    { type: 'process.ready' },
    beat,
    { type: 'process.holds', holder: 'b' },
    { type: 'process.failed', error: new Error('no such file') },
    { type: 'process.exited', error: died },
    { type: 'xstate.after.halfSilenceAfter.workerProcess.running.heard' },
    { type: 'xstate.after.quarterSilenceAfter.workerProcess.running.quiet' },
    { type: 'xstate.after.quarterSilenceAfter.workerProcess.asked' },
    { type: 'xstate.after.leaveAfter.workerProcess.leaving' },
    { type: 'xstate.after.reapAfter.workerProcess.hung' },
  ],
  isBeyond: hasFailed,
  keyOf: ({ value, context }) =>
    JSON.stringify([value, { ...context, error: String(context['error']) }]),
})
const { steps, snapshots } = exploration

describe('worker process machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('it is ready exactly while its process takes work and is heard', () => {
    for (const snapshot of snapshots) {
      expect(snapshot.hasTag('ready')).toBe(snapshot.matches('running'))
    }
  })

  test('an exit is its end: in order when it was asked to stop, else a failure', () => {
    const exits = steps.filter(({ event }) => event.type === 'process.exited')
    expect(exits.length).toBeGreaterThan(5)
    for (const { from, to } of exits) {
      expect(to.value).toBe(from.matches('stopping') ? 'stopped' : 'failed')
    }
  })

  test('nothing but an exit, or a process that cannot be reaped, ends it', () => {
    for (const { event, to } of steps) {
      if (to.status === 'active' && !hasFailed(to)) continue
      expect(['process.exited', 'xstate.after.reapAfter.workerProcess.hung']).toContain(event.type)
    }
  })

  test('the first reason is the one that it fails with; silence is one of its own', () => {
    for (const { from, to } of steps) {
      if (!hasFailed(to)) continue
      expect(to.context['error']).toBe(from.context['error'] ?? died)
      const isHeldSilent = ['asked', 'leaving', 'hung'].some((state) => from.matches(state))
      if (isHeldSilent) expect(to.context['error']).toBe(hung)
    }
  })
})

describe('a worker process', () => {
  function begin() {
    const clock = testClock()
    const asked: string[] = []
    const errors: unknown[] = []
    const actor: AnyActorRef = createActor(bound(asked), { input, clock: clock.timers })
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    const state = () => JSON.stringify(actor.getSnapshot().value)
    return { actor, asked, clock, errors, state }
  }

  function beginRunning() {
    const it = begin()
    it.actor.send({ type: 'process.started', pid: 7 })
    it.actor.send({ type: 'process.ready' })
    return it
  }

  test('that says nothing is asked how it is, then to stop, then killed, and has failed', () => {
    const { actor, asked, clock, errors } = beginRunning()
    const rungs: [number, string[]][] = [
      [4999, []],
      [5000, ['check']],
      [7499, ['check']],
      [7500, ['check', 'stop']],
      [9999, ['check', 'stop']],
      [10_000, ['check', 'stop', 'kill']],
    ]
    for (const [atMs, done] of rungs) {
      clock.advance(atMs - clock.monotonic())
      expect(asked).toEqual(done)
    }
    expect(errors).toEqual([])
    actor.send({ type: 'process.exited', error: died })
    expect([errors, clock.armed]).toEqual([[hung], 0])
  })

  test('that answers when it is asked how it is lives on', () => {
    const { actor, asked, clock, state } = beginRunning()
    clock.advance(7499)
    actor.send(beat)
    clock.advance(4999)
    expect([asked, state()]).toEqual([['check'], '{"running":"heard"}'])
  })

  test('that hears that it is to stop gets its time to end in order, and is replaced', () => {
    const { actor, asked, clock, errors, state } = beginRunning()
    clock.advance(8000)
    actor.send(beat)
    clock.advance(2999)
    actor.send(beat)
    expect([asked, state()]).toEqual([['check', 'stop'], '"leaving"'])
    // In order or not: it did not do its work, and another one is to.
    actor.send({ type: 'process.exited', error: died })
    expect([errors, clock.armed]).toEqual([[hung], 0])
  })

  test('that heard it and does not end all the same is killed', () => {
    const { actor, asked, clock } = beginRunning()
    clock.advance(8000)
    actor.send(beat)
    clock.advance(3000)
    expect(asked).toEqual(['check', 'stop', 'kill'])
  })

  test('that is asked to stop by its supervisor meanwhile ends in order', () => {
    const { actor, clock, errors } = beginRunning()
    clock.advance(8000)
    actor.send({ type: 'stop' })
    actor.send({ type: 'process.exited', error: died })
    expect([actor.getSnapshot().status, errors, clock.armed]).toEqual(['done', [], 0])
  })

  test('that cannot be reaped is given up', () => {
    const { clock, errors } = beginRunning()
    clock.advance(10_000 + 1999)
    expect(errors).toEqual([])
    clock.advance(1)
    expect([errors, clock.armed]).toEqual([[hung], 0])
  })

  test('that is heard in time lives on, and shows what it told last', () => {
    const { actor, asked, clock } = beginRunning()
    for (let round = 0; round < 20; round += 1) {
      clock.advance(4999)
      actor.send({ ...beat, tree: { round }, holders: [`h${round}`] })
    }
    expect(asked).toEqual([])
    expect(actor.getSnapshot().context).toMatchObject({
      pid: 7,
      tree: { round: 19 },
      holders: ['h19'],
    })
  })

  test('is not condemned by a node that stood still itself and has not read what was told', () => {
    const { actor, asked, clock, state } = beginRunning()
    // All that was due goes off in one breath, before anything is read.
    clock.advance(5000)
    expect(state()).toContain('quiet')
    actor.send(beat)
    clock.advance(5000)
    expect([asked, state()]).toEqual([['check', 'check'], '{"running":"quiet"}'])
  })

  test('that is only starting is waited for by its supervisor, whatever it does not say', () => {
    const { asked, clock } = begin()
    clock.advance(1_000_000)
    expect([asked, clock.armed]).toEqual([[], 0])
  })

  test('that ends unasked has failed, and says why', () => {
    const { actor, clock, errors } = beginRunning()
    actor.send({ type: 'process.exited', error: died })
    expect([errors, clock.armed]).toEqual([[died], 0])
  })

  test('that told why before it ended has failed of that', () => {
    const { actor, errors } = begin()
    const reason = new Error('tasks.ts: no such file')
    actor.send({ type: 'process.failed', error: reason })
    actor.send({ type: 'process.failed', error: new Error('and more') })
    actor.send({ type: 'process.exited', error: died })
    expect(errors).toEqual([reason])
  })

  test.each([false, true])('asked to stop ends in order (already running: %p)', (isRunning) => {
    const { actor, asked, clock, errors } = isRunning ? beginRunning() : begin()
    actor.send({ type: 'stop' })
    actor.send({ type: 'stop' })
    actor.send({ type: 'process.ready' })
    clock.advance(1_000_000)
    expect([asked, actor.getSnapshot().value]).toEqual([['stop'], 'stopping'])
    actor.send({ type: 'process.exited', error: died })
    expect([actor.getSnapshot().status, errors, clock.armed]).toEqual(['done', [], 0])
    expect(asked).toEqual(['stop', 'reaped'])
  })

  test('that is hung is not asked to stop any more', () => {
    const { actor, asked, clock } = beginRunning()
    clock.advance(10_000)
    actor.send({ type: 'stop' })
    expect([asked, actor.getSnapshot().value]).toEqual([['check', 'stop', 'kill'], 'hung'])
  })

  test('whose actor is taken out leaves no process and no timer', () => {
    const { actor, asked, clock } = beginRunning()
    actor.stop()
    expect([asked, clock.armed]).toEqual([['reaped'], 0])
  })

  test('unbound, it says what to bind', () => {
    const errors: unknown[] = []
    const actor = createActor(workerProcessMachine, { input })
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    expect(String(errors[0])).toContain('bind process in actors/worker-process.ts')
  })
})
