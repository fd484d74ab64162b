/**
 * One contender for one lease: waits without polling, acquires, holds and renews, loses, contends
 * anew under another name. Whoever holds a lease stops before somebody else can have it: when a
 * renewal is refused, when none was confirmed by the renew deadline, and, should even that come too
 * late because the event loop or the whole process stood still, when its validity is over.
 *
 * All times are points on a monotonic clock and come in the events, with whatever chance is needed;
 * validity counts from before the command left. A holder looks at the time of every event before
 * it does anything else. Operations and waits are bound in actors/lease.ts.
 */
import { assign, emit, fromCallback, fromPromise, setup } from 'xstate'
import { type LeaseTimes, leaseJitterMs, leaseMarginMs, renewDeadlineMs } from './lease-times.ts'
import { type Owned, ownedBy } from './service.ts'

/** When something was seen, on the monotonic clock, and a number in 0…1 drawn then. */
export interface Moment {
  at: number
  random: number
}

/** What an operation came to. `none`: no answer in time; it may have been done all the same. */
export type AcquireReply = Moment & { sentAt: number } & (
    | { reply: 'granted'; epoch: number }
    | { reply: 'denied'; heldForMs: number }
    | { reply: 'none' }
  )
export type RenewReply = Moment & { sentAt: number; reply: 'renewed' | 'refused' | 'none' }

/** A grant as the machine knows it: who has it, and its fencing token. */
export interface HeldGrant {
  name: string
  owner: string
  epoch: number
}

/**
 * Why a lease is lost. `refused`: Redis no longer knows of this grant; `unconfirmed`: no renewal
 * was confirmed by the renew deadline; `expired`: its validity was over before anything could be
 * done; `released`: it was asked to stop.
 */
export type LostReason = 'refused' | 'unconfirmed' | 'expired' | 'released'

/** Each `held` is followed by one `lost`; `validUntil` is a point on the monotonic clock. */
export type LeaseNews =
  | { type: 'lease.held'; grant: HeldGrant; validUntil: number }
  | { type: 'lease.renewed'; grant: HeldGrant; validUntil: number }
  | { type: 'lease.lost'; grant: HeldGrant; reason: LostReason }

export interface LeaseInput {
  name: string
  /** Node, boot and life of this contender: nobody else ever has the same. */
  contender: string
  times: LeaseTimes
}

/** A lease that is held. */
export interface Holding {
  grant: HeldGrant
  validUntil: number
  /** Given up at this moment, unless a renewal is confirmed before. */
  renewBy: number
  /** When the next renewal is sent. */
  renewAt: number
}

export interface LeaseContext extends LeaseInput {
  /** Grows with every loss, so that nothing sent for an earlier grant can touch a later one. */
  attempt: number
  /** When waiting ends. */
  wakeAt: number
  /** Asked to stop while it is not known whether it holds the lease. */
  leaving: boolean
  holding: Holding | undefined
}

export type LeaseEvent =
  /** Notices of freed leases come from now on. */
  | { type: 'lease.watched' }
  /** It was released or revoked, or that may have been missed. */
  | ({ type: 'lease.freed' } & Moment)
  /** Somebody wants to know; its validity may be over. */
  | ({ type: 'lease.checked' } & Moment)
  | { type: 'service.failed'; error: unknown }
  | { type: 'stop' }

/** The name under which it contends now. */
export function ownerOf({ contender, attempt }: LeaseContext): string {
  return `${contender}.${attempt}`
}

function holdingOf({ holding }: LeaseContext): Holding {
  if (holding === undefined) throw new Error('expected a lease that is held')
  return holding
}

/** The reason as it is known, or as the moment tells at which it was noticed. */
export function lossOf({ validUntil }: Holding, how: LostReason | Moment): LostReason {
  if (typeof how === 'string') return how
  return how.at >= validUntil ? 'expired' : 'unconfirmed'
}

function holdingSince(
  { times: { ttlMs, renewMs } }: LeaseContext,
  grant: HeldGrant,
  sentAt: number,
): Holding {
  return {
    grant,
    validUntil: sentAt + ttlMs - leaseMarginMs(ttlMs),
    renewBy: sentAt + renewDeadlineMs(ttlMs),
    renewAt: sentAt + renewMs,
  }
}

const isLate = ({ times, holding }: LeaseContext, at: number, sentAt?: number): boolean =>
  at >= (sentAt === undefined ? (holding?.renewBy ?? 0) : sentAt + renewDeadlineMs(times.ttlMs))

