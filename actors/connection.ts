/** Binds what the node stands on to the life of an actor. */
import { fromPromise } from 'xstate'
import type { BackoffPolicy } from '../machines/backoff.ts'
import { connectionMachine } from '../machines/connection.ts'
import type { Owned } from '../machines/service.ts'
import type { Tell } from './dead-letters.ts'
import { describeError } from './errors.ts'
import type { Dependency, Log } from './ports.ts'
import type { ChildSpec } from './supervisor.ts'

export interface ConnectionOptions {
  name: string
  dependency: Dependency
  backoff: BackoffPolicy
  tell: Tell
  log: Log
}

export function connection({ name, dependency, backoff, tell, log }: ConnectionOptions): ChildSpec {
  let opening: Promise<void> | undefined
  return {
    input: { backoff },
    logic: connectionMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(({ input: { owner } }) => {
          opening = dependency.open({
            lost: () => tell(owner, { type: 'connection.lost' }),
            back: () => tell(owner, { type: 'connection.back' }),
          })
          return opening
        }),
        revive: fromPromise<void, Owned>(async () => {
          try {
            await dependency.revive()
          } catch (error) {
            log.error({ name, ...describeError(error) }, 'cannot be brought back yet')
            throw error
          }
        }),
        close: fromPromise<void, Owned>(async () => {
          // What is still being opened would outlive us; that it failed makes no difference now.
          await opening?.catch(() => undefined)
          await dependency.close()
        }),
      },
    }),
  }
}
