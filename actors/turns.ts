/** Turns: what is offered to the dispatcher's machine, and who waits for its answer. */
import type { AnyActorRef } from 'xstate'
import type { Tell } from './dead-letters.ts'
import type { Clock } from './ports.ts'

interface Offered {
  /** The turn has come: says at once whether it is still wanted. */
  take(): boolean
  resolve(granted: boolean): void
}

export interface Wanted {
  /** How long it is waited for, ms; without it as long as it takes. */
  patienceMs?: number
  /** Aborted when it is not wanted any more. */
  unwanted?: AbortSignal
}

export class Turns {
  readonly #dispatcher: AnyActorRef
  readonly #tell: Tell
  readonly #clock: Clock
  readonly #ended: AbortSignal
  readonly #offered = new Map<number, Offered>()
  #offers = 0
  #tokens = 0

  /** @param ended aborts when no more turns are given */
  constructor(dispatcher: AnyActorRef, tell: Tell, clock: Clock, ended: AbortSignal) {
    this.#dispatcher = dispatcher
    this.#tell = tell
    this.#clock = clock
    this.#ended = ended
  }

  /**
   * Resolves with what `take` says when the turn for so many tasks has come; with false when it
   * does not come as long as it is wanted.
   */
  offer(tasks: number, { patienceMs, unwanted }: Wanted, take: () => boolean): Promise<boolean> {
    if (this.#ended.aborted || unwanted?.aborted === true) return Promise.resolve(false)
    this.#offers += 1
    const id = this.#offers
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#offered.set(id, { take, resolve })
    const at = this.#clock.monotonic()
    this.#tell(this.#dispatcher, { type: 'tasks.offered', offer: { id, tasks }, at })
    if (!this.#offered.has(id)) return promise
    if (patienceMs !== undefined) {
      void this.#clock.wait(patienceMs).then(() => this.#withdraw(id))
    }
    const onUnwanted = () => this.#withdraw(id)
    unwanted?.addEventListener('abort', onUnwanted, { once: true })
    return promise.finally(() => unwanted?.removeEventListener('abort', onUnwanted))
  }

  /** The machine says that the offer may go out. */
  grant(id: number): void {
    const offered = this.#offered.get(id)
    this.#offered.delete(id)
    offered?.resolve(offered.take())
  }

  /** Nobody's turn comes any more. */
  refuseAll(): void {
    for (const { resolve } of this.#offered.values()) resolve(false)
  }

  /** Tell the machine when so many ms have passed; a later call replaces an earlier one. */
  awaitTokens(ms: number): void {
    if (!Number.isFinite(ms)) return
    this.#tokens += 1
    const turn = this.#tokens
    void this.#clock.wait(ms, this.#ended).then(() => {
      if (turn !== this.#tokens || this.#ended.aborted) return
      this.#tell(this.#dispatcher, { type: 'tokens.due', at: this.#clock.monotonic() })
    })
  }

  #withdraw(id: number): void {
    const offered = this.#offered.get(id)
    if (offered === undefined) return
    this.#offered.delete(id)
    this.#tell(this.#dispatcher, { type: 'offer.withdrawn', id, at: this.#clock.monotonic() })
    offered.resolve(false)
  }
}
