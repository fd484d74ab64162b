/**
 * How a node is, and what that means for its work. Operators ask for states; by what it sees of
 * itself the node changes its own (system-rules.ts). What a state does is bound in
 * actors/system.ts.
 */
import { assign, fromPromise, raise, setup } from 'xstate'
import { type Owned, ownedBy } from './service.ts'
import {
  afterReflection,
  type Diagnosis,
  judge,
  marks,
  type SystemFacts,
  type SystemMarks,
  type SystemPolicy,
  type SystemState,
  successorsOf,
} from './system-rules.ts'

/** A change that somebody wants: an operator, or the node itself. */
export interface SystemChange {
  to: SystemState
  reason: string
  actor: string
  /** A person wants it: a DEGRADED so entered stays until a person wants something else. */
  isAsked: boolean
}

/** When, by both clocks: monotonic and epoch ms. */
export interface SystemTime {
  at: number
  now: number
}

/** A change that was made. */
export interface SystemMove extends SystemChange {
  from: SystemState
  now: number
  /** To the state that it had: nothing else follows. */
  isNoop: boolean
}

export type SystemEvent =
  | { type: 'stop' }
  /** One that is not allowed, or says no reason, changes nothing. */
  | ({ type: 'state.change' } & SystemChange & SystemTime)
  | ({ type: 'looked'; facts: SystemFacts } & SystemTime)
  /** Everything of this node has come up once. */
  | ({ type: 'up'; facts: SystemFacts } & SystemTime)

export interface SystemInput {
  policy: SystemPolicy
  /** The node was up before this life of its state. */
  isUp: boolean
}

/** What is known when this life begins. */
export interface SystemOpened extends SystemTime {
  /** Why and by whom everything is paused, if it is. */
  pause?: { reason: string; actor: string }
  /** Why it starts, otherwise. */
  reason: string
}

export interface SystemDiagnosed extends SystemTime {
  diagnosis: Diagnosis
}

export interface SystemContext extends SystemMarks {
  /** Of the present state: since when (epoch ms), why, and by whom. */
  since: number
  reason: string
  actor: string
  /** Epoch ms of the last change, those that changed nothing included. */
  changedAt: number
  diagnosis: Diagnosis | undefined
  /** How long it was in each state, ms, the present stay left out. */
  spentMs: Record<SystemState, number>
}

const nothing: SystemFacts = { ailments: [], errors: 0, warnings: 0 }

const systemSetup = setup({
  types: {
    context: {} as SystemContext,
    input: {} as SystemInput,
    events: {} as SystemEvent,
  },
  actors: {
    open: fromPromise<SystemOpened, Owned>(() =>
      Promise.reject(new Error('bind open in actors/system.ts')),
    ),
    close: fromPromise<void, Owned>(() =>
      Promise.reject(new Error('bind close in actors/system.ts')),
    ),
    /** Rejects where it cannot be told how the node is: with the error's message as the reason. */
    diagnose: fromPromise<SystemDiagnosed, Owned>(() =>
      Promise.reject(new Error('bind diagnose in actors/system.ts')),
    ),
  },
  actions: {
    /** The state is as `to` says. */
    act: (_, _params: { to: SystemState }) => {
      throw new Error('bind act in actors/system.ts')
    },
    tellMove: (_, _move: SystemMove) => {
      throw new Error('bind tellMove in actors/system.ts')
    },
    /** Time is told by whoever sends events; of this end nobody does. */
    failDiagnosis: (_, _params: { error: unknown }) => {
      throw new Error('bind failDiagnosis in actors/system.ts')
    },
    begin: assign((_, { at, now, pause }: SystemOpened) => ({
      since: now,
      sinceAt: at,
      changedAt: now,
      reason: pause?.reason ?? 'the node starts',
      actor: pause?.actor ?? 'system',
    })),
    enter: assign(({ context }, { from, at, ...move }: SystemMove & SystemTime) => ({
      since: move.now,
      sinceAt: at,
      changedAt: move.now,
      reason: move.reason,
      actor: move.actor,
      isHeld: move.isAsked && move.to === 'DEGRADED',
      // It has to last anew, in the new state.
      illAt: undefined,
      wellAt: undefined,
      lowAt: undefined,
      ...(move.to === 'REFLECTIVE' ? { reflectedAt: at } : {}),
      spentMs: { ...context.spentMs, [from]: context.spentMs[from] + at - context.sinceAt },
    })),
    noteNoop: assign((_, { now, to, isAsked }: SystemMove) => ({
      changedAt: now,
      ...(isAsked ? { isHeld: to === 'DEGRADED' } : {}),
    })),
    keepDiagnosis: assign((_, { diagnosis }: SystemDiagnosed) => ({ diagnosis })),
  },
  guards: {
    leadsTo: ({ event }, { to }: { to: SystemState }) =>
      event.type === 'state.change' && event.to === to && event.reason.trim() !== '',
  },
})

