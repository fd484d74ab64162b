/** Nodes that contend for one singleton, on leases in memory and a clock of their own. */
import { expect } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { Failovers, type LeaseObserver } from '../../actors/failovers.ts'
import { contenders } from '../../actors/lease.ts'
import type { Log } from '../../actors/ports.ts'
import type { FencingToken, Leases } from '../../actors/ports-fleet.ts'
import { singleton } from '../../actors/singleton.ts'
import type { SingletonContext, SingletonDefinition } from '../../actors/singleton-work.ts'
import type { ChildSpec } from '../../actors/supervisor.ts'
import type { TaskLine } from '../../actors/task.ts'
import { memoryLeases } from '../../runtime/memory/leases.ts'
import { testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'

export const times = { ttlMs: 1750, renewMs: 500, operationTimeoutMs: 300 }
export const limits = { startLimitMs: 5000, stopLimitMs: 1000 }
/** Of contenders that wait for the same end. */
export const jitterMs = 175

type Start = (context: SingletonContext) => ReturnType<SingletonDefinition['start']>

/** A contender that runs on its own. */
interface Contender {
  actor: AnyActorRef
  errors: unknown[]
  state(): string
}

export function contention() {
  const clock = testClock()
  const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }
  const leases = memoryLeases({ now: () => clock.now(), log: quiet })
  /** Every start there was, in order. */
  const terms: { node: string; context: SingletonContext }[] = []
  /** What was handed over to be run, in whose name. */
  const submitted: { tasks: readonly TaskLine[]; fence: FencingToken }[] = []
  /** What observers heard: `b led 1700000000000 0`. */
  const heard: string[] = []
  /** What was warned of in the name of the singleton. */
  const warned: string[] = []
  const begun: AnyActorRef[] = []
  const nodes = new Map<string, { contender(): string; failovers: Failovers }>()
  const log: Log = {
    ...quiet,
    warn: (fields, message) => {
      if ('singleton' in fields) warned.push(message)
    },
  }
  const deadLetters = new DeadLetters({ clock, log })
  const { tell } = deadLetters

  const nodeOf = (node: string) => {
    const own = nodes.get(node) ?? {
      contender: contenders(node, 'boot'),
      failovers: new Failovers(clock),
    }
    nodes.set(node, own)
    return own
  }

  const observerOf = (node: string): LeaseObserver => ({
    held: (_, epoch) => heard.push(`${node} held ${epoch}`),
    led: (_, epoch, failoverMs) => heard.push(`${node} led ${epoch} ${failoverMs}`),
    lost: (_, reason) => heard.push(`${node} lost ${reason}`),
  })

  /** One life on a node. */
  const specOf = (node: string, start: Start, over: Partial<Leases> = {}): ChildSpec => {
    const { contender, failovers } = nodeOf(node)
    const random = seededRandom()
    return singleton({
      definition: {
        name: 'a',
        start(context) {
          terms.push({ node, context })
          return start(context)
        },
      },
      contender: contender(),
      times,
      leases: { ...leases, ...over },
      clock,
      random: () => random.next(),
      log,
      tell,
      ...limits,
      failovers,
      submit: async (tasks, fence) => {
        submitted.push({ tasks, fence })
        return `run of ${node}`
      },
      observer: observerOf(node),
    })
  }

  const run = ({ logic, input }: ChildSpec): Contender => {
    const actor = createActor(logic, { input, clock: clock.timers }) as AnyActorRef
    const errors: unknown[] = []
    actor.subscribe({ error: (error: unknown) => errors.push(error) })
    actor.start()
    begun.push(actor)
    return { actor, errors, state: () => (actor.getSnapshot() as { value: string }).value }
  }

  return {
    clock,
    leases,
    log,
    tell,
    terms,
    heard,
    submitted,
    warned,
    specOf,
    run,
    begin: (node: string, start: Start = () => undefined, over: Partial<Leases> = {}) =>
      run(specOf(node, start, over)),
    /** The nodes that started, in order. */
    startedAt: () => terms.map(({ node }) => node),
    /** What a node was told when it started last. */
    termOf(node: string): SingletonContext {
      const term = terms.findLast((each) => each.node === node)
      if (term === undefined) throw new Error(`expected ${node} to have started`)
      return term.context
    },
    async close(): Promise<void> {
      for (const actor of begun) actor.stop()
      // Operations under way are given up after their time.
      await clock.pass(times.operationTimeoutMs)
      expect(clock.armed).toBe(0)
      expect(deadLetters.list()).toEqual([])
    },
  }
}

export const refusalOf = (operation: Promise<unknown>): Promise<unknown> =>
  operation.then(
    () => undefined,
    (error: unknown) => error,
  )
