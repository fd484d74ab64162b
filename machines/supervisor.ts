/**
 * A supervisor: starts its children one after the other, each awaited until it is ready; restarts
 * what fails by its strategy, after a back-off, as often as its intensity allows; stops them in
 * reverse. When the intensity is used up, or the first start fails, it stops what is left and fails
 * itself, so that the level above decides. Whoever is ready and falls while the others are still in
 * the first start has not failed it: that is dealt with when the start is over.
 *
 * Time and randomness come in the events. Children are named by id and incarnation, so that the
 * late word of an earlier life cannot be taken for the present one's. The rules are those of
 * supervision.ts; who lives and how to bring them to life is bound in actors/supervisor.ts.
 */
import { and, cancel } from 'xstate'
import type { ChildPlan, Fault, SupervisorPolicy } from './supervision.ts'
import { waitingChild } from './supervisor-children.ts'
import { doomAll, failStart, giveUp } from './supervisor-ends.ts'
import {
  advanceRound,
  bookFailure,
  doomOne,
  enlistChild,
  markEnded,
  markGone,
  markReady,
  openRound,
  putOffFall,
  refuse,
  restartNow,
  startAdded,
  startNext,
  stopNext,
  supervisorSetup,
  tellFalls,
} from './supervisor-steps.ts'

export type ChildStatus =
  | 'waiting'
  | 'starting'
  | 'ready'
  | 'backingOff'
  | 'suspended'
  /** It was ready and is no more, and that is dealt with when the first start is over. */
  | 'fallen'
  | 'stopping'
  | 'stopped'

export interface Child extends ChildPlan {
  status: ChildStatus
  incarnation: number
  restarts: number
  /** It is alive and to be stopped, when its turn comes. */
  doomed: boolean
  /** Somebody else does its work now: it is not started here again. */
  fenced: boolean
  /** Failures since it was last stable. */
  streak: number
  /** Those of them that count. */
  strikes: number
  lastFailedAt?: number
  lastError?: string
  /** When its latest restart was due, on the clock of the failures. */
  dueAt?: number
}

export interface SupervisorInput {
  name: string
  policy: SupervisorPolicy
  children: readonly ChildPlan[]
}

export interface SupervisorContext {
  name: string
  policy: SupervisorPolicy
  /** In order of start. */
  children: readonly Child[]
  /** Times of the failures inside the window. */
  failures: readonly number[]
  /** The latest incarnation among the children that are gone: their names may be given again. */
  goneIncarnation: number
  /** Ends of children that were ready, in order: to be heard when the first start is over. */
  falls: readonly Fall[]
  /** Back-off of a restart that concerns several children is over. */
  roundIsDue: boolean
  /** Why it ends in error, when it does. */
  verdict?: { message: string; cause: unknown }
}

/** The word of a child's end. One that was put off is sent by the supervisor to itself. */
export type Fall =
  | { type: 'child.ended'; id: string; incarnation: number; isPutOff?: true }
  | {
      type: 'child.failed'
      id: string
      incarnation: number
      message: string
      /** Default: a bug. */
      fault?: Fault
      /** What it threw, to be handed up when the supervisor gives up. */
      cause?: unknown
      at: number
      random: number
      isPutOff?: true
    }

export type SupervisorEvent =
  | Fall
  | { type: 'child.add'; child: ChildPlan }
  | { type: 'child.remove'; id: string }
  | { type: 'child.ready'; id: string; incarnation: number }
  | { type: 'child.due'; id: string; incarnation: number }
  | { type: 'child.late'; id: string; incarnation: number }
  | { type: 'round.due' }
  | { type: 'verdict.due' }
  | { type: 'stop' }
  | { type: `xstate.error.actor.${string}` }

