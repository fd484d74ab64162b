/**
 * Watches how full the memory of a Redis is. It never evicts: when its memory is used up it refuses
 * whatever takes some, the renewal of a lock or a lease included. So nothing new is let in well
 * before that.
 */
import type { Redis } from 'ioredis'
import { describeError } from '../../actors/errors.ts'
import type { Headroom, Log } from '../../actors/ports.ts'

export interface MemoryWatchOptions {
  redis: Redis
  /** Share of its memory limit from which on nothing new is let in. */
  closeShare: number
  log: Log
}

/** Between two looks, and while it fills up. */
const lookMs = 1000
const closeLookMs = 200
/** It has to be so much emptier again, or it would open and close all the time. */
const openBelow = 0.05

/** Looks only while somebody watches. */
export class MemoryWatch implements Headroom {
  readonly #options: MemoryWatchOptions
  readonly #listeners = new Set<() => void>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #shortage: string | undefined
  #looks = 0

  constructor(options: MemoryWatchOptions) {
    this.#options = options
  }

  shortage(): string | undefined {
    return this.#shortage
  }

  watch(listener: () => void): () => void {
    // Each its own, though the same function be given twice.
    const own = () => listener()
    this.#listeners.add(own)
    if (this.#listeners.size === 1) void this.#look()
    return () => {
      this.#listeners.delete(own)
      if (this.#listeners.size === 0) this.stop()
    }
  }

  /** Look no more, whoever watches. */
  stop(): void {
    this.#looks += 1
    clearTimeout(this.#timer)
  }

  async #look(): Promise<void> {
    this.#looks += 1
    const look = this.#looks
    const share = await this.#share()
    // Nobody watches any more, or somebody new does and looks himself.
    if (look !== this.#looks) return
    if (share !== undefined) this.#judge(share)
    const isFilling = share !== undefined && share > this.#options.closeShare / 2
    this.#timer = setTimeout(() => void this.#look(), isFilling ? closeLookMs : lookMs)
  }

  /** How much of its memory is used up; 0 without a limit, undefined when it does not say. */
  async #share(): Promise<number | undefined> {
    const { redis, log } = this.#options
    // Asked while it is away, it would answer with how it was long ago.
    if (redis.status !== 'ready') return undefined
    try {
      const info = await redis.info('memory')
      const limit = fieldOf(info, 'maxmemory')
      if (limit === 0) return 0
      // What Redis itself leaves out of the account: buffers that empty by themselves.
      const counted = fieldOf(info, 'used_memory') - fieldOf(info, 'mem_not_counted_for_evict')
      return counted / limit
    } catch (error) {
      log.debug(describeError(error), 'cannot ask how much memory Redis has left')
      return undefined
    }
  }

  #judge(share: number): void {
    const { closeShare, log } = this.#options
    const wasShort = this.#shortage !== undefined
    const openShare = closeShare - openBelow
    const isShort = share >= (wasShort ? openShare : closeShare)
    const percent = Math.round(share * 100)
    const until = `nothing new is let in until it is below ${Math.round(openShare * 100)} %`
    this.#shortage = isShort ? `the memory of Redis is ${percent} % full; ${until}` : undefined
    if (isShort === wasShort) return
    const fields = { percent }
    if (isShort) log.warn(fields, 'the memory of Redis is nearly full; nothing new is let in')
    else log.info(fields, 'the memory of Redis has room again; new work is let in')
    for (const listener of [...this.#listeners]) listener()
  }
}

/** 0 when there is no such field. */
function fieldOf(info: string, name: string): number {
  return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
}
