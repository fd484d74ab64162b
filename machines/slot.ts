/**
 * One place of a pool of sandboxes. Whoever has it used makes it dirty, so between two leases there
 * is always a reset, or another sandbox in its place. It is a record of its pool, not an actor.
 */
import { getNextSnapshot, setup } from 'xstate'

export type SlotState = 'idle' | 'leased' | 'resetting' | 'replacing'

export type SlotEvent =
  | 'lease'
  | 'giveBack'
  /** What was asked for is done: the reset, or the sandbox that was to be made. */
  | 'done'
  /** It is not, and will not be. */
  | 'fail'
  /** Another sandbox is to be in this place. */
  | 'replace'
  /** Nothing is to be in this place any more. */
  | 'discard'

export const slotMachine = setup({
  types: { events: {} as { type: SlotEvent } },
}).createMachine({
  id: 'slot',
  initial: 'replacing',
  states: {
    replacing: { on: { done: 'idle', fail: 'gone', discard: 'gone' } },
    idle: { on: { lease: 'leased', replace: 'replacing', discard: 'gone' } },
    leased: { on: { giveBack: 'resetting', replace: 'replacing', discard: 'gone' } },
    resetting: { on: { done: 'idle', fail: 'replacing', discard: 'gone' } },
    gone: { type: 'final' },
  },
})

/** @throws Error when that cannot happen to it */
export function slotAfter(state: SlotState, event: SlotEvent): SlotState | 'gone' {
  const now = slotMachine.resolveState({ value: state, context: {} })
  if (!now.can({ type: event })) throw new Error(`a slot that is ${state} cannot ${event}`)
  return getNextSnapshot(slotMachine, now, { type: event }).value
}
