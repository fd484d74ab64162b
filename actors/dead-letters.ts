/**
 * Messages between actors of one process that found their receiver stopped. XState drops them in
 * silence; here they are kept, the latest of them, and told.
 */
import type { AnyActorRef, AnyEventObject } from 'xstate'
import type { Meter } from './meter.ts'
import type { Clock, Log } from './ports.ts'

/** A message that reached nobody. */
export interface DeadLetter {
  /** Epoch ms. */
  at: number
  /** The actor, with its incarnation; before it the worker process that it was in, if any. */
  to: string
  /** Type of the event. */
  type: string
  reason: 'stopped'
}

/** How actors send: to one that has stopped, it is recorded. */
export type Tell = (to: AnyActorRef, event: AnyEventObject) => void

export interface DeadLettersOptions {
  clock: Clock
  log: Log
  meter?: Meter
  /** How many are kept; of all, how many there were is counted. Default 1000. */
  keep?: number
}

export class DeadLetters {
  readonly #options: DeadLettersOptions
  readonly #letters: DeadLetter[] = []
  #untold: DeadLetter[] = []
  #total = 0

  constructor(options: DeadLettersOptions) {
    this.#options = options
  }

  readonly tell: Tell = (to, event) => {
    if (isLive(to)) to.send(event)
    else this.#record({ to: to.id, type: event.type })
  }

  get total(): number {
    return this.#total
  }

  /** Newest first. */
  list(): DeadLetter[] {
    return this.#letters.toReversed()
  }

  /** Those since this was last asked, oldest first: for a process whose node keeps them. */
  take(): DeadLetter[] {
    const untold = this.#untold
    this.#untold = []
    return untold
  }

  /** Those that a worker process has told; it has counted and logged them itself. */
  merge(process: string, letters: readonly DeadLetter[]): void {
    for (const letter of letters) this.#keep({ ...letter, to: `${process}/${letter.to}` })
  }

  #keep(letter: DeadLetter): void {
    const { keep = 1000 } = this.#options
    this.#total += 1
    for (const kept of [this.#letters, this.#untold]) {
      kept.push(letter)
      if (kept.length > keep) kept.shift()
    }
  }

  #record(fields: { to: string; type: string }): void {
    const { clock, log, meter } = this.#options
    this.#keep({ at: clock.now(), ...fields, reason: 'stopped' })
    meter?.undelivered(fields.to, 'stopped')
    log.debug(fields, 'a message reached an actor that has stopped')
  }
}

export function isLive(actor: AnyActorRef): boolean {
  return (actor.getSnapshot() as { status: string }).status === 'active'
}
