/**
 * Something the node stands on and may lose for a while: opened, watched, brought back where that
 * can be done from here, closed. To be away is no failure of it, and nothing is restarted for it.
 */
import { assign, fromPromise, setup } from 'xstate'
import { type BackoffPolicy, backoffMs } from './backoff.ts'
import { type Owned, ownedBy } from './service.ts'

export type ConnectionEvent =
  | { type: 'stop' }
  | { type: 'connection.lost' }
  | { type: 'connection.back' }

export interface ConnectionInput {
  backoff: BackoffPolicy
}

export interface ConnectionContext {
  backoff: BackoffPolicy
  /** Tries to bring it back since it was lost. */
  tries: number
  /** How often it was lost. */
  losses: number
}

const unbound = (name: string) =>
  fromPromise<void, Owned>(() => Promise.reject(new Error(`bind ${name} in actors/connection.ts`)))

export const connectionMachine = setup({
  types: {
    context: {} as ConnectionContext,
    input: {} as ConnectionInput,
    events: {} as ConnectionEvent,
  },
  actors: { open: unbound('open'), revive: unbound('revive'), close: unbound('close') },
  actions: {
    countLoss: assign({ losses: ({ context }) => context.losses + 1, tries: 0 }),
    countTry: assign({ tries: ({ context }) => context.tries + 1 }),
  },
  delays: {
    reviveAfter: ({ context: { backoff, tries } }) => backoffMs(backoff, tries, 0.5),
  },
}).createMachine({
  id: 'connection',
  context: ({ input }) => ({ backoff: input.backoff, tries: 0, losses: 0 }),
  initial: 'opening',
  states: {
    opening: {
      invoke: { src: 'open', input: ownedBy, onDone: 'connected' },
      on: {
        stop: 'closing',
        // What is lost before anybody uses it is still being opened.
        'connection.lost': {},
        'connection.back': {},
      },
    },
    connected: {
      tags: ['ready'],
      on: { stop: 'closing', 'connection.lost': 'away' },
    },
    away: {
      tags: ['ready', 'away'],
      entry: 'countLoss',
      on: { stop: 'closing', 'connection.back': 'connected' },
      initial: 'reviving',
      states: {
        reviving: {
          entry: 'countTry',
          invoke: { src: 'revive', input: ownedBy, onDone: 'revived', onError: 'waiting' },
        },
        /** All that can be done is done: the connection comes back by itself, or is tried again. */
        revived: { after: { reviveAfter: 'reviving' } },
        waiting: { after: { reviveAfter: 'reviving' } },
      },
    },
    closing: {
      invoke: { src: 'close', input: ownedBy, onDone: 'closed' },
    },
    closed: { type: 'final' },
  },
})
