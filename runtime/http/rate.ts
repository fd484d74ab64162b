/** So much a second from each address, and no more. */

export interface RateOptions {
  perSecond: number
  burst: number
  /** Milliseconds that only grow. */
  now(): number
}

/** Addresses remembered; beyond that those that are full again are forgotten. */
const addressesMax = 10_000

interface Bucket {
  left: number
  at: number
}

export class AddressRate {
  readonly #options: RateOptions
  readonly #buckets = new Map<string, Bucket>()

  constructor(options: RateOptions) {
    this.#options = options
  }

  /** Seconds to wait, or 0 when one more is taken. */
  take(address: string): number {
    const bucket = this.#bucket(address)
    if (bucket.left < 1) return Math.max(1, Math.ceil((1 - bucket.left) / this.#options.perSecond))
    bucket.left -= 1
    return 0
  }

  /** It did not count after all. */
  giveBack(address: string): void {
    const bucket = this.#bucket(address)
    bucket.left = Math.min(this.#options.burst, bucket.left + 1)
  }

  #bucket(address: string): Bucket {
    const now = this.#options.now()
    const known = this.#buckets.get(address)
    if (known !== undefined) {
      known.left = this.#fill(known, now)
      known.at = now
      return known
    }
    if (this.#buckets.size >= addressesMax) this.#forget(now)
    const made = { left: this.#options.burst, at: now }
    this.#buckets.set(address, made)
    return made
  }

  #fill({ left, at }: Bucket, now: number): number {
    const { perSecond, burst } = this.#options
    return Math.min(burst, left + ((now - at) / 1000) * perSecond)
  }

  /** The full ones; where all are in use, everybody begins anew rather than nobody. */
  #forget(now: number): void {
    for (const [address, bucket] of this.#buckets) {
      if (this.#fill(bucket, now) >= this.#options.burst) this.#buckets.delete(address)
    }
    if (this.#buckets.size >= addressesMax) this.#buckets.clear()
  }
}
