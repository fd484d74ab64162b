/**
 * A live run on the node that drives it: takes tasks from its source, if it has one, and moves what
 * had to wait in its spool to the mailboxes. How is bound in actors/run.ts; that the run is
 * complete is decided by the accounting and only heard of here.
 */
import { type AnyActorRef, assign, fromPromise, setup, stateIn } from 'xstate'
import type { Owned } from './service.ts'

export interface RunInput {
  id: string
  /** The name of its actor, of which a run may have several one after the other. */
  actor: string
  hasSource: boolean
  spooled: boolean
}

export type RunEvent =
  | { type: 'stop' }
  /** Something is in the spool. */
  | { type: 'spool.filled' }

/** Whose work is to be done. */
export interface RunWork extends Owned {
  actor: string
}

const workOf = ({ context, self }: { context: RunInput; self: AnyActorRef }): RunWork => ({
  owner: self,
  actor: context.actor,
})

const unbound = (name: string) =>
  fromPromise<void, RunWork>(() => Promise.reject(new Error(`bind ${name} in actors/run.ts`)))

export const runMachine = setup({
  types: {
    context: {} as RunInput,
    input: {} as RunInput,
    events: {} as RunEvent,
  },
  actors: {
    /** Reads the source to its end and closes the run. */
    takeSource: unbound('takeSource'),
    /** Moves envelopes from the spool to their mailboxes until it is empty. */
    moveSpool: unbound('moveSpool'),
  },
  actions: {
    markFilled: assign({ spooled: true }),
    markEmpty: assign({ spooled: false }),
  },
  delays: { retrySpoolAfter: 1000 },
  guards: {
    hasSource: ({ context }) => context.hasSource,
    isSpooled: ({ context }) => context.spooled,
    isOver: stateIn({ life: 'over' }),
  },
}).createMachine({
  id: 'run',
  context: ({ input }) => ({ ...input }),
  type: 'parallel',
  states: {
    life: {
      initial: 'live',
      states: {
        live: { tags: ['ready'], on: { stop: 'over' } },
        over: { type: 'final' },
      },
    },
    source: {
      initial: 'absent',
      states: {
        absent: {
          always: [
            { guard: 'isOver', target: 'ended' },
            { guard: 'hasSource', target: 'taking' },
          ],
        },
        taking: {
          always: { guard: 'isOver', target: 'ended' },
          // A source that broke off leaves the run open: the same content resumes it.
          invoke: { src: 'takeSource', input: workOf, onDone: 'exhausted', onError: 'brokenOff' },
        },
        exhausted: { always: { guard: 'isOver', target: 'ended' } },
        brokenOff: { always: { guard: 'isOver', target: 'ended' } },
        ended: { type: 'final' },
      },
    },
    spool: {
      initial: 'empty',
      states: {
        empty: {
          always: [
            { guard: 'isOver', target: 'ended' },
            { guard: 'isSpooled', target: 'moving' },
          ],
          on: { 'spool.filled': { target: 'moving', actions: 'markFilled' } },
        },
        moving: {
          always: { guard: 'isOver', target: 'ended' },
          entry: 'markEmpty',
          invoke: { src: 'moveSpool', input: workOf, onDone: 'empty', onError: 'stuck' },
          on: { 'spool.filled': { actions: 'markFilled' } },
        },
        /** The mailboxes or Redis refused; tried again after a while. */
        stuck: {
          always: { guard: 'isOver', target: 'ended' },
          after: { retrySpoolAfter: 'moving' },
          on: { 'spool.filled': { actions: 'markFilled' } },
        },
        ended: { type: 'final' },
      },
    },
  },
})
