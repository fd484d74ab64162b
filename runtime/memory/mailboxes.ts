/** The mailboxes port in memory: the twin of runtime/mailbox/bullmq.ts. */
import {
  type Delivery,
  diedNote,
  type Handle,
  type Mailboxes,
  type Priority,
  type ReceiveOptions,
  type Receiver,
} from '../../actors/ports.ts'

interface Held {
  id: string
  priority: Priority
  /** As JSON: neither the sender nor an earlier receiver holds what the next receiver gets. */
  body: string
  deliveries: number
  notes: Record<string, string>
  /** Epoch ms from which it could have been delivered. */
  readyAt: number
}

interface Box {
  /** In order of priority, then of arrival. */
  waiting: Held[]
  active: Set<Held>
  delayed: Map<Held, ReturnType<typeof setTimeout>>
  ids: Set<string>
  receivers: Set<{ offer(): void }>
  ordered: boolean
}

/** The longest time a timer can wait. */
const timerMaxMs = 2 ** 31 - 1

const rank: Record<Priority, number> = { critical: 1, high: 2, normal: 3, low: 4 }

export interface MemoryMailboxesOptions {
  /** A message that could not be handled is held this long before it goes back. Default 1000. */
  giveBackAfterMs?: number
}

export function memoryMailboxes({
  giveBackAfterMs = 1000,
}: MemoryMailboxesOptions = {}): Mailboxes {
  const boxes = new Map<string, Box>()
  /** Those that somebody sent to. */
  const names = new Set<string>()
  const listeners = new Set<(mailbox: string) => void>()
  const receivers = new Map<string, MemoryReceiver>()
  let opened = 0

  const boxOf = (mailbox: string): Box => {
    const known = boxes.get(mailbox)
    if (known !== undefined) return known
    const box: Box = {
      waiting: [],
      active: new Set(),
      delayed: new Map(),
      ids: new Set(),
      receivers: new Set(),
      ordered: false,
    }
    boxes.set(mailbox, box)
    return box
  }

  const announce = (mailbox: string) => {
    if (names.has(mailbox)) return
    names.add(mailbox)
    for (const listener of listeners) listener(mailbox)
  }

  const wake = (box: Box) => {
    for (const receiver of box.receivers) receiver.offer()
  }

  const enqueueAt = (box: Box, held: Held, time: number) => {
    const waitMs = Math.max(0, time - Date.now())
    const timer = setTimeout(
      () => {
        box.delayed.delete(held)
        if (waitMs > timerMaxMs) enqueueAt(box, held, time)
        else enqueue(box, held)
      },
      Math.min(waitMs, timerMaxMs),
    )
    box.delayed.set(held, timer)
  }

  const enqueue = (box: Box, held: Held) => {
    const index = box.waiting.findLastIndex((other) => rank[other.priority] <= rank[held.priority])
    box.waiting.splice(index + 1, 0, held)
    wake(box)
  }

  return {
    async send(messages) {
      for (const message of messages) {
        const box = boxOf(message.mailbox)
        announce(message.mailbox)
        if (box.ids.has(message.id)) continue
        box.ids.add(message.id)
        const { id, priority, delayMs } = message
        const body = JSON.stringify(message.body)
        const readyAt = Date.now() + delayMs
        const held = { id, priority, body, deliveries: 0, notes: {}, readyAt }
        if (delayMs === 0) enqueue(box, held)
        else enqueueAt(box, held, readyAt)
      }
    },

    async hasten(run) {
      for (const box of boxes.values()) {
        for (const [held, timer] of box.delayed) {
          if (!held.id.startsWith(`${run}.`)) continue
          clearTimeout(timer)
          box.delayed.delete(held)
          enqueue(box, held)
        }
      }
    },

    async promoteLow(waitedMs, countMax) {
      const since = Date.now() - waitedMs
      let promoted = 0
      for (const box of boxes.values()) {
        const low = box.waiting.filter(({ priority }) => priority === 'low')
        const young = low.findIndex(({ readyAt }) => readyAt > since)
        const old = low.slice(0, Math.min(countMax, young < 0 ? low.length : young))
        box.waiting = box.waiting.filter((held) => !old.includes(held))
        for (const held of old) {
          held.priority = 'normal'
          enqueue(box, held)
        }
        promoted += old.length
      }
      return promoted
    },

    async receive(mailbox, options, handle) {
      const box = boxOf(mailbox)
      const receiver = memoryReceiver(box, { ...options, giveBackAfterMs, handle }, () => wake(box))
      opened += 1
      receivers.set(`memory-${opened}`, receiver)
      return receiver
    },

    async depth(mailbox) {
      const box = boxOf(mailbox)
      return {
        waiting: box.waiting.length,
        active: box.active.size,
        delayed: box.delayed.size,
      }
    },

    async oldestAt(mailbox) {
      const { waiting } = boxOf(mailbox)
      const nexts = Object.values(Object.groupBy(waiting, ({ priority }) => priority))
      const times = nexts.flatMap((of) => of.slice(0, 1).map(({ readyAt }) => readyAt))
      return times.toSorted((a, b) => a - b)[0]
    },

    names: async () => [...names],

    // Nothing is ever between recording a name and sending here.
    async retire(mailboxes) {
      return mailboxes.filter((mailbox) => {
        const { waiting, active, delayed } = boxOf(mailbox)
        return waiting.length + active.size + delayed.size === 0 && names.delete(mailbox)
      })
    },

    async onNew(listener) {
      listeners.add(listener)
      return async () => {
        listeners.delete(listener)
      }
    },

    holders: () => [...receivers.keys()],

    async reclaim(holders, are) {
      const held = holders.flatMap((holder) => receivers.get(holder) ?? [])
      const lost = held.filter(({ ordered }) => are === 'gone' || !ordered)
      return lost.reduce((sum, receiver) => sum + receiver.lose(), 0)
    },

    async close() {
      await Promise.all([...receivers.values()].map((receiver) => receiver.stop(0)))
      for (const box of boxes.values())
        for (const timer of box.delayed.values()) clearTimeout(timer)
    },
  }
}

