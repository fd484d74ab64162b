/**
 * Binds a contender for a lease to the leases port, the clock and chance, and tells its owner when
 * the lease is held and when it is lost.
 */
import { fromCallback, fromPromise } from 'xstate'
import {
  type AcquireReply,
  type HeldGrant,
  type LeaseEvent,
  type LeaseInput,
  type LostReason,
  leaseMachine,
  lossOf,
  type Moment,
  type RenewReply,
} from '../machines/lease.ts'
import { checkLeaseTimes, type LeaseTimes } from '../machines/lease-times.ts'
import type { Owned } from '../machines/service.ts'
import { isLive } from './dead-letters.ts'
import { describeError, FencedError, UnavailableError, UsageError } from './errors.ts'
import type { Clock, Log } from './ports.ts'
import type { Grant, Leases } from './ports-fleet.ts'
import type { ChildSpec } from './supervisor.ts'

/** What somebody works with while he holds a lease. It ends for good when the lease is lost. */
export interface Tenure {
  readonly grant: Grant
  /** Aborted as soon as the loss is noticed; with `isValid` it is noticed without delay. */
  readonly signal: AbortSignal
  /**
   * Whether the lease is held at this very moment, by the monotonic clock: to be asked before every
   * effect, because after a pause of the process nothing else has had its turn yet.
   */
  isValid(): boolean
  /** @throws FencedError unless it is valid */
  assert(): void
}

/** What the owner hears. Each `held` is followed by one `lost`, also when the actor is killed. */
export type LeaseWord =
  | { type: 'lease.held'; tenure: Tenure }
  | { type: 'lease.lost'; tenure: Tenure; reason: LostReason }

export interface LeaseOptions {
  name: string
  /** A name nobody else ever has, in this life or another one: see `contenders`. */
  contender: string
  times: LeaseTimes
  leases: Leases
  clock: Clock
  random(): number
  log: Log
  /** Called in the middle of things: it must not throw, and not wait. */
  tell(word: LeaseWord): void
}

/** Names for all contenders of a node, `<node>/<boot>/<number>`: ask for one in every life. */
export function contenders(node: string, boot: string): () => string {
  let count = 0
  return () => {
    count += 1
    return `${node}/${boot}/${count}`
  }
}

/** The id of the node in the name of an owner. */
export function holderOf(owner: string): string {
  return owner.split('/', 1)[0] ?? owner
}

/**
 * Somebody came with an epoch that is not, or no longer, the newest.
 * @param newest epoch of the newest grant that is known, 0 when there is none
 */
export function fenced(name: string, epoch: number, newest: number): FencedError {
  const got = newest === 0 ? 'no grant of it is known' : `the newest is ${newest}`
  return new FencedError(
    name,
    epoch,
    `lease ${name}: expected epoch ${epoch} to be the newest grant, but ${got}; ` +
      'nothing was written, and whoever holds the lease now goes on with the work',
  )
}

/**
 * A contender for a lease, for one life. Its snapshots carry the tag `ready` once it contends and
 * `held` while it holds; `stop` releases.
 * @throws UsageError LEASE_TIMES when the times contradict each other
 */
