/**
 * The names of mailboxes, by which receivers and the coordinator find them. Each is recorded before
 * the first message is sent. Names of nodes that are gone are taken off again: the list of them and
 * the mailbox itself may be in different hash slots, so no one step can look into the one and
 * change the other. Instead a name that was taken off is remembered for a while, and is put back
 * when there is something in its mailbox after all: a message whose sender had recorded the name
 * just before.
 */
import type { Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { keys } from '../redis/keys.ts'

/** Far longer than anybody is between recording a name and sending, ms. */
const rememberMs = 600_000

export class MailboxNames {
  readonly #redis: Redis
  readonly #queueOf: (mailbox: string) => Queue
  readonly #told = new Map<string, Promise<unknown>>()

  constructor(redis: Redis, queueOf: (mailbox: string) => Queue) {
    this.#redis = redis
    this.#queueOf = queueOf
  }

  all(): Promise<string[]> {
    return this.#redis.smembers(keys.mailboxes)
  }

  /** Recorded before the first message is sent: a receiver that starts now must find it. */
  announce(mailbox: string): Promise<unknown> {
    const before = this.#told.get(mailbox)
    if (before !== undefined && !isOfNode(mailbox)) return before
    // Told whoever recorded it: that process may have been killed before it could.
    const telling = this.#redis.sadd(keys.mailboxes, mailbox).then(async (added) => {
      if (before === undefined || added > 0) await this.#tell(mailbox)
    })
    this.#told.set(mailbox, telling)
    telling.catch(() => this.#told.delete(mailbox))
    return telling
  }

  /** See `retire` of the port. */
  async retire(mailboxes: readonly string[]): Promise<string[]> {
    const redis = this.#redis
    for (const mailbox of await redis.zrange(keys.retiredMailboxes, 0, '-1')) {
      if (!(await this.#isEmpty(mailbox))) await this.#putBack(mailbox)
    }
    const now = Date.now()
    // Those that were looked into just now: nothing came in all that time.
    await redis.zremrangebyscore(keys.retiredMailboxes, '-inf', now - rememberMs)
    const retired: string[] = []
    for (const mailbox of mailboxes) {
      if (!(await this.#isEmpty(mailbox))) continue
      const { retiredMailboxes, mailboxes: names } = keys
      await redis.multi().zadd(retiredMailboxes, now, mailbox).srem(names, mailbox).exec()
      if (await this.#isEmpty(mailbox)) {
        // What is left is small, and a receiver that comes back just now relies on it.
        await redis.unlink(this.#queueOf(mailbox).toKey('events'))
        retired.push(mailbox)
      } else await this.#putBack(mailbox)
    }
    return retired
  }

  async #putBack(mailbox: string): Promise<void> {
    const { retiredMailboxes, mailboxes } = keys
    await this.#redis.multi().sadd(mailboxes, mailbox).zrem(retiredMailboxes, mailbox).exec()
    await this.#tell(mailbox)
  }

  #tell(mailbox: string): Promise<unknown> {
    return this.#redis.publish(keys.newMailboxes, mailbox)
  }

  /** Messages that BullMQ has parked as failed count as well. */
  async #isEmpty(mailbox: string): Promise<boolean> {
    const counts = await this.#queueOf(mailbox).getJobCounts()
    return Object.values(counts).every((count) => count === 0)
  }
}

/** Its name may be taken off the list while we know of it. */
const isOfNode = (mailbox: string) => mailbox.includes('@')
