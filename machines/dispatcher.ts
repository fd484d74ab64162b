/**
 * The dispatcher: decides what may go out now. An offer of tasks is granted when the token bucket
 * holds as many tokens and the tasks in flight stay within their bound; offers are granted in the
 * order in which they came, so that a large run cannot starve a small one. While memory is
 * scarce one goes out at a time: what waits takes up memory too, and has to get done to give it
 * back. While results come in a flood, a quarter of the bound is what may be in flight.
 */
import { fromPromise, setup } from 'xstate'
import { type Bucket, type BucketPolicy, fullBucket, refill, waitForTokens } from './bucket.ts'
import { type Owned, ownedBy } from './service.ts'

export interface Offer {
  id: number
  tasks: number
}

export interface DispatcherInput {
  bucket: BucketPolicy
  /** Most tasks in flight: dispatched and without a final outcome. */
  inFlightMax: number
  /** Monotonic ms. */
  at: number
}

export interface DispatcherContext {
  policy: BucketPolicy
  /** Of rate and burst this share holds now: a task costs so many more tokens. 0: none goes out. */
  share: number
  inFlightMax: number
  bucket: Bucket
  inFlight: number
  /** What keeps the tasks has hardly any memory left. */
  isScarce: boolean
  /** Results come in a flood. */
  isStorm: boolean
  offers: readonly Offer[]
}

export type DispatcherEvent =
  | { type: 'stop' }
  | { type: 'tasks.offered'; offer: Offer; at: number }
  | { type: 'offer.withdrawn'; id: number; at: number }
  /** Tasks have a final outcome; also corrects what was lost count of (then it may be negative). */
  | { type: 'tasks.settled'; tasks: number; at: number }
  | { type: 'tokens.due'; at: number }
  | { type: 'headroom.changed'; isScarce: boolean; at: number }
  | { type: 'storm.changed'; isStorm: boolean; at: number }
  /** Of the rate and the burst of the bucket, this share holds from now on. */
  | { type: 'share.changed'; share: number; at: number }
  | { type: 'intake.closed' }

/** Of the bound of tasks in flight, in a storm. */
const stormShare = 0.25

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/dispatcher.ts`)))

const machineSetup = setup({
  types: {
    context: {} as DispatcherContext,
    input: {} as DispatcherInput,
    events: {} as DispatcherEvent,
  },
  actors: { open: unbound('open'), close: unbound('close') },
  actions: {
    /** The offer may go out. */
    grant: (_, _params: { id: number }) => {
      throw new Error('bind grant in actors/dispatcher.ts')
    },
    /** Send `tokens.due` after so many ms; a later call replaces an earlier one. */
    awaitTokens: (_, _params: { ms: number }) => {
      throw new Error('bind awaitTokens in actors/dispatcher.ts')
    },
  },
})

/** What the event changes, before anything is granted. */
function change(context: DispatcherContext, event: DispatcherEvent): Partial<DispatcherContext> {
  switch (event.type) {
    case 'tasks.offered':
      return { offers: [...context.offers, event.offer] }
    case 'offer.withdrawn':
      return { offers: context.offers.filter((offer) => offer.id !== event.id) }
    case 'tasks.settled':
      return { inFlight: Math.max(0, context.inFlight - event.tasks) }
    case 'headroom.changed':
      return { isScarce: event.isScarce }
    case 'storm.changed':
      return { isStorm: event.isStorm }
    case 'share.changed':
      return { share: event.share }
    default:
      return {}
  }
}

const decide = machineSetup.enqueueActions(({ context, event, enqueue }) => {
  if (!('at' in event)) return
  const after = { ...context, ...change(context, event) }
  const offers = [...after.offers]
  let { inFlight } = after
  const inFlightMax = Math.ceil(after.inFlightMax * (after.isStorm ? stormShare : 1))
  const bucket = { ...refill(after.bucket, after.policy, event.at) }
  for (;;) {
    const next = offers[0]
    if (next === undefined || after.share <= 0) break
    // Nothing in flight: an offer larger than the bound goes alone rather than never.
    if (inFlight > 0 && (after.isScarce || inFlight + next.tasks > inFlightMax)) break
    const price = next.tasks / after.share
    const waitMs = waitForTokens(bucket, after.policy, Math.min(price, after.policy.burst))
    if (waitMs > 0) {
      enqueue({ type: 'awaitTokens', params: { ms: waitMs } })
      break
    }
    bucket.tokens -= price
    inFlight += next.tasks
    offers.shift()
    enqueue({ type: 'grant', params: { id: next.id } })
  }
  const { isScarce, isStorm, share } = after
  enqueue.assign({ offers, inFlight, bucket, isScarce, isStorm, share })
})

export const dispatcherMachine = machineSetup.createMachine({
  id: 'dispatcher',
  context: ({ input }) => ({
    policy: input.bucket,
    share: 1,
    inFlightMax: input.inFlightMax,
    bucket: fullBucket(input.bucket, input.at),
    inFlight: 0,
    isScarce: false,
    isStorm: false,
    offers: [],
  }),
  initial: 'starting',
  on: {
    'tasks.offered': { actions: decide },
    'offer.withdrawn': { actions: decide },
    'tasks.settled': { actions: decide },
    'tokens.due': { actions: decide },
    'headroom.changed': { actions: decide },
    'storm.changed': { actions: decide },
    'share.changed': { actions: decide },
  },
  states: {
    starting: {
      invoke: { src: 'open', input: ownedBy, onDone: 'accepting' },
      on: { stop: 'stopping' },
    },
    accepting: {
      tags: ['ready', 'accepting'],
      on: { stop: 'stopping', 'intake.closed': 'draining' },
    },
    /** No new runs; those at hand go on. */
    draining: {
      tags: ['ready'],
      on: { stop: 'stopping' },
    },
    stopping: {
      invoke: { src: 'close', input: ownedBy, onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
