/**
 * Until when the lock on a message holds, by the clock of whoever holds it. Redis tells of a lost
 * lock at the next renewal, and says nothing at all while it cannot be reached: who was cut off, or
 * stood still, must know by himself when others may have his messages.
 */
import { type Job, Worker } from 'bullmq'

export class LockedWorker extends Worker {
  /** By id of the message: monotonic ms. What is not at hand is not in it. */
  readonly #heldUntil = new Map<string, number>()

  /** A message is at hand from now on; it was locked when it was asked for, at the earliest. */
  took({ id = '', processedOn = Date.now() }: Job, lockMs: number): void {
    const ago = Math.max(0, Date.now() - processedOn)
    this.#heldUntil.set(id, performance.now() - ago + lockMs)
  }

  left(id: string): void {
    this.#heldUntil.delete(id)
  }

  /** Whether nobody else can have it. */
  isHeld(id: string): boolean {
    return performance.now() < (this.#heldUntil.get(id) ?? 0)
  }

  override async extendJobLocks(
    ids: string[],
    tokens: string[],
    duration: number,
  ): Promise<string[]> {
    const sentAt = performance.now()
    const lost = await super.extendJobLocks(ids, tokens, duration)
    for (const id of ids) {
      if (this.#heldUntil.has(id) && !lost.includes(id)) this.#heldUntil.set(id, sentAt + duration)
    }
    return lost
  }
}
