/** A supervisor's machine with children that do what a test says. */
import { expect } from 'bun:test'
import { createActor } from 'xstate'
import {
  type ChildPlan,
  defaultPolicy,
  type Fault,
  type SupervisorPolicy,
} from '../../machines/supervision.ts'
import { type SupervisorEvent, supervisorMachine } from '../../machines/supervisor.ts'
import { testClock } from '../kit/clock.ts'

export const policy: SupervisorPolicy = {
  ...defaultPolicy,
  intensity: 2,
  windowMs: 10_000,
  backoff: { baseMs: 200, capMs: 2000, jitter: 0.2 },
  stableMs: 3000,
  startTimeoutMs: 1000,
  stopTimeoutMs: 500,
}

/** A permanent child, unless it is said otherwise. */
export function planned(id: string, over: Partial<ChildPlan> = {}): ChildPlan {
  return {
    id,
    restart: 'permanent',
    significant: false,
    startTimeoutMs: 1000,
    stopTimeoutMs: 500,
    ...over,
  }
}

/** Begins a supervisor, on a clock that the test moves. */
export function begin(
  children: readonly (string | ChildPlan)[],
  over: Partial<SupervisorPolicy> = {},
) {
  const clock = testClock()
  const alive = new Map<string, number>()
  const started: string[] = []
  const lives = new Set<string>()
  const asked: string[] = []
  const reports: { id: string; restartInMs: number | undefined; at: number }[] = []
  const removed: string[] = []
  const refused: string[] = []
  const errors: unknown[] = []
  const actor = createActor(
    supervisorMachine.provide({
      actions: {
        startChild: (_, { id, incarnation }) => {
          expect(alive.has(id)).toBe(false)
          alive.set(id, incarnation)
          // No two lives ever bear the same name: a late word could not be told from a present one.
          expect(lives.has(`${id}:${incarnation}`)).toBe(false)
          lives.add(`${id}:${incarnation}`)
          started.push(`${id}:${incarnation}`)
        },
        askChildToStop: (_, { id }) => {
          expect(alive.has(id)).toBe(true)
          asked.push(id)
        },
        removeChild: (_, { id, incarnation }) => {
          if (alive.get(id) !== incarnation) return
          alive.delete(id)
          removed.push(id)
          // Whoever watches a child hears of its end, also of one that it made end itself.
          actor.send({ type: 'child.ended', id, incarnation })
        },
        failChild: ({ event, self }) => {
          if (event.type !== 'child.late' && event.type !== 'child.ended') return
          const { id, incarnation } = event
          self.send(failed(id, incarnation, event.type))
        },
        tellFall: ({ self }, { fall }) => {
          self.send(fall.type === 'child.failed' ? { ...fall, at: clock.monotonic() } : fall)
        },
        refuseChild: (_, { id }) => {
          refused.push(id)
        },
        reportFailure: (_, { id, restartInMs }) => {
          reports.push({ id, restartInMs, at: clock.monotonic() })
        },
      },
    }),
    {
      input: {
        name: 'root',
        policy: { ...policy, ...over },
        children: children.map((child) => (typeof child === 'string' ? planned(child) : child)),
      },
      clock: clock.timers,
    },
  )
  const failed = (
    id: string,
    incarnation: number,
    message = 'boom',
    fault?: Fault,
  ): SupervisorEvent => ({
    type: 'child.failed',
    id,
    incarnation,
    message,
    at: clock.monotonic(),
    random: 0.5,
    ...(fault === undefined ? {} : { fault }),
  })
  actor.subscribe({ error: (error) => errors.push(error) })
  actor.start()
  return {
    actor,
    clock,
    alive,
    started,
    asked,
    /** Taken out while they were alive. */
    removed,
    refused,
    reports,
    errors,
    child: (id: string) => actor.getSnapshot().context.children.find((child) => child.id === id),
    state: () => actor.getSnapshot().value,
    /** Of every child that its supervisor knows. */
    statuses: () =>
      Object.fromEntries(
        actor.getSnapshot().context.children.map(({ id, status }) => [id, status as string]),
      ),
    add: (id: string, plan: Partial<ChildPlan> = {}) => {
      actor.send({ type: 'child.add', child: planned(id, plan) })
    },
    remove: (id: string) => actor.send({ type: 'child.remove', id }),
    stop: () => actor.send({ type: 'stop' }),
    ready(id: string) {
      const incarnation = alive.get(id)
      if (incarnation !== undefined) actor.send({ type: 'child.ready', id, incarnation })
    },
    crash(id: string, fault?: Fault) {
      const incarnation = alive.get(id)
      if (incarnation === undefined) return
      alive.delete(id)
      actor.send(failed(id, incarnation, 'boom', fault))
    },
    end(id: string) {
      const incarnation = alive.get(id)
      if (incarnation === undefined) return
      alive.delete(id)
      actor.send({ type: 'child.ended', id, incarnation })
    },
    failed,
  }
}

export type Supervised = ReturnType<typeof begin>

export function allReady(it: Supervised, ids: readonly string[]): void {
  for (const id of ids) it.ready(id)
  expect(it.state()).toBe('running')
}
