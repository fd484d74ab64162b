/**
 * What to do about errors of a receiver. BullMQ tries again at once when Redis refuses a command
 * (disk full, memory full), thousands of times a second: so the receiver rests for a while, and the
 * log hears of trouble now and then, with how often it was.
 */
import type { Worker } from 'bullmq'
import type { Log } from '../../actors/ports.ts'

/** As long as a receiver rests, and as long as the log is spared repetitions. */
const restMs = 1000

export class ReceiverTrouble {
  readonly #mailbox: string
  readonly #worker: Worker
  readonly #log: Log
  readonly #isOpen: () => boolean
  #resting: ReturnType<typeof setTimeout> | undefined
  #toldAt = Number.NEGATIVE_INFINITY
  #untold = 0

  constructor(mailbox: string, worker: Worker, log: Log, isOpen: () => boolean) {
    this.#mailbox = mailbox
    this.#worker = worker
    this.#log = log
    this.#isOpen = isOpen
  }

  readonly meet = (error: Error): void => {
    this.#untold += 1
    const now = performance.now()
    if (now - this.#toldAt >= restMs) {
      const fields = { mailbox: this.#mailbox, error: error.message, times: this.#untold }
      this.#log.warn(fields, 'receiver trouble')
      this.#toldAt = now
      this.#untold = 0
    }
    if (/\b(MISCONF|OOM)\b/.test(error.message)) this.#rest()
  }

  stop(): void {
    clearTimeout(this.#resting)
  }

  #rest(): void {
    if (this.#resting !== undefined || !this.#isOpen()) return
    this.#resting = setTimeout(() => {
      this.#resting = undefined
      if (this.#isOpen()) this.#worker.resume().catch(this.meet)
    }, restMs)
    this.#worker.pause(true).catch(this.meet)
  }
}
