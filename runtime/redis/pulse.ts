/**
 * Whether a Redis answers. One that is frozen, or behind a cable pulled out, keeps its connection,
 * and nothing else would tell for half a minute.
 */
import type { Redis } from 'ioredis'
import { everyTick } from '../clock.ts'
import { primariesOf } from './client.ts'

/** Between two questions. */
const beatMs = 1000
/**
 * So many of our own beats without an answer. Counted, not measured: who stood still himself finds
 * the answer before his next beat.
 */
const beatsMax = 3

export interface PulseListener {
  /** It has not answered for some seconds, though it is connected. */
  silent(): void
  /** It answers again. */
  heard(): void
}

export class Pulse {
  readonly #redis: Redis
  readonly #listener: PulseListener
  readonly #stopBeating: () => void
  /** Beats since the question that is not answered yet. */
  #beats: number | undefined
  #isSilent = false
  #isStopped = false

  constructor(redis: Redis, listener: PulseListener) {
    this.#redis = redis
    this.#listener = listener
    this.#stopBeating = everyTick(beatMs, () => this.#beat())
  }

  get isSilent(): boolean {
    return this.#isSilent
  }

  /** No word comes after that. */
  stop(): void {
    this.#isStopped = true
    this.#stopBeating()
  }

  #beat(): void {
    if (this.#beats === undefined) {
      // Where the connection is lost, that is told by itself.
      if (this.#redis.status === 'ready') void this.#ask()
      return
    }
    this.#beats += 1
    if (this.#beats < beatsMax || this.#isSilent) return
    this.#isSilent = true
    this.#listener.silent()
  }

  async #ask(): Promise<void> {
    this.#beats = 0
    try {
      await Promise.all(primariesOf(this.#redis).map((server) => server.ping()))
    } catch {
      // Refused or disconnected: that is no silence.
    }
    this.#beats = undefined
    if (!this.#isSilent || this.#isStopped) return
    this.#isSilent = false
    this.#listener.heard()
  }
}
