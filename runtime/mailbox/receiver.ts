/**
 * A receiver of one mailbox: a BullMQ worker that never fails a message. What cannot be handled
 * goes back to the head of its priority, and what is taken away is aborted.
 */
import { once } from 'node:events'
import { type Job, type Queue, WaitingError } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Delivery, Handle, Log, ReceiveOptions, Receiver } from '../../actors/ports.ts'
import type { SlotKeys } from '../redis/keys.ts'
import { Script } from '../redis/script.ts'
import { type Lock, LockedWorker } from './locks.ts'
import { ReceiverTrouble } from './trouble.ts'

export interface ReceiverOptions {
  slotKeys: SlotKeys
  lockMs: number
  stalledIntervalMs: number
  /** A message that could not be handled is held this long before it goes back. Default 1000. */
  giveBackAfterMs?: number
  log: Log
  onStalled?(mailbox: string): void
  /** A receiver is about to take messages, and this is its name: told before it takes the first. */
  onHolder?(holder: string): void
}

/** Notes about a message outlive any redelivery, and end with the message at the latest by this. */
export const notesKeepMs = 24 * 3_600_000
/** Among the notes: how often the message was taken but not handed to anybody. */
const undeliveredField = ':undelivered'

const noteScript = new Script('note')
const lockLost = () => new Error('the lock on the message was lost')

/** BullMQ's close() has no limit of its own. */
export const closeMs = 2000

export interface ReceiverParts {
  mailbox: string
  queue: Queue
  redis: Redis
  receiveOptions: ReceiveOptions
  handle: Handle
  options: ReceiverOptions
  forget(): unknown
}

/** BullMQ wakes nobody for a message with a priority that goes back. */
export function wakeReceivers(redis: Redis, queue: Queue): Promise<unknown> {
  return redis.zadd(queue.toKey('marker'), 0, '0')
}

export async function bullReceiver(
  parts: ReceiverParts,
): Promise<{ receiver: Receiver; holder: string }> {
  const { mailbox, queue, redis, receiveOptions, handle, options, forget } = parts
  const { log, giveBackAfterMs = 1000 } = options
  if (receiveOptions.ordered) await queue.setGlobalConcurrency(1)
  /** Deliveries at hand: how to take each away, and its end. */
  const atHand = new Map<string, { abort: AbortController; ended: Promise<void> }>()
  /** Messages at hand that may have notes. */
  const noted = new Set<string>()
  let open = true
  let stopping: Promise<void> | undefined

  const wakeOthers = () => wakeReceivers(redis, queue)

  /**
   * To the head of its priority, without using up an attempt. Where that fails (Redis away or full,
   * lock lost) the message stays active without a lock and comes back as stalled: whatever else
   * were thrown here, BullMQ would fail the message for good.
   */
  const giveBack = async (job: Job, token: string | undefined, delivered: boolean) => {
    try {
      if (!delivered) {
        await countUndelivered(redis, options.slotKeys.notes(mailbox, job.id ?? ''))
      }
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
    const lock = worker.lockOf(job, options.lockMs)
    const locked: Locked = {
      token: token ?? '',
      key: `${queue.toKey(id)}:lock`,
      notes: options.slotKeys.notes(mailbox, id),
      abort,
      lock,
    }
    try {
      const delivery = await deliveryOf(job, locked, redis, () => noted.add(id))
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
      worker.left(id, lock)
      ended.resolve()
    }
  }

  const worker = new LockedWorker(mailbox, process, {
    // BullMQ takes a second, blocking connection for itself and closes it.
    connection: redis,
    prefix: options.slotKeys.mailboxPrefix(mailbox),
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
    redis.unlink(options.slotKeys.notes(mailbox, id)).catch(trouble.meet)
  })
  worker.on('failed', (job, error) => {
    log.error({ mailbox, id: job?.id, error: error.message }, 'a message was parked as failed')
  })
  worker.on('stalled', (id) => {
    options.onStalled?.(mailbox)
    log.warn({ mailbox, id }, 'a message was recovered from a dead worker')
  })
  worker.on('lockRenewalFailed', (ids: string[]) => {
    for (const id of ids) atHand.get(id)?.abort.abort(lockLost())
  })
  await worker.waitUntilReady()
  options.onHolder?.(worker.id)
  const running = worker.run()
  running.catch((error: Error) => log.error({ mailbox, error: error.message }, 'receiver ended'))

  const takeAway = () => {
    for (const { abort } of atHand.values()) abort.abort(new Error('the receiver is stopping'))
  }

  const stop = async (graceMs: number) => {
    open = false
    trouble.stop()
    await atMost(closeMs, worker.pause(true))
    const ends = Promise.all([...atHand.values()].map(({ ended }) => ended))
    await atMost(graceMs, ends)
    takeAway()
    // What cannot be given back now is not worth waiting for: it comes back as stalled.
    await atMost(closeMs, worker.close(redis.status !== 'ready'))
    // A call to look for messages may have reached us and found nobody.
    if (redis.status === 'ready') await atMost(closeMs, wakeOthers()).catch(trouble.meet)
    forget()
  }

  const receiver: Receiver = {
    pause: async () => {
      open = false
      await worker.pause(true)
    },
    resume: async () => {
      if (stopping !== undefined) return
      open = true
      await worker.resume()
    },
    stop: (graceMs) => {
      if (stopping !== undefined && graceMs === 0) takeAway()
      stopping ??= stop(graceMs)
      return stopping
    },
  }
  return { receiver, holder: worker.id }
}

/** Wait for something, but no longer than this. */
export async function atMost(ms: number, something: Promise<unknown>): Promise<void> {
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

async function countUndelivered(redis: Redis, notes: string): Promise<void> {
  await redis.multi().hincrby(notes, undeliveredField, 1).pexpire(notes, notesKeepMs).exec()
}

/** A message at hand, and what says that it still is. */
interface Locked {
  key: string
  /** Where what is noted about it is kept. */
  notes: string
  token: string
  /** What takes it away. */
  abort: AbortController
  lock: Lock
}

async function deliveryOf(
  job: Job,
  { key, notes, token, abort, lock }: Locked,
  redis: Redis,
  onNoted: () => void,
): Promise<Delivery> {
  const id = job.id ?? ''
  const before = Math.max(0, job.attemptsStarted - 1)
  if (before > 0) onNoted()
  const undelivered = before > 0 ? await redis.hget(notes, undeliveredField) : 0
  return {
    id,
    body: job.data,
    redeliveries: Math.max(0, before - Number(undelivered)),
    get signal() {
      // Asked before each task: who stood still must find out before anything else is begun.
      if (lock.isLost) abort.abort(lockLost())
      return abort.signal
    },
    async notes() {
      const { [undeliveredField]: _, ...found } = await redis.hgetall(notes)
      return found
    },
    async note(fields) {
      onNoted()
      const takesBack = Object.values(fields).every((value) => value === '') ? '1' : '0'
      const words = [takesBack, ...Object.entries(fields).flat()]
      const done = await noteScript.call(redis, [key, notes], [token, notesKeepMs, ...words])
      if (done === 1) return
      // Others have it, and do not know of what was to be noted.
      abort.abort(lockLost())
      throw lockLost()
    },
  }
}
