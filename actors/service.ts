/** A service of the runtime as a supervised actor. */
import { fromPromise } from 'xstate'
import { type Owned, serviceMachine } from '../machines/service.ts'
import type { Tell } from './dead-letters.ts'
import type { ChildSpec } from './supervisor.ts'

export interface ServiceOptions {
  /** `fail` ends this life in error: the supervisor decides what follows. */
  open(fail: (error: unknown) => void): Promise<void>
  close(): Promise<void>
  tell: Tell
}

export function service(options: ServiceOptions): ChildSpec {
  return {
    logic: serviceMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(({ input }) =>
          options.open((error) => options.tell(input.owner, { type: 'service.failed', error })),
        ),
        close: fromPromise<void, Owned>(() => options.close()),
      },
    }),
  }
}
