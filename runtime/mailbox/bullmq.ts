/**
 * The mailboxes port on BullMQ: one queue a mailbox, one job a message.
 *
 * What BullMQ does not promise by itself is made good here: every job has a deterministic id, so a
 * reply that got lost cannot add it twice; every job has a priority, since one without would
 * overtake all; a job is never failed for having stalled, since what to do with a message that
 * kills its worker is decided by the worker, task by task.
 */
import { once } from 'node:events'
import { type Job, Queue, WaitingError, Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import type {
  Delivery,
  Handle,
  Log,
  MailboxDepth,
  Mailboxes,
  Message,
  Priority,
  ReceiveOptions,
  Receiver,
} from '../../actors/ports.ts'
import { keys, mailboxPrefix } from '../redis/keys.ts'
import { ReceiverTrouble } from './trouble.ts'

const priorityNumber: Record<Priority, number> = { critical: 1, high: 2, normal: 3, low: 4 }

/** Notes about a message outlive any redelivery, and end with the message at the latest by this. */
const notesKeepMs = 24 * 3_600_000
/** Among the notes: how often the message was taken but not handed to anybody. */
const undeliveredField = ':undelivered'

/** BullMQ's close() has no limit of its own. */
const closeMs = 2000

export interface BullMailboxesOptions {
  /** A connection for the given purpose; closed by close(). */
  connect(purpose: string, kind: 'command' | 'blocking' | 'subscriber'): Redis
  lockMs: number
  stalledIntervalMs: number
  /** A message that could not be handled is held this long before it goes back. Default 1000. */
  giveBackAfterMs?: number
  log: Log
  onStalled?(mailbox: string): void
}

export interface BullMailboxes extends Mailboxes {
  /**
   * Give back at once what dead receivers hold, instead of waiting for their locks to end.
   * @param isAlone whether no other process uses this Redis; asked after looking, so that whatever
   * was seen to be locked was locked by somebody who is gone
   * @returns how many messages that were
   */
  reclaim(isAlone: () => Promise<boolean>): Promise<number>
}

export function bullMailboxes(options: BullMailboxesOptions): BullMailboxes {
  const { connect, log } = options
  const redis = connect('mailboxes', 'command')
  const opened: Redis[] = [redis]
  const queues = new Map<string, Queue>()
  const receivers = new Set<Receiver>()
  const announced = new Map<string, Promise<unknown>>()
  let closing: Promise<void> | undefined

  const queueOf = (mailbox: string): Queue => {
    const known = queues.get(mailbox)
    if (known !== undefined) return known
    const queue = new Queue(mailbox, {
      connection: redis,
      prefix: mailboxPrefix,
      streams: { events: { maxLen: 100 } },
    })
    queue.on('error', (error) => log.warn({ mailbox, error: error.message }, 'mailbox trouble'))
    queues.set(mailbox, queue)
    return queue
  }

  /** Recorded before the first message is sent: a receiver that starts now must find it. */
  const announce = (mailbox: string): Promise<unknown> => {
    const before = announced.get(mailbox)
    if (before !== undefined) return before
    // Told whoever recorded it: that process may have been killed before it could.
    const telling = redis
      .sadd(keys.mailboxes, mailbox)
      .then(() => redis.publish(keys.newMailboxes, mailbox))
    announced.set(mailbox, telling)
    telling.catch(() => announced.delete(mailbox))
    return telling
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
      await Promise.all([...new Set(messages.map(({ mailbox }) => mailbox))].map(announce))
      await Promise.all(messages.map(add))
    },

    async receive(mailbox, receiveOptions, handle) {
      const receiver = await bullReceiver({
        mailbox,
        queue: queueOf(mailbox),
        redis,
        receiveOptions,
        handle,
        options,
        forget: () => receivers.delete(receiver),
      })
      receivers.add(receiver)
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

    names: () => redis.smembers(keys.mailboxes),

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

    async reclaim(isAlone) {
      const held: { job: Job; lock: string }[] = []
      for (const mailbox of await redis.smembers(keys.mailboxes)) {
        for (const job of await queueOf(mailbox).getActive()) {
          const lock = await redis.get(`${mailboxPrefix}:${mailbox}:${job.id ?? ''}:lock`)
          if (lock !== null) held.push({ job, lock })
        }
      }
      if (held.length === 0 || !(await isAlone())) return 0
      await Promise.all(held.map(({ job, lock }) => job.moveToWait(lock)))
      return held.length
    },

    close() {
      closing ??= (async () => {
        await Promise.all([...receivers].map((receiver) => receiver.stop(0)))
        const closed = Promise.all([...queues.values()].map((queue) => queue.close()))
        await atMost(closeMs, closed)
        for (const connection of opened) connection.disconnect()
      })()
      return closing
    },
  }
}

interface ReceiverParts {
  mailbox: string
  queue: Queue
  redis: Redis
  receiveOptions: ReceiveOptions
  handle: Handle
  options: BullMailboxesOptions
  forget(): unknown
}

async function bullReceiver(parts: ReceiverParts): Promise<Receiver> {
  const { mailbox, queue, redis, receiveOptions, handle, options, forget } = parts
  const { log, giveBackAfterMs = 1000 } = options
  if (receiveOptions.ordered) await queue.setGlobalConcurrency(1)
  /** Deliveries at hand: how to take each away, and its end. */
  const atHand = new Map<string, { abort: AbortController; ended: Promise<void> }>()
  /** Messages at hand that may have notes. */
  const noted = new Set<string>()
  let open = true
  let stopping: Promise<void> | undefined

  /** BullMQ wakes nobody for a message with a priority that goes back. */
  const wakeOthers = () => redis.zadd(queue.toKey('marker'), 0, '0')

  /**
   * To the head of its priority, without using up an attempt. Where that fails (Redis away or full,
   * lock lost) the message stays active without a lock and comes back as stalled: whatever else
   * were thrown here, BullMQ would fail the message for good.
   */
  const giveBack = async (job: Job, token: string | undefined, delivered: boolean) => {
    try {
      if (!delivered) await countUndelivered(redis, job)
      await job.moveToWait(token)
      await wakeOthers()
    } catch (error) {
      log.warn({ mailbox, id: job.id, error: String(error) }, 'a message cannot be given back yet')
    }
    throw new WaitingError()
  }

  const process = async (job: Job, token?: string) => {
    const id = job.id ?? ''
    if (!open) {
      // BullMQ was already waiting for a message when it was told to take no more.
      await giveBack(job, token, false)
      return
    }
    const abort = new AbortController()
    const ended = Promise.withResolvers<void>()
    const hand = { abort, ended: ended.promise }
    atHand.set(id, hand)
    try {
      const delivery = await deliveryOf(job, abort.signal, redis, () => noted.add(id))
      await Promise.race([handle(delivery), aborted(abort.signal)])
    } catch (error) {
      noted.delete(id)
      if (!abort.signal.aborted) {
        log.warn({ mailbox, id, error: String(error) }, 'a message goes back to its mailbox')
        // What failed at once would fail at once again.
        await atMost(giveBackAfterMs, once(abort.signal, 'abort'))
      }
      await giveBack(job, token, true)
    } finally {
      // Where its lock was lost, the same message may be at hand again already.
      if (atHand.get(id) === hand) atHand.delete(id)
      ended.resolve()
    }
  }

  const worker = new Worker(mailbox, process, {
    // BullMQ takes a second, blocking connection for itself and closes it.
    connection: redis,
    prefix: mailboxPrefix,
    autorun: false,
    concurrency: receiveOptions.ordered ? 1 : receiveOptions.concurrency,
    lockDuration: options.lockMs,
    stalledInterval: options.stalledIntervalMs,
    // Messages that kill their worker are found by the worker's own notes; BullMQ must not fail a
    // whole envelope for one poisonous task.
    maxStalledCount: 1_000_000,
  })
  const trouble = new ReceiverTrouble(mailbox, worker, log, () => open)
  worker.on('error', trouble.meet)
  // Not before: a message that comes back for lack of an acknowledgement needs its notes.
  worker.on('completed', ({ id = '' }) => {
    if (!noted.delete(id)) return
    redis.unlink(keys.notes(mailbox, id)).catch(trouble.meet)
  })
  worker.on('failed', (job, error) => {
    log.error({ mailbox, id: job?.id, error: error.message }, 'a message was parked as failed')
  })
  worker.on('stalled', (id) => {
    options.onStalled?.(mailbox)
    log.warn({ mailbox, id }, 'a message was recovered from a dead worker')
  })
  worker.on('lockRenewalFailed', (ids: string[]) => {
    for (const id of ids) atHand.get(id)?.abort.abort(new Error('the lock on the message was lost'))
  })
  await worker.waitUntilReady()
  const running = worker.run()
  running.catch((error: Error) => log.error({ mailbox, error: error.message }, 'receiver ended'))

  const stop = async (graceMs: number) => {
    open = false
    trouble.stop()
    await worker.pause(true)
    const ends = Promise.all([...atHand.values()].map(({ ended }) => ended))
    await atMost(graceMs, ends)
    for (const { abort } of atHand.values()) abort.abort(new Error('the receiver is stopping'))
    // What cannot be given back now is not worth waiting for: it comes back as stalled.
    await atMost(closeMs, worker.close(redis.status !== 'ready'))
    // A call to look for messages may have reached us and found nobody.
    if (redis.status === 'ready') await atMost(closeMs, wakeOthers()).catch(trouble.meet)
    forget()
  }

  return {
    pause: async () => {
      open = false
      await worker.pause(true)
    },
    resume: async () => {
      if (stopping !== undefined) return
      open = true
      await worker.resume()
    },
    stop: (graceMs) => (stopping ??= stop(graceMs)),
  }
}

/** Wait for something, but no longer than this. */
async function atMost(ms: number, something: Promise<unknown>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  await Promise.race([something, late])
  clearTimeout(timer)
}

/** Rejects when the signal aborts; settles never otherwise. */
function aborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>()
  if (signal.aborted) reject(signal.reason)
  signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  return promise
}

async function countUndelivered(redis: Redis, job: Job): Promise<void> {
  const notes = keys.notes(job.queueName, job.id ?? '')
  await redis.multi().hincrby(notes, undeliveredField, 1).pexpire(notes, notesKeepMs).exec()
}

async function deliveryOf(
  job: Job,
  signal: AbortSignal,
  redis: Redis,
  onNoted: () => void,
): Promise<Delivery> {
  const id = job.id ?? ''
  const notes = keys.notes(job.queueName, id)
  const before = Math.max(0, job.attemptsStarted - 1)
  if (before > 0) onNoted()
  const undelivered = before > 0 ? await redis.hget(notes, undeliveredField) : 0
  return {
    id,
    body: job.data,
    redeliveries: Math.max(0, before - Number(undelivered)),
    signal,
    async notes() {
      const { [undeliveredField]: _, ...found } = await redis.hgetall(notes)
      return found
    },
    async note(fields) {
      onNoted()
      await redis.multi().hset(notes, fields).pexpire(notes, notesKeepMs).exec()
    },
  }
}
