/** The mailboxes port in memory: the twin of runtime/mailbox/bullmq.ts. */
import type {
  Delivery,
  Handle,
  Mailboxes,
  Message,
  Priority,
  ReceiveOptions,
  Receiver,
} from '../../actors/ports.ts'

interface Held {
  message: Message
  deliveries: number
  notes: Record<string, string>
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

const rank: Record<Priority, number> = { critical: 1, high: 2, normal: 3, low: 4 }

export interface MemoryMailboxesOptions {
  /** A message that could not be handled is held this long before it goes back. Default 1000. */
  giveBackAfterMs?: number
}

export function memoryMailboxes({
  giveBackAfterMs = 1000,
}: MemoryMailboxesOptions = {}): Mailboxes {
  const boxes = new Map<string, Box>()
  const listeners = new Set<(mailbox: string) => void>()
  const receivers = new Set<Receiver>()

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
    for (const listener of listeners) listener(mailbox)
    return box
  }

  const wake = (box: Box) => {
    for (const receiver of box.receivers) receiver.offer()
  }

  const enqueue = (box: Box, held: Held) => {
    const index = box.waiting.findLastIndex(
      (other) => rank[other.message.priority] <= rank[held.message.priority],
    )
    box.waiting.splice(index + 1, 0, held)
    wake(box)
  }

  return {
    async send(messages) {
      for (const message of messages) {
        const box = boxOf(message.mailbox)
        if (box.ids.has(message.id)) continue
        box.ids.add(message.id)
        // What a receiver gets must not be an object that its sender still holds.
        const held = { message: structuredClone(message), deliveries: 0, notes: {} }
        if (message.delayMs === 0) enqueue(box, held)
        else {
          const timer = setTimeout(() => {
            box.delayed.delete(held)
            enqueue(box, held)
          }, message.delayMs)
          box.delayed.set(held, timer)
        }
      }
    },

    async receive(mailbox, options, handle) {
      const box = boxOf(mailbox)
      const receiver = memoryReceiver(box, options, handle, () => wake(box))
      receivers.add(receiver)
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

    names: async () => [...boxes.keys()],

    async onNew(listener) {
      listeners.add(listener)
      return async () => {
        listeners.delete(listener)
      }
    },

    async close() {
      await Promise.all([...receivers].map((receiver) => receiver.stop(0)))
      for (const box of boxes.values())
        for (const timer of box.delayed.values()) clearTimeout(timer)
    },
  }
}

function memoryReceiver(
  box: Box,
  options: ReceiveOptions,
  handle: Handle,
  wake: () => void,
): Receiver {
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
      await Promise.race([handle(deliveryOf(held, abort.signal)), taken])
      box.ids.delete(held.message.id)
    } catch {
      // Not acknowledged, whatever the reason: it is delivered again, before all others.
      box.waiting.unshift(held)
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
      const timer = setTimeout(() => {
        for (const { abort } of atHand.values()) abort.abort(new Error('the receiver is stopping'))
      }, graceMs)
      await ends
      clearTimeout(timer)
    },
  }
}

function deliveryOf(held: Held, signal: AbortSignal): Delivery {
  return {
    id: held.message.id,
    body: held.message.body,
    redeliveries: held.deliveries - 1,
    signal,
    notes: async () => ({ ...held.notes }),
    async note(fields) {
      Object.assign(held.notes, fields)
    },
  }
}
