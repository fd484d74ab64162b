/** A service of the runtime as a supervised actor. */
import { type AnyActorRef, fromPromise } from 'xstate'
import { serviceMachine } from '../machines/service.ts'
import type { ChildSpec } from './supervisor.ts'

export interface ServiceOptions {
  /** `fail` ends this life in error: the supervisor decides what follows. */
  open(fail: (error: unknown) => void): Promise<void>
  close(): Promise<void>
}

export function service(options: ServiceOptions): ChildSpec {
  return {
    logic: serviceMachine.provide({
      actors: {
        open: fromPromise<void>(({ self }) => {
          const actor = (self as AnyActorRef)._parent
          return options.open((error) => actor?.send({ type: 'service.failed', error }))
        }),
        close: fromPromise<void>(() => options.close()),
      },
    }),
  }
}