export function lease(options: LeaseOptions): ChildSpec {
  const { name, contender, times, leases, clock, random, log, tell } = options
  const contradiction = checkLeaseTimes(times)
  if (contradiction !== undefined) {
    throw new UsageError(`lease ${name}: ${contradiction}`, 'LEASE_TIMES')
  }
  const moment = (): Moment => ({ at: clock.monotonic(), random: random() })
  let current: OpenTenure | undefined
  let isAway = false

  /** The answer, or undefined when there was none in time. Never rejects. */
  const ask = async <T>(what: string, operation: () => Promise<T>): Promise<T | undefined> => {
    try {
      const answer = await inTime(operation, times.operationTimeoutMs, clock)
      isAway = false
      return answer
    } catch (error) {
      const fields = { lease: name, operation: what, error: describeError(error).message }
      if (isAway) log.debug(fields, 'a lease operation failed again')
      else log.warn(fields, 'a lease operation failed; it is tried again')
      isAway = true
      return undefined
    }
  }

  const end = (reason: LostReason) => {
    const tenure = current
    current = undefined
    tenure?.close()
    if (tenure !== undefined) tell({ type: 'lease.lost', tenure, reason })
  }

  const machine = leaseMachine.provide({
    actors: {
      notices: fromCallback<LeaseEvent, Owned>(({ sendBack }) => {
        let isOpen = true
        const heard = (freed: string | undefined) => {
          if (isOpen && (freed === undefined || freed === name)) {
            sendBack({ type: 'lease.freed', ...moment() })
          }
        }
        const watching = leases.watch(heard)
        watching.then(
          () => isOpen && sendBack({ type: 'lease.watched' }),
          (error: unknown) => isOpen && sendBack({ type: 'service.failed', error }),
        )
        return () => {
          isOpen = false
          // Taken out without being asked to stop: nobody renews any more.
          end('released')
          watching
            .then((unwatch) => unwatch())
            .catch((error: unknown) => {
              const fields = { lease: name, error: describeError(error).message }
              log.debug(fields, 'notices of a lease were not unsubscribed')
            })
        }
      }),
      acquire: fromPromise<AcquireReply, { name: string; owner: string; ttlMs: number }>(
        async ({ input }) => {
          const sentAt = clock.monotonic()
          const { owner, ttlMs } = input
          const acquired = await ask('acquire', () => leases.acquire(name, owner, ttlMs))
          if (acquired === undefined) return { reply: 'none', sentAt, ...moment() }
          return acquired.granted
            ? { reply: 'granted', epoch: acquired.epoch, sentAt, ...moment() }
            : { reply: 'denied', heldForMs: acquired.heldForMs, sentAt, ...moment() }
        },
      ),
      renew: fromPromise<RenewReply, { grant: HeldGrant; ttlMs: number }>(async ({ input }) => {
        const sentAt = clock.monotonic()
        const isRenewed = await ask('renew', () => leases.renew(input.grant, input.ttlMs))
        if (isRenewed === undefined) return { reply: 'none', sentAt, ...moment() }
        return { reply: isRenewed ? 'renewed' : 'refused', sentAt, ...moment() }
      }),
      release: fromPromise<Moment, { grant: HeldGrant }>(async ({ input }) => {
        await ask('release', () => leases.release(input.grant))
        return moment()
      }),
      sleep: fromPromise<Moment, { until: number }>(async ({ input, signal }) => {
        await clock.wait(Math.max(0, input.until - clock.monotonic()), signal)
        return moment()
      }),
    },
    actions: {
      announceHeld: ({ context: { holding }, self }) => {
        if (holding === undefined) return
        const { grant, validUntil } = holding
        const onOver = () => {
          if (isLive(self)) self.send({ type: 'lease.checked', ...moment() })
        }
        current = openTenure(grant, validUntil, clock, onOver)
        log.info({ lease: name, epoch: grant.epoch }, 'a lease is held')
        tell({ type: 'lease.held', tenure: current })
      },
      announceRenewed: ({ context: { holding } }) => {
        if (holding !== undefined) current?.extend(holding.validUntil)
      },
      announceLost: ({ context: { holding } }, how) => {
        if (holding === undefined) return
        const reason = lossOf(holding, how)
        const fields = { lease: name, epoch: holding.grant.epoch, reason }
        if (reason === 'released') log.info(fields, 'a lease is given back')
        else log.warn(fields, 'a lease is lost')
        end(reason)
      },
    },
  })
  const input: LeaseInput = { name, contender, times }
  return { logic: machine, input }
}

interface OpenTenure extends Tenure {
  extend(validUntil: number): void
  close(): void
}

function openTenure(
  grant: Grant,
  until: number,
  clock: Pick<Clock, 'monotonic'>,
  onOver: () => void,
): OpenTenure {
  const loss = new AbortController()
  let validUntil = until
  const isValid = () => {
    if (loss.signal.aborted) return false
    if (clock.monotonic() < validUntil) return true
    onOver()
    return false
  }
  return {
    grant,
    signal: loss.signal,
    isValid,
    assert() {
      if (isValid()) return
      const message =
        `expected lease ${grant.name} to be held at epoch ${grant.epoch}, but it is lost; ` +
        'whoever holds it now goes on with the work'
      throw new FencedError(grant.name, grant.epoch, message)
    },
    extend(later) {
      validUntil = later
    },
    close: () => loss.abort(),
  }
}

/** @throws UnavailableError when there is no answer in time; what it throws otherwise */
async function inTime<T>(operation: () => Promise<T>, ms: number, clock: Clock): Promise<T> {
  const answered = new AbortController()
  const late = Symbol('late')
  try {
    const first = await Promise.race([
      operation(),
      clock.wait(ms, answered.signal).then(() => late),
    ])
    if (first !== late) return first as T
    throw new UnavailableError(`expected an answer within ${ms} ms, got none`)
  } finally {
    answered.abort()
  }
}