/** In every transition of a holder this comes first. */
const overBy = <E>(momentOf: (args: { event: E }) => Moment) => ({
  guard: { type: 'isOver' as const, params: momentOf },
  target: '#lease.waiting',
  actions: [
    { type: 'announceLost' as const, params: momentOf },
    { type: 'contendAnew' as const, params: momentOf },
  ],
})
const overByEvent = overBy<Moment>(({ event }) => event)
const overByReply = overBy<{ output: Moment }>(({ event }) => event.output)

const unbound = <Output, Input>(name: string) =>
  fromPromise<Output, Input>(() => Promise.reject(new Error(`bind ${name} in actors/lease.ts`)))

export const leaseMachine = setup({
  types: {
    context: {} as LeaseContext,
    events: {} as LeaseEvent,
    emitted: {} as LeaseNews,
    input: {} as LeaseInput,
    tags: {} as 'ready' | 'held',
  },
  actors: {
    /** Answers `lease.watched` once, and `lease.freed` from then on. */
    notices: fromCallback<LeaseEvent, Owned>(() => {
      throw new Error('bind notices in actors/lease.ts')
    }),
    acquire: unbound<AcquireReply, { name: string; owner: string; ttlMs: number }>('acquire'),
    renew: unbound<RenewReply, { grant: HeldGrant; ttlMs: number }>('renew'),
    release: unbound<Moment, { grant: HeldGrant }>('release'),
    /** Ends at that point of the monotonic clock, or a little before. */
    sleep: unbound<Moment, { until: number }>('sleep'),
  },
  guards: {
    isLeaving: ({ context }) => context.leaving,
    isGranted: (_, reply: AcquireReply) => reply.reply === 'granted',
    isGrantedInTime: ({ context }, reply: AcquireReply) =>
      reply.reply === 'granted' && !isLate(context, reply.at, reply.sentAt),
    isDenied: (_, reply: AcquireReply) => reply.reply === 'denied',
    isRenewed: (_, { reply }: RenewReply) => reply === 'renewed',
    isRefused: (_, { reply }: RenewReply) => reply === 'refused',
    isOver: ({ context }, { at }: Moment) => isLate(context, at),
  },
  actions: {
    /** Ends the actor in error: its supervisor decides what follows. */
    fail: ({ event }) => {
      if (event.type === 'service.failed') throw event.error
    },
    leave: assign({ leaving: true }),
    hold: assign(({ context }, reply: AcquireReply) => {
      if (reply.reply !== 'granted') return {}
      const grant = { name: context.name, owner: ownerOf(context), epoch: reply.epoch }
      return { holding: holdingSince(context, grant, reply.sentAt) }
    }),
    extend: assign(({ context }, { sentAt }: RenewReply) => ({
      holding: holdingSince(context, holdingOf(context).grant, sentAt),
    })),
    renewSoon: assign(({ context }, { at }: Moment) => ({
      holding: { ...holdingOf(context), renewAt: at + context.times.renewMs / 4 },
    })),
    /** Its ttl can have ended then, unless it is renewed. */
    awaitHolder: assign(({ context: { times } }, reply: AcquireReply) =>
      reply.reply === 'denied'
        ? { wakeAt: reply.at + reply.heldForMs + reply.random * leaseJitterMs(times.ttlMs) }
        : {},
    ),
    awaitAnswers: assign(({ context: { times } }, { at, random }: Moment) => ({
      wakeAt: at + (times.renewMs * (1 + random)) / 2,
    })),
    contendAnew: assign(({ context }, { at, random }: Moment) => ({
      holding: undefined,
      attempt: context.attempt + 1,
      wakeAt: at + random * leaseJitterMs(context.times.ttlMs),
    })),
    announceHeld: emit(({ context }) => {
      const { grant, validUntil } = holdingOf(context)
      return { type: 'lease.held', grant, validUntil }
    }),
    announceRenewed: emit(({ context }) => {
      const { grant, validUntil } = holdingOf(context)
      return { type: 'lease.renewed', grant, validUntil }
    }),
    announceLost: emit(({ context }, how: LostReason | Moment) => {
      const holding = holdingOf(context)
      return { type: 'lease.lost', grant: holding.grant, reason: lossOf(holding, how) }
    }),
  },
}).createMachine({
  id: 'lease',
  context: ({ input }) => ({
    ...input,
    attempt: 1,
    wakeAt: 0,
    leaving: false,
    holding: undefined,
  }),
  invoke: { id: 'notices', src: 'notices', input: ownedBy },
  initial: 'starting',
  on: { 'service.failed': { actions: 'fail' } },
  states: {
    // A release between a refusal and the first notice that is heard would be slept through.
    starting: {
      on: { 'lease.watched': 'acquiring', stop: 'stopped' },
    },
    waiting: {
      tags: ['ready'],
      invoke: {
        id: 'wait',
        src: 'sleep',
        input: ({ context }) => ({ until: context.wakeAt }),
        onDone: 'acquiring',
      },
      on: { 'lease.freed': 'acquiring', stop: 'stopped' },
    },
    acquiring: {
      tags: ['ready'],
      invoke: {
        id: 'acquire',
        src: 'acquire',
        input: ({ context }) => ({
          name: context.name,
          owner: ownerOf(context),
          ttlMs: context.times.ttlMs,
        }),
        onDone: [
          {
            guard: ({ context, event }) => context.leaving && event.output.reply === 'granted',
            target: 'releasing',
            actions: { type: 'hold', params: ({ event }) => event.output },
          },
          { guard: 'isLeaving', target: 'stopped' },
          {
            guard: { type: 'isGrantedInTime', params: ({ event }) => event.output },
            target: 'held',
            actions: [{ type: 'hold', params: ({ event }) => event.output }, 'announceHeld'],
          },
          // Heard of too late. Nobody acted on it, so the same owner may ask for it again.
          {
            guard: { type: 'isGranted', params: ({ event }) => event.output },
            target: 'acquiring',
            reenter: true,
          },
          {
            guard: { type: 'isDenied', params: ({ event }) => event.output },
            target: 'waiting',
            actions: { type: 'awaitHolder', params: ({ event }) => event.output },
          },
          {
            target: 'waiting',
            actions: { type: 'awaitAnswers', params: ({ event }) => event.output },
          },
        ],
      },
      on: {
        // The refusal that is on its way may be older than the release. To ask again is harmless.
        'lease.freed': [{ guard: 'isLeaving' }, { target: 'acquiring', reenter: true }],
        stop: { actions: 'leave' },
      },
    },
    held: {
      tags: ['ready', 'held'],
      type: 'parallel',
      on: {
        'lease.checked': overByEvent,
        stop: { target: 'releasing', actions: { type: 'announceLost', params: 'released' } },
      },
      states: {
        deadline: {
          initial: 'counting',
          states: {
            counting: {
              invoke: {
                id: 'deadline',
                src: 'sleep',
                input: ({ context }) => ({ until: holdingOf(context).renewBy }),
                onDone: [
                  overByReply,
                  // It has moved meanwhile.
                  { target: 'counting', reenter: true },
                ],
              },
            },
          },
        },
        renewal: {
          initial: 'resting',
          on: {
            // Perhaps it was this grant that was revoked.
            'lease.freed': [overByEvent, { target: '.renewing' }],
          },
          states: {
            resting: {
              invoke: {
                id: 'rest',
                src: 'sleep',
                input: ({ context }) => ({ until: holdingOf(context).renewAt }),
                onDone: [overByReply, { target: 'renewing' }],
              },
            },
            renewing: {
              invoke: {
                id: 'renew',
                src: 'renew',
                input: ({ context }) => ({
                  grant: holdingOf(context).grant,
                  ttlMs: context.times.ttlMs,
                }),
                onDone: [
                  // A confirmation that comes too late changes nothing: it may have been stopped.
                  overByReply,
                  {
                    guard: { type: 'isRefused', params: ({ event }) => event.output },
                    target: '#lease.waiting',
                    actions: [
                      { type: 'announceLost', params: 'refused' },
                      { type: 'contendAnew', params: ({ event }) => event.output },
                    ],
                  },
                  {
                    guard: { type: 'isRenewed', params: ({ event }) => event.output },
                    target: 'resting',
                    actions: [
                      { type: 'extend', params: ({ event }) => event.output },
                      'announceRenewed',
                    ],
                  },
                  {
                    target: 'resting',
                    actions: { type: 'renewSoon', params: ({ event }) => event.output },
                  },
                ],
              },
            },
          },
        },
      },
    },
    // Whatever comes of it: what was not released ends with its ttl.
    releasing: {
      invoke: {
        id: 'release',
        src: 'release',
        input: ({ context }) => ({ grant: holdingOf(context).grant }),
        onDone: 'stopped',
      },
    },
    stopped: { type: 'final' },
  },
})
