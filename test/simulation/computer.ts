/**
 * A computer of a simulation: a clock of its own, which runs too fast or too slow, and a process on
 * it that can be paused, killed and started again.
 */
import type { Clock } from '../../actors/ports.ts'
import type { Random } from '../kit/random.ts'
import type { Timeline } from './timeline.ts'

export class Computer {
  /** Number of the process that runs, or ran last. */
  life = 0
  isRunning = false
  isPaused = false
  readonly id: string
  readonly clock: Clock
  readonly #timeline: Timeline
  readonly #random: Random
  /** What came while it was paused. */
  #backlog: (() => void)[] = []

  /** @param rate of its clock: 1.05 is five percent fast */
  constructor(id: string, rate: number, timeline: Timeline, random: Random) {
    this.id = id
    this.#timeline = timeline
    this.#random = random
    const offsetMs = random.integer(0, 1_000_000)
    const monotonic = () => offsetMs + timeline.nowMs * rate
    this.clock = {
      now: monotonic,
      monotonic,
      breathe: () => this.clock.wait(0),
      wait: (ms, signal) =>
        new Promise((resolve) => {
          const cancel = timeline.after(ms / rate, this.inThisLife(resolve))
          const abort = () => {
            cancel()
            resolve()
          }
          signal?.addEventListener('abort', abort, { once: true })
        }),
      tick: (ms, signal) => this.clock.wait(ms, signal),
    }
  }

  /** What happens to the process of now: later when it is paused, never when it is gone. */
  inThisLife(happen: () => void): () => void {
    const { life } = this
    const attempt = () => {
      if (!this.isRunning || this.life !== life) return
      if (this.isPaused) this.#backlog.push(attempt)
      else happen()
    }
    return attempt
  }

  start(): void {
    this.life += 1
    this.isRunning = true
    this.isPaused = false
  }

  kill(): void {
    this.isRunning = false
    this.isPaused = false
    this.#backlog = []
  }

  pause(forMs: number): void {
    if (!this.isRunning || this.isPaused) return
    this.isPaused = true
    const { life } = this
    this.#timeline.after(forMs, () => {
      if (this.life === life) this.resume()
    })
  }

  /** What came meanwhile has its turn: in any order, and one after the other. */
  resume(): void {
    this.isPaused = false
    const waiting = this.#backlog
    this.#backlog = []
    while (waiting.length > 0) {
      const [next] = waiting.splice(this.#random.integer(0, waiting.length - 1), 1)
      if (next !== undefined) this.#timeline.after(0, next)
    }
  }
}
