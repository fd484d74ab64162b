/** Binds a circuit breaker: calls go through it, and it says when not even to try. */
import type { AnyActorRef, AnyMachineSnapshot } from 'xstate'
import {
  type BreakerContext,
  type BreakerEvent,
  type BreakerPolicy,
  breakerMachine,
  defaultBreaker,
} from '../machines/breaker.ts'
import { isLive, type Tell } from './dead-letters.ts'
import { UnavailableError } from './errors.ts'
import type { ChildSpec } from './supervisor.ts'

export interface BreakerOptions {
  /** What is behind it, for messages. */
  name: string
  policy?: BreakerPolicy
  random(): number
  tell: Tell
}

export class Breaker {
  readonly #options: BreakerOptions
  #actor: AnyActorRef | undefined

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  spec(): ChildSpec {
    const { policy = defaultBreaker } = this.#options
    return {
      input: policy,
      logic: breakerMachine.provide({
        actions: {
          appear: ({ self }) => {
            this.#actor = self
          },
        },
      }),
    }
  }

  /**
   * What `work` comes to; any error of it is a failure.
   * @throws UnavailableError CIRCUIT_OPEN when it is not tried
   */
  async call<T>(work: () => Promise<T>): Promise<T> {
    const actor = this.#actor
    const snapshot = actor?.getSnapshot() as AnyMachineSnapshot | undefined
    if (actor === undefined || snapshot?.hasTag('permits') !== true) {
      const message = `${this.#options.name} failed too often, and is left alone for a while`
      throw new UnavailableError(message, { code: 'CIRCUIT_OPEN' })
    }
    const { openings } = snapshot.context as BreakerContext
    // In the same breath, or two would take the one permit there is.
    this.#tell(actor, { type: 'call.began' })
    try {
      const result = await work()
      this.#tell(actor, { type: 'call.succeeded', openings })
      return result
    } catch (error) {
      this.#tell(actor, { type: 'call.failed', openings, random: this.#options.random() })
      throw error
    }
  }

  /** One that was stopped meanwhile need not hear how it went. */
  #tell(actor: AnyActorRef, event: BreakerEvent): void {
    if (isLive(actor)) this.#options.tell(actor, event)
  }
}
