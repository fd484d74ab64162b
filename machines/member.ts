/**
 * A node's own membership: it says again and again that it is there, and at once when there is news
 * of it. That a word did not arrive is no failure: whoever hears nothing for long enough draws his
 * own conclusions. What is said, and to whom, is bound in actors/member.ts.
 */
import { type AnyActorRef, assign, fromPromise, raise, setup, stateIn } from 'xstate'
import type { SaidState } from './membership.ts'
import { type Owned, ownedBy } from './service.ts'

export type MemberEvent =
  | { type: 'stop' }
  /** The node takes no new work from now on. */
  | { type: 'drain' }
  /** What the others hear it through is back after an outage. */
  | { type: 'connection.back' }
  /** What it says of itself has changed. */
  | { type: 'news' }
  | { type: 'beat.accepted' }

export interface MemberInput {
  heartbeatMs: number
}

export interface MemberContext {
  heartbeatMs: number
  /** What is to be said. */
  state: SaidState
  /** What the others last heard. */
  told?: SaidState
  /** What is on its way was put together before something changed. */
  isOutdated: boolean
}

export interface BeatInput extends Owned {
  state: SaidState
}

/** What became of a beat; a refusal rejects, and ends the actor. */
export interface BeatOutput {
  state: SaidState
  /** False: nobody could be told. */
  accepted: boolean
}

const beatOf = ({ context, self }: { context: MemberContext; self: AnyActorRef }): BeatInput => ({
  owner: self,
  state: context.state,
})

const memberSetup = setup({
  types: {
    context: {} as MemberContext,
    input: {} as MemberInput,
    events: {} as MemberEvent,
  },
  actors: {
    beat: fromPromise<BeatOutput, BeatInput>(() =>
      Promise.reject(new Error('bind beat in actors/member.ts')),
    ),
    leave: fromPromise<void, Owned>(() =>
      Promise.reject(new Error('bind leave in actors/member.ts')),
    ),
  },
  actions: {
    say: assign((_, state: SaidState) => ({ state })),
    noteTold: assign((_, told: SaidState) => ({ told })),
    noteUpToDate: assign({ isOutdated: false }),
    noteOutdated: assign({ isOutdated: true }),
  },
  guards: {
    hasNews: ({ context }) => context.isOutdated || context.told !== context.state,
    isDraining: ({ context }) => context.state === 'draining',
    isStopping: stateIn({ life: 'silencing' }),
    isSilent: stateIn({ beat: 'ended' }),
  },
  delays: { heartbeat: ({ context }) => context.heartbeatMs },
})

export const memberMachine = memberSetup.createMachine({
  id: 'member',
  context: ({ input }) => ({
    heartbeatMs: input.heartbeatMs,
    state: 'joining',
    isOutdated: false,
  }),
  type: 'parallel',
  states: {
    life: {
      initial: 'joining',
      states: {
        joining: {
          on: {
            'beat.accepted': [{ guard: 'isDraining', target: 'draining' }, { target: 'alive' }],
            drain: { actions: { type: 'say', params: 'draining' } },
            stop: 'silencing',
          },
        },
        alive: {
          tags: ['ready'],
          entry: { type: 'say', params: 'alive' },
          on: { drain: 'draining', stop: 'silencing' },
        },
        draining: {
          tags: ['ready'],
          entry: { type: 'say', params: 'draining' },
          on: { stop: 'silencing' },
        },
        // A beat that arrived after the farewell would bring the node back as a ghost.
        silencing: { always: { guard: 'isSilent', target: 'leaving' } },
        leaving: { invoke: { src: 'leave', input: ownedBy, onDone: 'left' } },
        left: { type: 'final' },
      },
    },
    beat: {
      initial: 'sending',
      states: {
        sending: {
          entry: 'noteUpToDate',
          on: { news: { actions: 'noteOutdated' } },
          invoke: {
            src: 'beat',
            input: beatOf,
            onDone: [
              { guard: 'isStopping', target: 'ended' },
              {
                guard: ({ event }) => event.output.accepted,
                target: 'heard',
                actions: [
                  { type: 'noteTold', params: ({ event }) => event.output.state },
                  raise({ type: 'beat.accepted' }),
                ],
              },
              { target: 'unheard' },
            ],
          },
        },
        heard: {
          always: { guard: 'hasNews', target: 'sending' },
          after: { heartbeat: 'sending' },
          on: { news: 'sending', stop: 'ended' },
        },
        unheard: {
          after: { heartbeat: 'sending' },
          on: { drain: 'sending', 'connection.back': 'sending', stop: 'ended' },
        },
        ended: { type: 'final' },
      },
    },
  },
})
