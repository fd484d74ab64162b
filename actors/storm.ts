/**
 * Binds storm mode to what is known of the results, and tells those who let work in: in a
 * storm fewer tasks are in flight, until the results are worked off. Nothing that was accepted is
 * dropped.
 */
import type { AnyActorRef } from 'xstate'
import { type StormEvent, type StormPolicy, stormMachine } from '../machines/storm.ts'
import { rateOf, type WindowShape } from '../machines/window.ts'
import { isLive, type Tell } from './dead-letters.ts'
import { resultsMailbox } from './envelope.ts'
import { describeError } from './errors.ts'
import type { Clock, Log, Mailboxes } from './ports.ts'
import type { WindowsReading } from './ports-escalations.ts'
import type { ChildSpec } from './supervisor.ts'

/** The window that results envelopes are counted in, over all nodes. */
export const resultsMetric = 'results'

/** Asking how many results wait may take so long; then it is not known. */
const patienceMs = 1000

export interface StormOptions {
  policy: StormPolicy
  /** Results that may wait; what waits is told as a share of it. */
  places: number
  shape: WindowShape
  mailboxes(): Pick<Mailboxes, 'depth'>
  clock: Clock
  tell: Tell
  log: Log
}

/** Whether there is a storm, for those who let work in. */
export interface StormSignal {
  readonly isStorm: boolean
  /** Called when that changes, until the function returned is called. */
  watch(listener: () => void): () => void
}

export class Storm implements StormSignal {
  readonly #options: StormOptions
  readonly #listeners = new Set<() => void>()
  #actor: AnyActorRef | undefined
  #isStorm = false
  #isAsking = false

  constructor(options: StormOptions) {
    this.#options = options
  }

  get isStorm(): boolean {
    return this.#isStorm
  }

  watch(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  spec(): ChildSpec {
    return {
      input: this.#options.policy,
      logic: stormMachine.provide({
        actions: {
          appear: ({ self }) => {
            this.#actor = self
            // A new life knows of no storm.
            this.#change(false)
          },
          change: (_, { isStorm }) => this.#change(isStorm),
        },
      }),
    }
  }

  /** A look at the windows; undefined when they could not be had. */
  async sample(reading: WindowsReading | undefined): Promise<void> {
    if (reading === undefined) {
      this.#tell({ type: 'results.unknown' })
      return
    }
    // One that does not answer is not asked again beside that.
    if (this.#isAsking) return
    this.#isAsking = true
    const { shape, places, clock } = this.#options
    const waiting = await this.#waiting()
    this.#isAsking = false
    const counts = reading.windows.get(resultsMetric) ?? []
    const event: StormEvent =
      waiting === undefined
        ? { type: 'results.unknown' }
        : {
            type: 'results.sampled',
            at: clock.monotonic(),
            halfRate: rateOf(shape, counts, shape.windowMs / 2),
            rate: rateOf(shape, counts, shape.windowMs),
            depth: waiting / places,
          }
    this.#tell(event)
  }

  async #waiting(): Promise<number | undefined> {
    const { mailboxes, clock, log } = this.#options
    const answered = new AbortController()
    const late = clock.wait(patienceMs, answered.signal).then(() => undefined)
    try {
      const asked = mailboxes()
        .depth(resultsMailbox)
        .then(({ waiting }) => waiting)
      return await Promise.race([asked, late])
    } catch (error) {
      log.debug(describeError(error), 'cannot ask how many results wait')
      return undefined
    } finally {
      answered.abort()
    }
  }

  #change(isStorm: boolean): void {
    if (isStorm === this.#isStorm) return
    this.#isStorm = isStorm
    const message = isStorm
      ? 'results come in a flood: fewer tasks are let out until it is over'
      : 'the flood of results is over'
    this.#options.log.warn({ isStorm }, message)
    // Those who listen are actors, and this is in the middle of a transition.
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener()
    })
  }

  #tell(event: StormEvent): void {
    const actor = this.#actor
    if (actor !== undefined && isLive(actor)) this.#options.tell(actor, event)
  }
}
