/**
 * Brings what was written to a file onto the disk, a while after it was written: nobody waits for
 * the disk, which takes milliseconds, and above all no event loop.
 */
import { closeSync, fsync } from 'node:fs'

export interface LateSyncOptions {
  afterMs: number
  onFailure(error: Error): void
  /** Default: fsync, by a thread of Bun. */
  sync?(descriptor: number, then: (error: Error | null) => void): void
}

export class LateSync {
  readonly #options: LateSyncOptions
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Descriptors being synced, and whether each is to be closed after that. */
  readonly #under = new Map<number, { isLeft: boolean }>()

  constructor(options: LateSyncOptions) {
    this.#options = options
  }

  /** The file of this descriptor was written to. Many calls before it is synced are one. */
  soon(descriptor: number): void {
    this.#timer ??= setTimeout(() => this.#sync(descriptor), this.#options.afterMs)
  }

  /** What was to be synced soon no longer is: its owner has done so. */
  forget(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Closed under a sync, its number might be that of another file before the sync begins. */
  close(descriptor: number): void {
    const under = this.#under.get(descriptor)
    if (under === undefined) closeSync(descriptor)
    else under.isLeft = true
  }

  #sync(descriptor: number): void {
    this.#timer = undefined
    // A disk that takes longer than the time between two syncs gets one at a time.
    if (this.#under.has(descriptor)) {
      this.soon(descriptor)
      return
    }
    const under = { isLeft: false }
    this.#under.set(descriptor, under)
    const { sync = fsync, onFailure } = this.#options
    sync(descriptor, (error) => {
      this.#under.delete(descriptor)
      if (under.isLeft) closeSync(descriptor)
      if (error !== null) onFailure(error)
    })
  }
}
