/** Binds a singleton to its lease and its work: see machines/singleton.ts. */
import { type AnyActorRef, assign, fromPromise, type SnapshotFrom } from 'xstate'
import type { LeaseTimes } from '../machines/lease-times.ts'
import type { Owned } from '../machines/service.ts'
import {
  type SingletonEvent,
  type SingletonInput,
  singletonMachine,
} from '../machines/singleton.ts'
import type { Fault } from '../machines/supervision.ts'
import { isLive, type Tell } from './dead-letters.ts'
import { FencedError, HungError, MusterError, UsageError } from './errors.ts'
import type { Failovers, LeaseObserver } from './failovers.ts'
import { fenceOf } from './fence.ts'
import { type LeaseWord, lease, type Tenure } from './lease.ts'
import { withFields } from './log-fields.ts'
import type { Clock, Log } from './ports.ts'
import type { FencingToken, Leases } from './ports-fleet.ts'
import { beginWork, type SingletonDefinition, type Work } from './singleton-work.ts'
import type { ChildSpec } from './supervisor.ts'
import type { TaskLine } from './task.ts'

const singletonName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/**
 * Declare work that is done in one place of the whole system, by whichever node leads.
 * @throws UsageError when the name cannot be used, or there is nothing to start
 */
export function defineSingleton(definition: SingletonDefinition): SingletonDefinition {
  const { name, start } = definition
  if (typeof name !== 'string' || !singletonName.test(name)) {
    throw new UsageError(
      "singleton: expected a name of 1 to 64 letters, digits, '.', '_' or '-' that begins with a " +
        `letter or a digit, got ${JSON.stringify(name)}`,
      'SINGLETON_NAME',
    )
  }
  if (typeof start !== 'function') {
    throw new UsageError(`singleton "${name}": start: expected a function, got ${typeof start}`)
  }
  return definition
}

/** Redis refused what the work wrote: somebody else leads. It may lead again, some time. */
export class LeaseLostError extends MusterError {
  /** Nothing here is broken: contend anew, and do not count it. */
  override readonly fault: Fault = 'dependency'
  constructor(cause: FencedError) {
    const { lease: name, epoch } = cause
    const message = `singleton ${name} led at epoch ${epoch} until its fence refused it`
    super('LEASE_LOST', `${message}: ${cause.message}`, { cause })
  }
}

export interface SingletonOptions {
  definition: SingletonDefinition
  /** A name nobody else ever has: ask `contenders` of actors/lease.ts for one in every life. */
  contender: string
  times: LeaseTimes
  leases: Leases
  clock: Clock
  random(): number
  log: Log
  tell: Tell
  /** How long the work may take to start, ms; default 10 000. */
  startLimitMs?: number
  /**
   * How long it may take to stop in order, ms; then it is left behind, and the lease given back. To
   * be well below what the supervisor allows: the release comes afterwards.
   */
  stopLimitMs: number
  /** Hands tasks to the dispatcher of this node, to run in the name of the fence. */
  submit(tasks: readonly TaskLine[], fence: FencingToken): Promise<string>
  /** The one of this node. */
  failovers: Failovers
  observer?: LeaseObserver
}

/**
 * A contender for the place of a singleton, for one life. Its snapshots carry the tag `ready` once
 * it contends and `active` while it leads and works; `stop` stops the work and then releases the
 * lease. Ends in error with what the work failed with, HUNG when it did not start in time, or
 * LEASE_LOST; the lease is released before.
 * @throws UsageError LEASE_TIMES or SINGLETON_TIMES when the times cannot be used
 */
export function singleton(options: SingletonOptions): ChildSpec {
  const { definition, contender, times, clock, random, failovers, observer, tell } = options
  const { name } = definition
  const { startLimitMs = 10_000, stopLimitMs } = options
  checkLimits(name, { startLimitMs, stopLimitMs })
  const log = withFields(options.log, { singleton: name })
  const leases = failovers.listen(name, options.leases)
  let self: AnyActorRef | undefined
  let tenure: Tenure | undefined
  let work: Work | undefined

  const say = (event: SingletonEvent): void => {
    // Who is taken out by force loses its lease in silence.
    if (self !== undefined && isLive(self)) tell(self, event)
  }

  const hear = (word: LeaseWord): void => {
    const { epoch } = word.tenure.grant
    if (word.type === 'lease.held') {
      tenure = word.tenure
      observer?.held(name, epoch)
      say({ type: 'lease.held', epoch })
    } else {
      failovers.ended(name)
      observer?.lost(name, word.reason)
      say({ type: 'lease.lost', epoch, reason: word.reason })
    }
  }

  const contend = lease({ ...options, name, contender, leases, tell: hear })

  /** The lease has not noticed yet: it is to ask at once. */
  const doubt = (): void => {
    const snapshot = self?.getSnapshot() as SnapshotFrom<typeof singletonMachine> | undefined
    const actor = snapshot?.children.lease
    if (actor === undefined || !isLive(actor)) return
    tell(actor, { type: 'lease.freed', at: clock.monotonic(), random: random() })
  }

  const begin = (term: Tenure): Work => {
    const { epoch } = term.grant
    const fence = fenceOf(term, leases, doubt)
    const submit = async (tasks: readonly TaskLine[]) => {
      fence.assert()
      return options.submit(tasks, { lease: name, epoch })
    }
    const ownLog = withFields(log, { epoch })
    return beginWork({ definition, tenure: term, fence, submit, clock, log: ownLog })
  }

  const logic = singletonMachine.provide({
    actors: {
      lease: contend.logic as never,
      start: fromPromise<void, Owned>(async () => {
        if (tenure === undefined) throw new Error('expected a lease that is held')
        work = begin(tenure)
        try {
          await work.started
        } catch (error) {
          throw failureOf(name, error)
        }
      }),
      stopWork: fromPromise<void, Owned>(async () => work?.stop()),
    },
    actions: {
      introduce: ({ self: actor }) => {
        self = actor
      },
      announceActive: ({ context: { epoch } }) => {
        const failoverMs = failovers.takenOver(name)
        log.info({ epoch, failoverMs }, 'a singleton leads')
        observer?.led(name, epoch, failoverMs)
        work?.onEnd((end) => {
          if (!('error' in end)) say({ type: 'work.ended', epoch })
          else say({ type: 'work.failed', epoch, error: failureOf(name, end.error) })
        })
      },
      abandonWork: () => work?.abandon(),
      reportLeftBehind: ({ context: { epoch } }) => {
        log.warn({ epoch, stopLimitMs }, 'the work of a singleton did not stop in time')
      },
      noteLate: assign(() => {
        const message = `singleton ${name}: expected it to start within ${startLimitMs} ms`
        return { failure: { error: new HungError(`${message}; its start is left behind`) } }
      }),
    },
  })
  const input: SingletonInput = { lease: { name, contender, times }, startLimitMs, stopLimitMs }
  return { logic, input }
}

/** What a failure of the work means: being refused by its own fence is none of its faults. */
function failureOf(name: string, error: unknown): unknown {
  return error instanceof FencedError && error.lease === name ? new LeaseLostError(error) : error
}

function checkLimits(name: string, limits: Record<string, number>): void {
  for (const [field, got] of Object.entries(limits)) {
    if (got > 0 && got < 2 ** 31) continue
    const expected = 'expected a number of milliseconds above 0 that a timer can hold'
    throw new UsageError(`singleton ${name}: ${field}: ${expected}, got ${got}`, 'SINGLETON_TIMES')
  }
}