interface MemoryReceiver extends Receiver {
  readonly ordered: boolean
  /** Everything at hand is taken away; says how much that was. */
  lose(): number
}

function memoryReceiver(
  box: Box,
  options: ReceiveOptions & { handle: Handle; giveBackAfterMs: number },
  wake: () => void,
): MemoryReceiver {
  box.ordered ||= options.ordered
  const atHand = new Map<Held, { abort: AbortController; ended: Promise<void> }>()
  let open = true
  let stopped = false

  const deliver = async (held: Held) => {
    const abort = new AbortController()
    const ended = Promise.withResolvers<void>()
    atHand.set(held, { abort, ended: ended.promise })
    const taken = new Promise<never>((_, reject) => {
      abort.signal.addEventListener('abort', () => reject(abort.signal.reason), { once: true })
    })
    held.deliveries += 1
    try {
      await Promise.race([options.handle(deliveryOf(held, abort.signal)), taken])
      box.ids.delete(held.id)
    } catch {
      // What failed at once would fail at once again, and nobody else would get a turn.
      if (!abort.signal.aborted) await pause(options.giveBackAfterMs, abort.signal)
      // Not acknowledged, whatever the reason: it is delivered again, the first of its priority.
      const index = box.waiting.findIndex((other) => rank[other.priority] >= rank[held.priority])
      box.waiting.splice(index < 0 ? box.waiting.length : index, 0, held)
    }
    box.active.delete(held)
    atHand.delete(held)
    ended.resolve()
    wake()
  }

  const offer = () => {
    while (open && box.waiting.length > 0 && atHand.size < options.concurrency) {
      if (box.ordered && box.active.size > 0) return
      const held = box.waiting.shift()
      if (held === undefined) return
      box.active.add(held)
      void deliver(held)
    }
  }
  const self = { offer }
  box.receivers.add(self)
  queueMicrotask(offer)

  return {
    ordered: options.ordered,
    lose() {
      for (const [held, { abort }] of atHand) {
        held.notes[diedNote] = '1'
        abort.abort(new Error('the holder is gone'))
      }
      return atHand.size
    },
    async pause() {
      open = false
    },
    async resume() {
      if (stopped) return
      open = true
      offer()
    },
    async stop(graceMs) {
      open = false
      stopped = true
      box.receivers.delete(self)
      const ends = Promise.all([...atHand.values()].map(({ ended }) => ended))
      const takeAway = () => {
        for (const { abort } of atHand.values()) abort.abort(new Error('the receiver is stopping'))
      }
      if (graceMs === 0) takeAway()
      const timer = setTimeout(takeAway, graceMs)
      await ends
      clearTimeout(timer)
    },
  }
}

/** Wait, but not longer than until the signal aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
  clearTimeout(timer)
}

function deliveryOf(held: Held, signal: AbortSignal): Delivery {
  return {
    id: held.id,
    body: JSON.parse(held.body) as unknown,
    redeliveries: held.deliveries - 1,
    signal,
    notes: async () => ({ ...held.notes }),
    async note(fields) {
      Object.assign(held.notes, fields)
    },
  }
}
