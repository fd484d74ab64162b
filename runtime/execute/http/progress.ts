/** How far a request is, and how long it may be there. */
import { MusterError } from '../../../actors/errors.ts'
import type { HttpTimings } from '../../../actors/http-input.ts'

export type Phase = 'resolve' | 'connect' | 'tls' | 'processing' | 'transfer'

/** What is told while a request is under way. */
export interface Progress {
  timings: HttpTimings
  phase: Phase
  /** When it came there, by the clock of the process. */
  enteredAt?: number
  address?: string
  certDaysLeft?: number
  /** Ends what it waits for now. */
  abort?: (reason: Error) => void
  /** Why it was given up: nothing else is begun for it. */
  ended?: Error
}

export function enter(progress: Progress, phase: Phase): void {
  progress.phase = phase
  progress.enteredAt = performance.now()
}

/** Ends a request, however far it is. */
export function giveUp(progress: Progress, reason: Error): void {
  progress.ended ??= reason
  progress.abort?.(reason)
}

/** ms; what is not said may take as long as the attempt. */
export type PhaseLimits = Readonly<Partial<Record<Phase, number>>>

/** A limit is held to a tenth of itself. */
const looksInLimit = 10
const lookMsMin = 10
const lookMsMax = 1000

/**
 * Ends what a request waits for when a phase takes too long: thousands are looked at together, as a
 * timer for each phase of each would cost more than most phases.
 */
export class PhaseWatch {
  readonly #limits: ReadonlyMap<Phase, number>
  readonly #running: ReadonlySet<Progress>
  readonly #lookMs: number
  #looking: ReturnType<typeof setInterval> | undefined

  /** @param limits 0 is none */
  constructor(limits: PhaseLimits, running: ReadonlySet<Progress>) {
    const set = Object.entries(limits).filter(([, ms]) => ms > 0) as [Phase, number][]
    this.#limits = new Map(set)
    this.#running = running
    const shortest = Math.min(...this.#limits.values())
    this.#lookMs = Math.min(lookMsMax, Math.max(lookMsMin, shortest / looksInLimit))
  }

  /** There is something to be looked at. */
  wake(): void {
    if (this.#limits.size > 0) this.#looking ??= setInterval(() => this.#look(), this.#lookMs)
  }

  stop(): void {
    clearInterval(this.#looking)
    this.#looking = undefined
  }

  #look(): void {
    if (this.#running.size === 0) this.stop()
    const now = performance.now()
    for (const progress of this.#running) {
      const { phase, enteredAt = now } = progress
      const limit = this.#limits.get(phase) ?? Number.POSITIVE_INFINITY
      if (now - enteredAt < limit) continue
      // The request goes on where there is another way: a host may have several addresses.
      progress.abort?.(new MusterError('TIMEOUT', `${phase} took longer than ${limit} ms`))
    }
  }
}
