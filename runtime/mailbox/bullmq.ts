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

const priorityNumber: Record<Priority, number> = { critical: 1, high: 2, normal: 3, low: 4 }

/** Notes about a message outlive any redelivery, and end with the message at the latest by this. */
const notesKeepMs = 24 * 3_600_000

/** A message that could not be handled is held this long before it goes back. */
const giveBackAfterMs = 1000
/** BullMQ's close() has no limit of its own. */
const closeMs = 2000

export interface BullMailboxesOptions {
  /** A connection for the given purpose; closed by close(). */
  connect(purpose: string, kind: 'command' | 'blocking' | 'subscriber'): Redis
  lockMs: number
  stalledIntervalMs: number
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
  let closed = false

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

  const announce = async (mailbox: string) => {
    if (queues.has(mailbox)) return
    queueOf(mailbox)
    // Recorded before the first message is sent: a receiver that starts now must find it.
    if ((await redis.sadd(keys.mailboxes, mailbox)) === 1) {
      await redis.publish(keys.newMailboxes, mailbox)
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
      for (const mailbox of new Set(messages.map((message) => message.mailbox))) {
        await announce(mailbox)
      }
      await Promise.all(messages.map(add))
    },

    async receive(mailbox, receiveOptions, handle) {
      await announce(mailbox)
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
      const onMessage = (_channel: string, mailbox: string) => listener(mailbox)
      subscriber.on('message', onMessage)
      await subscriber.subscribe(keys.newMailboxes)
      // What was announced while the connection was away is found by asking.
      subscriber.on('ready', () => {
        redis.smembers(keys.mailboxes).then(
          (names) => names.forEach(listener),
          (error: Error) => log.warn({ error: error.message }, 'cannot list the mailboxes'),
        )
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

    async close() {
      if (closed) return
      closed = true
      await Promise.all([...receivers].map((receiver) => receiver.stop(0)))
      await Promise.all([...queues.values()].map((queue) => queue.close()))
      for (const connection of opened) connection.disconnect()
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
  const { log } = options
  if (receiveOptions.ordered) await queue.setGlobalConcurrency(1)
  /** Deliveries at hand: how to take each away, and its end. */
  const atHand = new Map<string, { abort: AbortController; ended: Promise<void> }>()
  let handingBack = false

  /**
   * To the head of the mailbox, without using up an attempt. Where that fails (Redis away or full,
   * lock lost) the message stays active without a lock and comes back as stalled: whatever else
   * were thrown here, BullMQ would fail the message for good.
   */
  const giveBack = async (job: Job, token: string | undefined) => {
    try {
      await job.moveToWait(token)
    } catch (error) {
      log.warn({ mailbox, id: job.id, error: String(error) }, 'a message cannot be given back yet')
    }
  }

  const process = async (job: Job, token?: string) => {
    const abort = new AbortController()
    const ended = Promise.withResolvers<void>()
    const id = job.id ?? ''
    atHand.set(id, { abort, ended: ended.promise })
    try {
      const { delivery, isNoted } = deliveryOf(job, abort.signal, redis)
      await Promise.race([handle(delivery), aborted(abort.signal)])
      if (isNoted()) await redis.unlink(keys.notes(id))
    } catch (error) {
      if (!abort.signal.aborted) {
        log.warn({ mailbox, id, error: String(error) }, 'a message goes back to its mailbox')
        // What failed at once would fail at once again.
        await atMost(giveBackAfterMs, once(abort.signal, 'abort'))
      }
      await giveBack(job, token)
      throw new WaitingError()
    } finally {
      atHand.delete(id)
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
  worker.on('error', (error) => log.warn({ mailbox, error: error.message }, 'receiver trouble'))
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

  let stopping: Promise<void> | undefined
  const stop = async (graceMs: number) => {
    await worker.pause(true)
    const ends = Promise.all([...atHand.values()].map(({ ended }) => ended))
    await atMost(graceMs, ends)
    handingBack = true
    for (const { abort } of atHand.values()) abort.abort(new Error('the receiver is stopping'))
    await atMost(closeMs, worker.close())
    forget()
  }

  return {
    pause: () => worker.pause(true),
    resume: async () => {
      if (!handingBack) await worker.resume()
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

function deliveryOf(
  job: Job,
  signal: AbortSignal,
  redis: Redis,
): { delivery: Delivery; isNoted(): boolean } {
  const notes = keys.notes(job.id ?? '')
  let noted = job.attemptsStarted > 1
  const delivery: Delivery = {
    id: job.id ?? '',
    body: job.data,
    redeliveries: Math.max(0, job.attemptsStarted - 1),
    signal,
    notes: () => redis.hgetall(notes),
    async note(fields) {
      noted = true
      await redis.multi().hset(notes, fields).pexpire(notes, notesKeepMs).exec()
    },
  }
  return { delivery, isNoted: () => noted }
}
