/**
 * Keeps the tasks that are begun within limits that hold for all nodes together, by kind and by
 * source. Tokens are fetched from the shared buckets in batches: as many as wait, or as were used
 * in the last quarter second, whichever is more; and never more than come in that time.
 */
import type { BucketPolicy } from '../machines/bucket.ts'
import { describeError } from './errors.ts'
import type { Clock, Log } from './ports.ts'
import type { LimitBucket, Limits } from './ports-limits.ts'
import type { Task } from './task.ts'

export interface LimiterOptions {
  limits: Limits
  /** By the name of a kind; or by `source:` and what tasks carry as their label `source`. */
  policies: Readonly<Record<string, BucketPolicy>>
  clock: Clock
  random(): number
  log: Log
}

export interface Limiter {
  /**
   * A token for one attempt of a task: at once (undefined), or a promise of one. Where the signal
   * is aborted, or aborts meanwhile, there is no token, and no use in waiting: look at it.
   */
  take(kind: string, task: Pick<Task, 'labels'>, signal: AbortSignal): Promise<void> | undefined
}

const sourcePrefix = 'source:'
/** A batch lasts about so long. */
const batchMs = 250
/** Tokens at hand that nobody used for so long are gone. */
const staleMs = 1000
/** When the buckets cannot be reached they are left alone for so long. */
const restMs = 1000
/** However long there is nothing to come, this is how often it is asked again. */
const napMaxMs = 60_000

/** Where there are no limits, nothing is asked and nothing is kept. */
export function limiter(options: LimiterOptions): Limiter {
  const kinds = new Map<string, LimitBucket>()
  const sources = new Map<string, LimitBucket>()
  for (const [name, { rate, burst }] of Object.entries(options.policies)) {
    const isSource = name.startsWith(sourcePrefix)
    const known = isSource ? name.slice(sourcePrefix.length) : name
    const buckets = isSource ? sources : kinds
    buckets.set(known, { name, rate, burst })
  }
  const taps = new Map<LimitBucket | undefined, Map<LimitBucket | undefined, Tap>>()

  const tapOf = (ofKind: LimitBucket | undefined, ofSource: LimitBucket | undefined): Tap => {
    const some = taps.get(ofKind) ?? new Map<LimitBucket | undefined, Tap>()
    taps.set(ofKind, some)
    const known = some.get(ofSource)
    if (known !== undefined) return known
    const tap = new Tap(
      [ofKind, ofSource].filter((bucket) => bucket !== undefined),
      options,
    )
    some.set(ofSource, tap)
    return tap
  }

  return {
    take(kind, { labels }, signal) {
      const ofKind = kinds.get(kind)
      const source = sources.size === 0 ? undefined : labels?.['source']
      const ofSource = source === undefined ? undefined : sources.get(source)
      if (ofKind === undefined && ofSource === undefined) return undefined
      return tapOf(ofKind, ofSource).take(signal)
    },
  }
}

/** The tokens that this process has of some buckets together, and who waits for them. */
class Tap {
  readonly #buckets: readonly LimitBucket[]
  readonly #options: LimiterOptions
  /** Ends of waits, in the order in which they began. */
  readonly #waiting = new Set<() => void>()
  /** Most tokens fetched at a time. */
  readonly #batchMax: number
  readonly #tokenMs: number
  #stock = 0
  #usedAt = Number.NEGATIVE_INFINITY
  /** How many are fetched at a time, as far as not more are waiting. */
  #batch = 1
  /** How many the last fetch brought that brought any, and when that was. */
  #fetched = 0
  #fetchedAt = Number.NEGATIVE_INFINITY
  #isFetching = false
  #nap = new AbortController()
  #isOutOfReach = false

  constructor(buckets: readonly LimitBucket[], options: LimiterOptions) {
    this.#buckets = buckets
    this.#options = options
    const rate = Math.min(...buckets.map((bucket) => bucket.rate))
    const burst = Math.min(...buckets.map((bucket) => bucket.burst))
    this.#tokenMs = rate > 0 ? 1000 / rate : Number.POSITIVE_INFINITY
    this.#batchMax = Math.max(1, Math.floor(Math.min(burst, (rate * batchMs) / 1000)))
  }

  take(signal: AbortSignal): Promise<void> | undefined {
    if (signal.aborted || this.#takeFromStock()) return undefined
    const { promise, resolve } = Promise.withResolvers<void>()
    const end = () => {
      this.#waiting.delete(end)
      signal.removeEventListener('abort', onAbort)
      resolve()
    }
    const onAbort = () => {
      end()
      if (this.#waiting.size === 0) this.#nap.abort()
    }
    this.#waiting.add(end)
    signal.addEventListener('abort', onAbort, { once: true })
    if (!this.#isFetching) void this.#fetchForAll()
    return promise
  }

  /** Nobody overtakes those who wait: while there are any, there is nothing in stock. */
  #takeFromStock(): boolean {
    if (this.#stock === 0) return false
    const now = this.#options.clock.monotonic()
    if (now - this.#usedAt > staleMs) {
      this.#stock = 0
      return false
    }
    this.#usedAt = now
    this.#stock -= 1
    return true
  }

  async #fetchForAll(): Promise<void> {
    this.#isFetching = true
    this.#adapt()
    while (this.#waiting.size > 0) {
      const wanted = Math.min(this.#batchMax, Math.max(this.#waiting.size, this.#batch))
      const { tokens, waitMs } = await this.#fetch(wanted)
      this.#hand(tokens)
      if (this.#waiting.size > 0 && tokens < wanted) await this.#sleep(wanted, waitMs)
    }
    this.#isFetching = false
  }

  /** A batch that was used up sooner than it should last is followed by a larger one. */
  #adapt(): void {
    const lastedMs = this.#options.clock.monotonic() - this.#fetchedAt
    const batch = lastedMs <= batchMs ? this.#batch * 2 : (this.#fetched * batchMs) / lastedMs
    this.#batch = Math.min(this.#batchMax, Math.max(1, Math.floor(batch)))
  }

  async #fetch(wanted: number): Promise<{ tokens: number; waitMs: number }> {
    const { limits, log } = this.#options
    try {
      const taken = await limits.take(this.#buckets, wanted)
      this.#isOutOfReach = false
      return taken
    } catch (error) {
      const fields = { limits: this.#buckets.map(({ name }) => name), ...describeError(error) }
      if (!this.#isOutOfReach) log.warn(fields, 'limits cannot be asked; their tasks wait')
      this.#isOutOfReach = true
      return { tokens: 0, waitMs: restMs }
    }
  }

  #hand(tokens: number): void {
    if (tokens === 0) return
    const now = this.#options.clock.monotonic()
    this.#fetched = tokens
    this.#fetchedAt = now
    let left = tokens
    for (const end of this.#waiting) {
      if (left === 0) break
      left -= 1
      end()
    }
    this.#stock = left
    this.#usedAt = now
  }

  /**
   * Until there is a batch again. Of several processes the one that comes first gets all there is:
   * so each comes a little earlier than it might, or later where it waits for a single token.
   */
  async #sleep(wanted: number, waitMs: number): Promise<void> {
    const { clock, random } = this.#options
    const more = wanted - 1
    const fullMs = waitMs + (more > 0 ? more * this.#tokenMs : 0)
    const ms = more > 0 ? fullMs * (1 - 0.3 * random()) : fullMs * (1 + 0.1 * random())
    this.#nap = new AbortController()
    await clock.wait(Math.min(napMaxMs, Math.max(1, ms)), this.#nap.signal)
  }
}