export const supervisorMachine = supervisorSetup.createMachine({
  id: 'supervisor',
  context: ({ input }) => ({
    name: input.name,
    policy: input.policy,
    failures: [],
    children: input.children.map((plan) => waitingChild(plan, 0)),
    goneIncarnation: 0,
    falls: [],
    roundIsDue: true,
  }),
  initial: 'starting',
  on: {
    // The binding puts XState's own word of a failure into ours; unbound, it adds nothing.
    'xstate.error.actor.*': {},
  },
  states: {
    starting: {
      entry: startNext,
      always: { guard: 'isSettled', target: 'running' },
      on: {
        'child.add': [
          { guard: and(['isNew', 'isAcceptable']), actions: enlistChild },
          { guard: 'isNew', actions: refuse },
        ],
        'child.remove': { actions: [doomOne, stopNext, startNext] },
        'child.ready': { guard: 'isCurrent', actions: [markReady, startNext] },
        'child.failed': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('stopped'), stopNext, startNext],
          },
          { guard: and(['isCurrent', 'isFatal']), actions: failStart, target: 'stopping' },
          { guard: and(['isCurrent', 'isReady']), actions: putOffFall },
          { guard: 'isCurrent', actions: failStart, target: 'stopping' },
        ],
        'child.late': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('stopped'), stopNext, startNext],
          },
          { guard: 'isCurrent', actions: 'failChild' },
        ],
        'child.ended': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('stopped'), stopNext, startNext],
          },
          { guard: and(['isCurrent', 'isPermanent']), actions: 'failChild' },
          { guard: and(['isCurrent', 'isReady']), actions: putOffFall },
          { guard: and(['isCurrent', 'endsAll']), actions: markEnded, target: 'stopping' },
          { guard: 'isCurrent', actions: [markEnded, startNext] },
        ],
        stop: 'stopping',
      },
    },
    running: {
      tags: ['ready'],
      entry: tellFalls,
      on: {
        'child.add': [
          { guard: and(['isNew', 'isAcceptable']), actions: [enlistChild, startAdded] },
          { guard: 'isNew', actions: refuse },
        ],
        'child.remove': { actions: [doomOne, stopNext] },
        'child.ready': { guard: 'isCurrent', actions: markReady },
        'child.failed': [
          { guard: and(['isCurrent', 'isStopping']), actions: [markGone('stopped'), stopNext] },
          { guard: and(['isCurrent', 'isFatal']), actions: giveUp, target: 'stopping' },
          {
            guard: and(['isCurrent', 'isLost', 'endsAll']),
            actions: markEnded,
            target: 'stopping',
          },
          { guard: and(['isCurrent', 'isLost']), actions: markEnded },
          {
            guard: and(['isCurrent', 'hasBudget', 'isGrouped']),
            actions: [bookFailure, openRound],
            target: 'restarting',
          },
          { guard: and(['isCurrent', 'hasBudget']), actions: bookFailure },
          { guard: 'isCurrent', actions: giveUp, target: 'stopping' },
        ],
        'child.due': { guard: 'isDue', actions: restartNow },
        'child.late': [
          { guard: and(['isCurrent', 'isStopping']), actions: [markGone('stopped'), stopNext] },
          { guard: 'isCurrent', actions: 'failChild' },
        ],
        'child.ended': [
          { guard: and(['isCurrent', 'isStopping']), actions: [markGone('stopped'), stopNext] },
          { guard: and(['isCurrent', 'isPermanent']), actions: 'failChild' },
          { guard: and(['isCurrent', 'endsAll']), actions: markEnded, target: 'stopping' },
          { guard: 'isCurrent', actions: markEnded },
        ],
        stop: 'stopping',
      },
    },
    /** Several are restarted together: stopped in reverse, awaited, started in order. */
    restarting: {
      tags: ['ready'],
      entry: advanceRound,
      exit: cancel('round'),
      always: { guard: 'isSettled', target: 'running' },
      on: {
        'round.due': {
          actions: [supervisorSetup.assign({ roundIsDue: true }), advanceRound],
        },
        'child.add': [
          { guard: and(['isNew', 'isAcceptable']), actions: [enlistChild, advanceRound] },
          { guard: 'isNew', actions: refuse },
        ],
        'child.remove': { actions: [doomOne, advanceRound] },
        'child.ready': { guard: 'isCurrent', actions: [markReady, advanceRound] },
        'child.failed': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('waiting'), advanceRound],
          },
          { guard: and(['isCurrent', 'isFatal']), actions: giveUp, target: 'stopping' },
          {
            guard: and(['isCurrent', 'isLost', 'endsAll']),
            actions: markEnded,
            target: 'stopping',
          },
          { guard: and(['isCurrent', 'isLost']), actions: [markEnded, advanceRound] },
          {
            guard: and(['isCurrent', 'hasBudget']),
            actions: [bookFailure, openRound],
            target: 'restarting',
            reenter: true,
          },
          { guard: 'isCurrent', actions: giveUp, target: 'stopping' },
        ],
        'child.late': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('waiting'), advanceRound],
          },
          { guard: 'isCurrent', actions: 'failChild' },
        ],
        'child.ended': [
          {
            guard: and(['isCurrent', 'isStopping']),
            actions: [markGone('waiting'), advanceRound],
          },
          { guard: and(['isCurrent', 'isPermanent']), actions: 'failChild' },
          { guard: and(['isCurrent', 'endsAll']), actions: markEnded, target: 'stopping' },
          { guard: 'isCurrent', actions: [markEnded, advanceRound] },
        ],
        stop: 'stopping',
      },
    },
    stopping: {
      entry: [doomAll, stopNext],
      always: [
        { guard: and(['nothingAlive', 'hasFailed']), target: 'failed' },
        { guard: 'nothingAlive', target: 'stopped' },
      ],
      on: {
        'child.ended': { guard: 'isCurrent', actions: [markGone('stopped'), stopNext] },
        'child.failed': { guard: 'isCurrent', actions: [markGone('stopped'), stopNext] },
        'child.late': { guard: 'isCurrent', actions: [markGone('stopped'), stopNext] },
      },
    },
    stopped: { type: 'final' },
    failed: { entry: 'tellVerdict', on: { 'verdict.due': { actions: 'fail' } } },
  },
})