const lookFrom = (state: SystemState) =>
  systemSetup.enqueueActions(({ context, event, enqueue }) => {
    if (event.type !== 'looked' && event.type !== 'up') return
    const { facts, at, now } = event
    const isFirst = event.type === 'up' && !context.isUp
    const seen = { ...context, ...marks(context, facts, at), isUp: context.isUp || isFirst }
    enqueue.assign(seen)
    // The end of the start is what it waited for: there is nothing to be sat out.
    const sinceAt = isFirst ? Number.NEGATIVE_INFINITY : seen.sinceAt
    const verdict = judge(state, { ...seen, sinceAt }, at)
    if (verdict === undefined) return
    const change = { ...verdict, actor: 'system', isAsked: false, at, now }
    enqueue.raise({ type: 'state.change', ...change })
  })

function stateOf(from: SystemState) {
  const moveOf = ({ event }: { event: SystemEvent }): SystemMove & SystemTime => {
    if (event.type !== 'state.change') throw new Error(`expected a change, got ${event.type}`)
    const { type: _, ...change } = event
    return { ...change, from, isNoop: change.to === from }
  }
  const look = lookFrom(from)
  return systemSetup.createStateConfig({
    tags: ['ready'],
    entry: { type: 'act', params: { to: from } },
    on: {
      stop: 'stopping',
      'state.change': [
        {
          guard: { type: 'leadsTo', params: { to: from } },
          actions: [
            { type: 'noteNoop', params: moveOf },
            { type: 'tellMove', params: moveOf },
          ],
        },
        ...successorsOf(from).map((to) => ({
          guard: { type: 'leadsTo' as const, params: { to } },
          target: to,
          actions: [
            { type: 'enter' as const, params: moveOf },
            { type: 'tellMove' as const, params: moveOf },
          ],
        })),
      ],
      looked: { actions: look },
      up: { actions: look },
    },
  })
}

export const systemMachine = systemSetup.createMachine({
  id: 'system',
  context: ({ input }) => ({
    policy: input.policy,
    isUp: input.isUp,
    since: 0,
    sinceAt: 0,
    changedAt: 0,
    reason: '',
    actor: 'system',
    isHeld: false,
    facts: nothing,
    illAt: undefined,
    wellAt: undefined,
    lowAt: undefined,
    reflectedAt: undefined,
    diagnosis: undefined,
    spentMs: { PAUSED: 0, RECOVERY: 0, OPERATIONAL: 0, DEGRADED: 0, REFLECTIVE: 0 },
  }),
  initial: 'starting',
  states: {
    starting: {
      invoke: {
        src: 'open',
        input: ownedBy,
        onDone: [
          {
            guard: ({ event }) => event.output.pause !== undefined,
            target: 'PAUSED',
            actions: { type: 'begin', params: ({ event }) => event.output },
          },
          {
            target: 'PAUSED',
            actions: [
              { type: 'begin', params: ({ event }) => event.output },
              raise(({ event: { output } }) => ({
                type: 'state.change',
                to: 'RECOVERY',
                reason: output.reason,
                actor: 'system',
                isAsked: false,
                at: output.at,
                now: output.now,
              })),
            ],
          },
        ],
      },
      on: { stop: 'stopping' },
    },
    PAUSED: stateOf('PAUSED'),
    RECOVERY: stateOf('RECOVERY'),
    OPERATIONAL: stateOf('OPERATIONAL'),
    DEGRADED: stateOf('DEGRADED'),
    REFLECTIVE: {
      ...stateOf('REFLECTIVE'),
      invoke: {
        src: 'diagnose',
        input: ownedBy,
        onDone: {
          actions: [
            { type: 'keepDiagnosis', params: ({ event }) => event.output },
            raise(({ event: { output } }) => ({
              type: 'state.change',
              ...afterReflection(output.diagnosis),
              actor: 'system',
              isAsked: false,
              at: output.at,
              now: output.now,
            })),
          ],
        },
        onError: {
          actions: { type: 'failDiagnosis', params: ({ event: { error } }) => ({ error }) },
        },
      },
    },
    stopping: {
      invoke: { src: 'close', input: ownedBy, onDone: 'stopped' },
    },
    stopped: { type: 'final' },
  },
})
