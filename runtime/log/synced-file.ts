/**
 * A file that is brought onto the disk a while after it was written to: nobody waits for the disk,
 * which takes milliseconds, and above all no event loop.
 */
import { closeSync, fsync, fsyncSync } from 'node:fs'

export interface SyncedFileOptions {
  /** From the first write that is not on the disk to the sync, unless one is still under way. */
  afterMs: number
  onFailure(error: unknown): void
  /** Default: fsync, by a thread of Bun. */
  sync?(descriptor: number, done: (error: Error | null) => void): void
}

export class SyncedFile {
  readonly descriptor: number
  readonly #options: SyncedFileOptions
  #timer: ReturnType<typeof setTimeout> | undefined
  #isSyncing = false
  /** The next sync would have begun, but for the one under way. */
  #isDue = false
  #closed: PromiseWithResolvers<void> | undefined

  /** @param descriptor of a file that is open; it is closed with this */
  constructor(descriptor: number, options: SyncedFileOptions) {
    this.descriptor = descriptor
    this.#options = options
  }

  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  /** Many writes before it is synced are synced together. */
  wrote(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#sync()
    }, this.#options.afterMs)
  }

  /** At once, and whoever calls waits for the disk. */
  syncNow(): void {
    this.#forget()
    try {
      fsyncSync(this.descriptor)
    } catch (error) {
      this.#options.onFailure(error)
    }
  }

  /** Resolves when it is closed: while it is synced, its number must not become another file's. */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#forget()
      this.#closed = Promise.withResolvers()
      if (!this.#isSyncing) this.#close()
    }
    return this.#closed.promise
  }

  #forget(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isDue = false
  }

  #sync(): void {
    // A disk that takes longer than the time between two syncs gets one at a time.
    this.#isDue = this.#isSyncing
    if (this.#isSyncing) return
    this.#isSyncing = true
    const { sync = fsync, onFailure } = this.#options
    sync(this.descriptor, (error) => {
      this.#isSyncing = false
      if (error !== null) onFailure(error)
      if (this.isClosed) this.#close()
      else if (this.#isDue) this.#sync()
    })
  }

  #close(): void {
    try {
      closeSync(this.descriptor)
    } catch (error) {
      this.#options.onFailure(error)
    }
    this.#closed?.resolve()
  }
}
