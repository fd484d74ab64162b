/**
 * Until when the lock on a message holds, by the clock of whoever holds it. Redis tells of a lost
 * lock at the next renewal, and says nothing at all while it cannot be reached: who was cut off, or
 * stood still, must know by himself when others may have his messages.
 */
import { type Job, Worker } from 'bullmq'
import { untilTickMs } from '../clock.ts'

/**
 * Redis is asked again as often, should it have forgotten that somebody waits: BullMQ's own. The
 * first wait is between half of it and one and a half times it.
 */
const drainMs = 5000

/** The lock of one delivery. */
export class Lock {
  /** Monotonic ms. */
  until: number
  #isOver = false

  constructor(until: number) {
    this.until = until
  }

  /** Whether others may have the message by now. What has come to its end cannot be lost. */
  get isLost(): boolean {
    return !this.#isOver && performance.now() >= this.until
  }

  end(): void {
    this.#isOver = true
  }
}

export class LockedWorker extends Worker {
  /** By id of the message, the lock of its last delivery. */
  readonly #locks = new Map<string, Lock>()

  /** A message is at hand from now on; it was locked when it was asked for, at the earliest. */
  lockOf({ id = '', processedOn = Date.now() }: Job, lockMs: number): Lock {
    const ago = Math.max(0, Date.now() - processedOn)
    const lock = new Lock(performance.now() - ago + lockMs)
    this.#locks.set(id, lock)
    return lock
  }

  /** The message is at hand no more. */
  left(id: string, lock: Lock): void {
    lock.end()
    // Where its lock was lost, the same message may be at hand again already.
    if (this.#locks.get(id) === lock) this.#locks.delete(id)
  }

  /** Seconds. A process at rest that serves many mailboxes wakes up once for all of them. */
  protected override getBlockTimeout(blockUntil: number): number {
    if (blockUntil) return super.getBlockTimeout(blockUntil)
    return untilTickMs(performance.now(), drainMs) / 1000
  }

  override async extendJobLocks(
    ids: string[],
    tokens: string[],
    duration: number,
  ): Promise<string[]> {
    const sentAt = performance.now()
    const locks = ids.map((id) => this.#locks.get(id))
    const lost = await super.extendJobLocks(ids, tokens, duration)
    ids.forEach((id, index) => {
      const lock = locks[index]
      if (lock !== undefined && !lost.includes(id)) lock.until = sentAt + duration
    })
    return lost
  }
}
