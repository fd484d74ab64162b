/** Binds a node's membership to the members port. */
import { fromPromise } from 'xstate'
import {
  type BeatInput,
  type BeatOutput,
  type MemberInput,
  memberMachine,
} from '../machines/member.ts'
import type { Owned } from '../machines/service.ts'
import { describeError, UnavailableError } from './errors.ts'
import type { Clock, Log } from './ports.ts'
import type { Member, MemberRecord, Members } from './ports-fleet.ts'
import type { ChildSpec } from './supervisor.ts'

export interface MemberOptions {
  members: Members
  /** Asked at each beat. What it says of the state is passed over: the actor knows that itself. */
  describe(): Omit<Member, 'state'>
  /** Whether the process of another boot of this node has ended: see BeatOptions. */
  isGone?(twin: MemberRecord): boolean
  heartbeatMs: number
  /** Silence after which a node is dead, ms. */
  staleMs: number
  clock: Pick<Clock, 'monotonic'>
  log: Log
}

/**
 * Ready once the node is registered. Takes `drain`, `connection.back` and `stop`. Ends in error
 * with LIVE_TWIN or DISPLACED, of fault `fatal` both; that Redis is away is no failure.
 */
export function member(options: MemberOptions): ChildSpec {
  const { members, describe, staleMs, clock, log } = options
  const isGone = options.isGone?.bind(options)
  let unheardSinceMs: number | undefined

  const noteMissed = (error: UnavailableError) => {
    if (unheardSinceMs !== undefined) return
    unheardSinceMs = clock.monotonic()
    log.warn(
      { staleMs, ...describeError(error) },
      'cannot tell the other nodes that this one lives',
    )
  }

  const noteHeard = () => {
    if (unheardSinceMs === undefined) return
    const awayMs = Math.round(clock.monotonic() - unheardSinceMs)
    unheardSinceMs = undefined
    log.info({ awayMs }, 'the other nodes hear of this one again')
  }

  return {
    input: { heartbeatMs: options.heartbeatMs } satisfies MemberInput,
    logic: memberMachine.provide({
      actors: {
        beat: fromPromise<BeatOutput, BeatInput>(async ({ input: { state } }) => {
          try {
            const said = { ...describe(), state }
            await members.beat(said, { staleMs, ...(isGone === undefined ? {} : { isGone }) })
          } catch (error) {
            if (!(error instanceof UnavailableError)) throw error
            noteMissed(error)
            return { state, accepted: false }
          }
          noteHeard()
          return { state, accepted: true }
        }),
        leave: fromPromise<void, Owned>(async () => {
          const { id, boot } = describe()
          try {
            await members.leave(id, boot)
          } catch (error) {
            if (!(error instanceof UnavailableError)) throw error
            const fields = { staleMs, ...describeError(error) }
            log.warn(fields, 'cannot say farewell: the other nodes will take this one for dead')
          }
        }),
      },
    }),
  }
}
