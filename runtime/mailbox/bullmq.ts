/**
 * The mailboxes port on BullMQ: one queue a mailbox, one job a message.
 *
 * What BullMQ does not promise by itself is made good here: every job has a deterministic id, so a
 * reply that got lost cannot add it twice; every job has a priority, since one without would
 * overtake all; a job is never failed for having stalled, since what to do with a message that
 * kills its worker is decided by the worker, task by task.
 */
import { type Job, Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { mailboxKind } from '../../actors/place.ts'
import {
  diedNote,
  type MailboxDepth,
  type Mailboxes,
  type Message,
  type Receiver,
} from '../../actors/ports.ts'
import { keys, SlotKeys } from '../redis/keys.ts'
import { MailboxNames } from './names.ts'
import { oldestAt, priorityNumber, promoteOldLow } from './priority.ts'
import {
  atMost,
  bullReceiver,
  closeMs,
  notesKeepMs,
  type ReceiverOptions,
  wakeReceivers,
} from './receiver.ts'

export interface BullMailboxesOptions extends Omit<ReceiverOptions, 'slotKeys'> {
  /** Default: one slot. */
  slotKeys?: SlotKeys
  /** A connection for the given purpose; closed by close(). */
  connect(purpose: string, kind: 'command' | 'blocking' | 'subscriber'): Redis
}

export interface BullMailboxes extends Mailboxes {
  /**
   * Give back at once what dead receivers hold, instead of waiting for their locks to end.
   * @param isAlone whether no other process uses this Redis; asked after looking, so that whatever
   * was seen to be locked was locked by somebody who is gone
   * @returns how many messages that were
   */
  reclaimAbandoned(isAlone: () => Promise<boolean>): Promise<number>
  /** What a mailbox is on BullMQ. */
  queue(mailbox: string): Queue
}

/** A message in work, and the token under which it is locked. */
interface Locked {
  job: Job
  lock: string
}

export function bullMailboxes(options: BullMailboxesOptions): BullMailboxes {
  const { connect, log, slotKeys = new SlotKeys() } = options
  const redis = connect('mailboxes', 'command')
  const opened: Redis[] = [redis]
  const queues = new Map<string, Queue>()
  const receivers = new Map<Receiver, string>()
  let closing: Promise<void> | undefined

  const queueOf = (mailbox: string): Queue => {
    const known = queues.get(mailbox)
    if (known !== undefined) return known
    const queue = new Queue(mailbox, {
      connection: redis,
      prefix: slotKeys.mailboxPrefix(mailbox),
      streams: { events: { maxLen: 100 } },
    })
    queue.on('error', (error) => log.warn({ mailbox, error: error.message }, 'mailbox trouble'))
    queues.set(mailbox, queue)
    return queue
  }

  const names = new MailboxNames(redis, queueOf)

  const lockedMessages = async (): Promise<Locked[]> => {
    const locked: Locked[] = []
    for (const mailbox of await redis.smembers(keys.mailboxes)) {
      for (const job of await queueOf(mailbox).getActive()) {
        const lock = await redis.get(`${queueOf(mailbox).toKey(job.id ?? '')}:lock`)
        if (lock !== null) locked.push({ job, lock })
      }
    }
    return locked
  }

  const giveBackAll = async (locked: readonly Locked[]): Promise<number> => {
    const given = await Promise.all(
      locked.map(async ({ job, lock }) => {
        try {
          const notes = slotKeys.notes(job.queueName, job.id ?? '')
          await redis.multi().hset(notes, diedNote, '1').pexpire(notes, notesKeepMs).exec()
          await job.moveToWait(lock)
          await wakeReceivers(redis, queueOf(job.queueName))
          return 1
        } catch (error) {
          // Its lock has ended meanwhile: it comes back as stalled.
          log.info({ id: job.id, error: String(error) }, 'a message was given back by others')
          return 0
        }
      }),
    )
    return given.reduce<number>((sum, one) => sum + one, 0)
  }

  const promote = async (queue: Queue, id: string) => {
    try {
      await (await queue.getJob(id))?.promote()
    } catch (error) {
      // It was due meanwhile, and is on its way already.
      log.debug({ mailbox: queue.name, id, error: String(error) }, 'a message is delayed no more')
    }
  }

  const add = async (message: Message) => {
    await queueOf(message.mailbox).add('envelope', message.body, {
      jobId: message.id,
      priority: priorityNumber[message.priority],
      ...(message.delayMs > 0 ? { delay: message.delayMs } : {}),
      attempts: 1,
      removeOnComplete: true,
      // BullMQ should never find a reason to fail one; if it does, it must not be gone.
      removeOnFail: false,
    })
  }

  return {
    async send(messages) {
      const mailboxes = new Set(messages.map(({ mailbox }) => mailbox))
      await Promise.all([...mailboxes].map((mailbox) => names.announce(mailbox)))
      await Promise.all(messages.map(add))
    },

    async hasten(run) {
      for (const mailbox of await redis.smembers(keys.mailboxes)) {
        const queue = queueOf(mailbox)
        const ids = await redis.zrange(queue.toKey('delayed'), '0', '-1')
        const own = ids.filter((id) => id.startsWith(`${run}.`))
        await Promise.all(own.map((id) => promote(queue, id)))
      }
    },

    async promoteLow(waitedMs, countMax) {
      let promoted = 0
      for (const mailbox of await redis.smembers(keys.mailboxes)) {
        promoted += await promoteOldLow(queueOf(mailbox), redis, waitedMs, countMax, log)
      }
      return promoted
    },

    async receive(mailbox, receiveOptions, handle) {
      const { receiver, holder } = await bullReceiver({
        mailbox,
        queue: queueOf(mailbox),
        redis,
        receiveOptions,
        handle,
        options: { ...options, slotKeys },
        forget: () => receivers.delete(receiver),
      })
      receivers.set(receiver, holder)
      return receiver
    },

    async depth(mailbox): Promise<MailboxDepth> {
      const counts = await queueOf(mailbox).getJobCounts('wait', 'prioritized', 'active', 'delayed')
      return {
        waiting: (counts['wait'] ?? 0) + (counts['prioritized'] ?? 0),
        active: counts['active'] ?? 0,
        delayed: counts['delayed'] ?? 0,
      }
    },

    oldestAt: (mailbox) => oldestAt(queueOf(mailbox), redis),

    names: () => names.all(),

    retire: (mailboxes) => names.retire(mailboxes),

    queue: queueOf,

    async onNew(listener) {
      const subscriber = connect('mailboxes:new', 'subscriber')
      opened.push(subscriber)
      const known = new Set(await redis.smembers(keys.mailboxes))
      const tell = (mailbox: string) => {
        if (known.has(mailbox)) return
        known.add(mailbox)
        listener(mailbox)
      }
      subscriber.on('message', (_channel: string, mailbox: string) => tell(mailbox))
      // What was announced before we could hear it is found by asking.
      const listen = async () => {
        await subscriber.subscribe(keys.newMailboxes)
        for (const mailbox of await redis.smembers(keys.mailboxes)) tell(mailbox)
      }
      await listen()
      subscriber.on('ready', () => {
        listen().catch((error: Error) => {
          log.warn({ error: error.message }, 'cannot list the mailboxes')
        })
      })
      return async () => subscriber.disconnect()
    },

    holders: () => [...receivers.values()],

    async reclaim(holders, are) {
      if (holders.length === 0) return 0
      const mine = (await lockedMessages()).filter(
        ({ job, lock }) =>
          // BullMQ numbers the tokens of a receiver behind its name.
          holders.some((id) => lock.startsWith(`${id}:`)) &&
          (are === 'gone' || mailboxKind(job.queueName)?.ordered !== true),
      )
      return giveBackAll(mine)
    },

    async reclaimAbandoned(isAlone) {
      const locked = await lockedMessages()
      return locked.length === 0 || !(await isAlone()) ? 0 : giveBackAll(locked)
    },

    close() {
      closing ??= (async () => {
        await Promise.all([...receivers.keys()].map((receiver) => receiver.stop(0)))
        const closed = Promise.all([...queues.values()].map((queue) => queue.close()))
        await atMost(closeMs, closed)
        for (const connection of opened) connection.disconnect()
      })()
      return closing
    },
  }
}
