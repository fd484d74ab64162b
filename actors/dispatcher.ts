/**
 * Binds the dispatcher: a supervisor over the one that gives out turns and over the actors of the
 * live runs. They live and fall together, for what the one knows of the others is in memory.
 */

import { type AnyActorRef, fromPromise } from 'xstate'
import { dispatcherMachine } from '../machines/dispatcher.ts'
import type { Owned } from '../machines/service.ts'
import type { SupervisorPolicy } from '../machines/supervision.ts'
import { describeError, NotAcceptingError, UnavailableError } from './errors.ts'
import { LiveRuns, type LiveRunsOptions } from './live-runs.ts'
import type { Meter } from './meter.ts'
import type { FencingToken } from './ports-fleet.ts'
import type { StormSignal } from './storm.ts'
import type { Submission, Submitted } from './submission.ts'
import { type ChildSpec, currentChild, supervisor } from './supervisor.ts'
import type { Throttle } from './throttle.ts'
import { watch } from './watch.ts'

export interface DispatcherOptions extends Omit<LiveRunsOptions, 'runsPolicy'> {
  policy: SupervisorPolicy
  random(): number
  meter?: Meter
  /** Whether results come in a flood: then less is let out, and new runs may be refused. */
  storm?: StormSignal
  /** With what share of its rate it lets tasks out. */
  throttle?: Throttle
  /** Why no runs are taken now, though this dispatcher is well. */
  refusal?(): NotAcceptingError | undefined
}

const restarting = 'the dispatcher of this node failed and starts anew; submit the same again'

const inStorm =
  'results come in a flood, and no new runs are let in until they are worked off; try again later'

/** The dispatcher as others of this node use it. */
export interface Dispatcher {
  spec(): ChildSpec
  /**
   * Resolves when every line of the source is durable.
   * @throws NotAcceptingError when draining, or full and set to refuse; UnavailableError when the
   * dispatcher fails meanwhile: the same again goes on
   */
  submit(submission: Submission): Promise<Submitted>
  /** Take up a run that nobody drives. */
  adopt(run: string, fence: FencingToken): Promise<void>
  /** Take no new runs from now on. */
  closeIntake(): void
  readonly accepting: boolean
}

export function dispatcher(options: DispatcherOptions): Dispatcher {
  const { policy } = options
  // One that ends and one that takes its place are both there for a moment.
  const runsPolicy = { ...policy, strategy: 'dynamic', childrenMax: options.runsMax * 2 } as const
  let life: LiveRuns | undefined
  let isIntakeClosed = false

  /** A life that fails closes nothing itself, and who waits for it would wait for ever. */
  const closeWhenFailed = (owner: AnyActorRef, failed: LiveRuns) =>
    watch(owner, ({ reason }) => {
      if (reason === 'normal') return
      failed.close(new UnavailableError(restarting)).catch((error: unknown) => {
        options.log.warn(describeError(error), 'a dispatcher that failed cannot be closed')
      })
    })

  let unwatchStorm = () => {}
  const watchStorm = (owner: AnyActorRef) => {
    // That of a life that failed has nobody to tell.
    unwatchStorm()
    const { storm, clock } = options
    if (storm === undefined) return () => {}
    const say = () => {
      const { isStorm } = storm
      options.tell(owner, { type: 'storm.changed', isStorm, at: clock.monotonic() })
    }
    say()
    return storm.watch(say)
  }

  let unwatchShare = () => {}
  const watchShare = (owner: AnyActorRef) => {
    unwatchShare()
    const { throttle, clock } = options
    const say = (share: number) =>
      options.tell(owner, { type: 'share.changed', share, at: clock.monotonic() })
    say(throttle?.share ?? 1)
    // Set in an action of another machine, in the middle of which this one must not take a step.
    return throttle?.listen((share) => queueMicrotask(() => say(share))) ?? (() => {})
  }

  const turns = (parent: AnyActorRef): ChildSpec => ({
    input: {
      bucket: { rate: options.rate, burst: options.burst },
      inFlightMax: options.inFlightMax,
      at: options.clock.monotonic(),
    },
    logic: dispatcherMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input: { owner } }) => {
          life = new LiveRuns({ ...options, runsPolicy }, owner, currentChild(parent, 'runs'))
          life.accepting = !isIntakeClosed
          closeWhenFailed(owner, life)
          unwatchStorm = watchStorm(owner)
          unwatchShare = watchShare(owner)
          await life.open()
        }),
        close: fromPromise<void, Owned>(async () => {
          unwatchStorm()
          unwatchShare()
          await life?.close(new NotAcceptingError('draining', 'this node is stopping', 5000))
        }),
      },
      actions: {
        grant: (_, { id }) => life?.turns.grant(id),
        awaitTokens: (_, { ms }) => life?.turns.awaitTokens(ms),
      },
    }),
  })

  const runs = (): ChildSpec =>
    supervisor({
      ...options,
      id: 'runs',
      policy: runsPolicy,
      children: [],
      specOf: (actor) => {
        if (life === undefined) throw new Error('expected a dispatcher that has live runs')
        return life.specOf(actor)
      },
    })

  return {
    spec: () =>
      supervisor({
        ...options,
        id: 'dispatcher',
        policy: { ...policy, strategy: 'one_for_all' },
        children: [
          { id: 'runs', spec: runs },
          { id: 'turns', spec: turns },
        ],
      }),
    async submit(submission) {
      life?.refuseWhenClosed()
      try {
        if (life === undefined || !life.accepting) {
          throw new NotAcceptingError('draining', 'this node is draining; try another one', 5000)
        }
        const refusal = options.refusal?.()
        if (refusal !== undefined) throw refusal
        if (options.storm?.isStorm === true && options.whenFull === 'refuse') {
          throw new NotAcceptingError('storm', inStorm, 10_000)
        }
        return await life.submit(submission)
      } catch (error) {
        if (error instanceof NotAcceptingError) options.meter?.refused(error.reason)
        throw error
      }
    },
    adopt: async (run, fence) => life?.adopt(run, fence),
    closeIntake: () => {
      isIntakeClosed = true
      life?.closeIntake()
    },
    get accepting() {
      return life?.accepting ?? false
    },
  }
}
