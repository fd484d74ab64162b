/**
 * Watches how full the memory of a Redis is. It never evicts: when its memory is used up it refuses
 * whatever takes some, the renewal of a lock or a lease included. So nothing new is let in well
 * before that.
 */
import type { Redis } from 'ioredis'
import { describeError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import type { Headroom } from '../../actors/ports-limits.ts'
import { everyTick } from '../clock.ts'
import { primariesOf } from './client.ts'

export interface MemoryWatchOptions {
  redis: Redis
  /** Share of its memory limit from which on nothing new is let in. */
  closeShare: number
  log: Log
}

/** Between two looks, when nobody asks. */
const lookMs = 1000
/** How old a look may be for those who ask: a stream of tasks fills megabytes in that time. */
const freshMs = 50
/** It has to be so much emptier again, or it would open and close all the time. */
const slack = 0.05

/** Looks while somebody watches, and when it is asked to. */
export class MemoryWatch implements Headroom {
  readonly #options: MemoryWatchOptions
  readonly #listeners = new Set<() => void>()
  #stopLooking: (() => void) | undefined
  #looking: Promise<void> | undefined
  #lookedAt = Number.NEGATIVE_INFINITY
  #shortage: string | undefined
  #isScarce = false

  constructor(options: MemoryWatchOptions) {
    this.#options = options
  }

  shortage(): string | undefined {
    return this.#shortage
  }

  isScarce(): boolean {
    return this.#isScarce
  }

  look(): Promise<void> | undefined {
    if (performance.now() - this.#lookedAt < freshMs) return undefined
    this.#looking ??= this.#lookOnce()
    return this.#looking
  }

  watch(listener: () => void): () => void {
    // Each its own, though the same function be given twice.
    const own = () => listener()
    this.#listeners.add(own)
    this.#stopLooking ??= everyTick(lookMs, () => void this.look())
    void this.look()
    return () => {
      this.#listeners.delete(own)
      if (this.#listeners.size === 0) this.stop()
    }
  }

  /** Look no more by itself, whoever watches. */
  stop(): void {
    this.#stopLooking?.()
    this.#stopLooking = undefined
  }

  async #lookOnce(): Promise<void> {
    const share = await this.#share()
    this.#looking = undefined
    this.#lookedAt = performance.now()
    if (share !== undefined) this.#judge(share)
  }

  /** Share of its memory in use, of the fullest server; undefined when it does not say. */
  async #share(): Promise<number | undefined> {
    const { redis, log } = this.#options
    // Asked while it is away, it would answer with how it was long ago.
    if (redis.status !== 'ready') return undefined
    try {
      const infos = await Promise.all(primariesOf(redis).map((each) => each.info('memory')))
      return Math.max(...infos.map(shareOf))
    } catch (error) {
      log.debug(describeError(error), 'cannot ask how much memory Redis has left')
      return undefined
    }
  }

  #judge(share: number): void {
    const { closeShare, log } = this.#options
    const wasShort = this.#shortage !== undefined
    const wasScarce = this.#isScarce
    const openShare = closeShare - slack
    // In the middle of what is left.
    const scarceShare = (closeShare + 1) / 2
    const isShort = share >= (wasShort ? openShare : closeShare)
    this.#isScarce = share >= (wasScarce ? scarceShare - slack : scarceShare)
    const percent = Math.round(share * 100)
    const until = `nothing new is let in until it is below ${Math.round(openShare * 100)} %`
    this.#shortage = isShort ? `the memory of Redis is ${percent} % full; ${until}` : undefined
    if (isShort === wasShort && this.#isScarce === wasScarce) return
    const fields = { percent }
    if (isShort && !wasShort) {
      log.warn(fields, 'the memory of Redis is nearly full; nothing new is let in')
    } else if (wasShort && !isShort) {
      log.info(fields, 'the memory of Redis has room again; new work is let in')
    }
    for (const listener of this.#listeners) listener()
  }
}

/** 0 without a limit. */
function shareOf(info: string): number {
  const limit = fieldOf(info, 'maxmemory')
  if (limit === 0) return 0
  // What Redis itself leaves out of the account: buffers that empty by themselves.
  const counted = fieldOf(info, 'used_memory') - fieldOf(info, 'mem_not_counted_for_evict')
  return counted / limit
}

/** 0 when there is no such field. */
function fieldOf(info: string, name: string): number {
  return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
}
