/**
 * A pool of sandboxes: leases them, one holder each, and has what comes back made clean before the
 * next one gets it. When it closes, it waits for what is leased. Its steps are in pool-steps.ts.
 */
import { setup } from 'xstate'
import {
  emptyPool,
  type PoolCommand,
  type PoolEvent,
  type PoolPolicy,
  type PoolState,
  poolStep,
} from './pool-steps.ts'

const poolSetup = setup({
  types: {
    context: {} as PoolState,
    input: {} as PoolPolicy,
    events: {} as PoolEvent,
    tags: {} as 'ready',
  },
  actions: {
    carryOut: (_, _command: PoolCommand) => {
      throw new Error('bind carryOut in actors/pool.ts')
    },
    opened: () => {
      throw new Error('bind opened in actors/pool.ts')
    },
  },
  guards: {
    isEmpty: ({ context }) => context.slots.length === 0,
  },
})

const step = poolSetup.enqueueActions(({ context, event, enqueue }) => {
  const { state, commands } = poolStep(context, event)
  enqueue.assign(state)
  for (const params of commands) enqueue({ type: 'carryOut', params })
})

export const poolMachine = poolSetup.createMachine({
  id: 'pool',
  context: ({ input }) => emptyPool(input),
  initial: 'open',
  states: {
    open: {
      tags: ['ready'],
      entry: 'opened',
      on: {
        'slot.wanted': { actions: step },
        'slot.unwanted': { actions: step },
        'slot.given': { actions: step },
        'slot.done': { actions: step },
        'slot.failed': { actions: step },
        stop: { target: 'closing', actions: step },
      },
    },
    closing: {
      always: { guard: 'isEmpty', target: 'closed' },
      on: {
        'slot.wanted': { actions: step },
        'slot.given': { actions: step },
        'slot.done': { actions: step },
        'slot.failed': { actions: step },
      },
    },
    closed: { type: 'final' },
  },
})
