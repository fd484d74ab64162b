/** Room that somebody waits for: in the spools of all live runs together, and in a mailbox. */
import type { Clock } from './ports.ts'

/** Tasks in the spools of a dispatcher's runs, and who waits until there are fewer. */
export class SpoolRoom {
  #used = 0
  readonly #tasksMax: number
  readonly #isShort: () => boolean
  readonly #waiting: (() => void)[] = []

  /** @param isShort whether there is no memory for any more, however few they are */
  constructor(tasksMax: number, isShort: () => boolean) {
    this.#tasksMax = tasksMax
    this.#isShort = isShort
  }

  get used(): number {
    return this.#used
  }

  /** An empty spool takes anything, or what is larger than the spool would wait for ever. */
  hasRoomFor(tasks: number): boolean {
    if (this.#isShort()) return false
    return this.#used === 0 || this.#used + tasks <= this.#tasksMax
  }

  /** So many more tasks, or fewer, if negative, are in the spools. */
  count(tasks: number): void {
    this.#used += tasks
    if (tasks < 0) this.wakeAll()
  }

  /** Who waits is to look again. */
  wakeAll(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** Resolves when there are fewer than now, or memory again; rejects when the signal aborts. */
  async fewer(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const onAbort = () => resolve()
    signal.addEventListener('abort', onAbort, { once: true })
    this.#waiting.push(resolve)
    await promise
    signal.removeEventListener('abort', onAbort)
    signal.throwIfAborted()
  }
}

/** When a mailbox's notice of room is lost, this is how soon it is looked at again, ms. */
const roomCheckMs = 1000

/** Who waits for room in which mailbox. */
export class MailboxRoom {
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #clock: Clock
  readonly #signal: AbortSignal

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock
    this.#signal = signal
  }

  /** Resolves when the mailbox has got room, or may have, or the signal aborts. */
  async more(mailbox: string): Promise<void> {
    const waiting = this.#waiting.get(mailbox) ?? new Set()
    this.#waiting.set(mailbox, waiting)
    const { promise, resolve } = Promise.withResolvers<void>()
    waiting.add(resolve)
    await Promise.race([promise, this.#clock.wait(roomCheckMs, this.#signal)])
    waiting.delete(resolve)
  }

  wake(mailbox: string): void {
    const waiting = this.#waiting.get(mailbox)
    this.#waiting.delete(mailbox)
    for (const resolve of waiting ?? []) resolve()
  }

  wakeAll(): void {
    for (const mailbox of this.#waiting.keys()) this.wake(mailbox)
  }
}
