/** What every implementation of the mailboxes port must do: how receivers pause, stop and close. */
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { once } from 'node:events'
import type { Delivery, Mailboxes } from '../../actors/ports.ts'
import { eventually } from '../kit/eventually.ts'
import { idsOf, message, messages, type OpenMailboxes } from './mailboxes.ts'

const together = { concurrency: 8, ordered: false }
/** Less than any wait for a lock to end or for somebody to look again. */
const atOnceMs = 4000

export function receiverConformance(open: OpenMailboxes): void {
  let mailboxes: Mailboxes
  beforeEach(async () => {
    mailboxes = await open()
  })
  afterEach(() => mailboxes.close())

  /** A receiver whose handler ends when it is told to, or when its message is taken away. */
  const receiveHeld = async (mailbox: string, options = together) => {
    const seen: Delivery[] = []
    const finish = Promise.withResolvers<void>()
    const receiver = await mailboxes.receive(mailbox, options, async (delivery) => {
      seen.push(delivery)
      await Promise.race([finish.promise, once(delivery.signal, 'abort')])
    })
    return { receiver, seen, finish: finish.resolve }
  }

  const isEmpty = (mailbox: string) =>
    eventually(async () => {
      expect(await mailboxes.depth(mailbox)).toEqual({ waiting: 0, active: 0, delayed: 0 })
    })

  test('a receiver handles as many messages at a time as it may, and no more', async () => {
    const { seen, finish } = await receiveHeld('work.a', { concurrency: 3, ordered: false })
    await mailboxes.send(messages('work.a', 10))
    await eventually(() => expect(seen.length).toBe(3))
    await eventually(async () => {
      expect(await mailboxes.depth('work.a')).toEqual({ waiting: 7, active: 3, delayed: 0 })
    })
    expect(seen.length).toBe(3)
    finish()
    await isEmpty('work.a')
    expect(idsOf(seen)).toEqual(idsOf(messages('work.a', 10)))
  })

  test('what a holder held that is gone is delivered again at once, and nothing else', async () => {
    const a = await receiveHeld('work.a')
    const holders = mailboxes.holders()
    expect(holders.length).toBe(1)
    await mailboxes.send(messages('work.a', 3))
    await eventually(() => expect(a.seen.length).toBe(3))
    await a.receiver.pause()
    const b = await receiveHeld('work.a')
    await mailboxes.send([message('work.a', 'other')])
    await eventually(() => expect(idsOf(b.seen)).toEqual(['other']))
    expect(await mailboxes.reclaim([], 'gone')).toBe(0)
    const since = performance.now()
    expect(await mailboxes.reclaim(holders, 'gone')).toBe(3)
    await eventually(() => expect(b.seen.length).toBe(4))
    expect(performance.now() - since).toBeLessThan(atOnceMs)
    const again = b.seen.filter(({ id }) => id !== 'other')
    expect(idsOf(again).toSorted()).toEqual(idsOf(messages('work.a', 3)))
    expect(again.map(({ redeliveries }) => redeliveries)).toEqual([1, 1, 1])
    b.finish()
    await isEmpty('work.a')
  })

  test('of one that is only silent nothing comes back at once where order counts', async () => {
    const inOrder = { concurrency: 1, ordered: true }
    const ordered = await receiveHeld('work.a~00', inOrder)
    const free = await receiveHeld('work.a')
    const silent = mailboxes.holders()
    await mailboxes.send([...messages('work.a~00', 2), ...messages('work.a', 2)])
    await eventually(() => expect([ordered.seen.length, free.seen.length]).toEqual([1, 2]))
    await Promise.all([ordered.receiver.pause(), free.receiver.pause()])
    const others = [await receiveHeld('work.a~00', inOrder), await receiveHeld('work.a')] as const
    expect(await mailboxes.reclaim(silent, 'silent')).toBe(2)
    await eventually(() => expect(others[1].seen.length).toBe(2))
    expect(ordered.seen[0]?.signal.aborted).toBe(false)
    expect(others[0].seen).toEqual([])
    expect(await mailboxes.reclaim(silent, 'gone')).toBe(1)
    others[0].finish()
    await isEmpty('work.a~00')
    expect(idsOf(others[0].seen)).toEqual(idsOf(messages('work.a~00', 2)))
    others[1].finish()
    await isEmpty('work.a')
  })

  test('a receiver that pauses takes nothing, and goes on where it was', async () => {
    const a = await receiveHeld('work.a')
    a.finish()
    await mailboxes.send([message('work.a', 'before')])
    await eventually(() => expect(idsOf(a.seen)).toEqual(['before']))
    await isEmpty('work.a')
    await a.receiver.pause()
    const b = await receiveHeld('work.a')
    b.finish()
    await mailboxes.send(messages('work.a', 20))
    await isEmpty('work.a')
    expect(idsOf(a.seen)).toEqual(['before'])
    expect(idsOf(b.seen).toSorted()).toEqual(idsOf(messages('work.a', 20)).toSorted())
    // Nobody was given a message that somebody else had to hand back.
    expect(b.seen.filter(({ redeliveries }) => redeliveries > 0)).toEqual([])
    await b.receiver.pause()
    await mailboxes.send([message('work.a', 'while paused')])
    await a.receiver.resume()
    await eventually(() => expect(idsOf(a.seen)).toEqual(['before', 'while paused']), {
      timeoutMs: atOnceMs,
    })
    expect(a.seen[1]?.redeliveries).toBe(0)
  })

  test('what is at hand goes on while a receiver is paused', async () => {
    const { receiver, seen, finish } = await receiveHeld('work.a')
    await mailboxes.send([message('work.a', 'one')])
    await eventually(() => expect(seen.length).toBe(1))
    await receiver.pause()
    expect(seen[0]?.signal.aborted).toBe(false)
    finish()
    await isEmpty('work.a')
  })

  test('a stopping receiver waits for what it has at hand', async () => {
    const { receiver, seen, finish } = await receiveHeld('work.a')
    await mailboxes.send([message('work.a', 'one')])
    await eventually(() => expect(seen.length).toBe(1))
    let stopped = false
    const stopping = receiver.stop(20_000).then(() => {
      stopped = true
    })
    await mailboxes.send([message('work.a', 'after')])
    await eventually(async () => {
      expect(await mailboxes.depth('work.a')).toEqual({ waiting: 1, active: 1, delayed: 0 })
    })
    expect(stopped).toBe(false)
    finish()
    await stopping
    expect(seen[0]?.signal.aborted).toBe(false)
    expect(idsOf(seen)).toEqual(['one'])
    await eventually(async () => {
      expect(await mailboxes.depth('work.a')).toEqual({ waiting: 1, active: 0, delayed: 0 })
    })
  })

  test('a receiver that is stopped again waits no longer', async () => {
    const { receiver, seen } = await receiveHeld('work.a')
    await mailboxes.send([message('work.a', 'one')])
    await eventually(() => expect(seen.length).toBe(1))
    const since = performance.now()
    const stopping = receiver.stop(20_000)
    await receiver.stop(0)
    await stopping
    expect(performance.now() - since).toBeLessThan(atOnceMs)
    expect(seen[0]?.signal.aborted).toBe(true)
  })

  test('what a stopped receiver hands back another one gets at once, with its notes', async () => {
    const a = await receiveHeld('work.a')
    await mailboxes.send(messages('work.a', 3))
    await eventually(() => expect(a.seen.length).toBe(3))
    for (const delivery of a.seen) await delivery.note({ seenBy: 'a' })
    const b = await receiveHeld('work.a')
    // As long as it needs to have looked and found nothing.
    await mailboxes.send([message('work.a', 'probe')])
    await a.receiver.pause()
    const before = performance.now()
    await a.receiver.stop(50)
    expect(a.seen.every(({ signal }) => signal.aborted)).toBe(true)
    await eventually(() => expect(b.seen.length + a.seen.length).toBeGreaterThanOrEqual(7))
    const backMs = performance.now() - before
    expect(backMs).toBeLessThan(atOnceMs)
    const handedBack = b.seen.filter(({ id }) => id !== 'probe')
    expect(idsOf(handedBack).toSorted()).toEqual(['m0', 'm1', 'm2'])
    for (const delivery of handedBack) {
      expect(delivery.redeliveries).toBe(1)
      expect(await delivery.notes()).toEqual({ seenBy: 'a' })
    }
    b.finish()
    await isEmpty('work.a')
    expect(a.seen.length).toBeLessThanOrEqual(4)
  })

  test('an ordered mailbox goes on at once when its receiver stops', async () => {
    const ordered = { concurrency: 1, ordered: true }
    const a = await receiveHeld('work.a~01', ordered)
    await mailboxes.send(messages('work.a~01', 3))
    await eventually(() => expect(a.seen.length).toBe(1))
    const b = await receiveHeld('work.a~01', ordered)
    b.finish()
    const before = performance.now()
    await a.receiver.stop(0)
    await isEmpty('work.a~01')
    expect(performance.now() - before).toBeLessThan(atOnceMs)
    expect(idsOf(b.seen)).toEqual(['m0', 'm1', 'm2'])
    expect(b.seen.map(({ redeliveries }) => redeliveries)).toEqual([1, 0, 0])
  })

  test('an idle receiver that stops leaves nothing undelivered', async () => {
    const a = await receiveHeld('work.a')
    const b = await receiveHeld('work.a')
    b.finish()
    await mailboxes.send([message('work.a', 'first')])
    const stopping = a.receiver.stop(0)
    const before = performance.now()
    await mailboxes.send(messages('work.a', 10))
    await stopping
    await isEmpty('work.a')
    expect(performance.now() - before).toBeLessThan(atOnceMs)
    const all = ['first', ...idsOf(messages('work.a', 10))]
    expect(idsOf(b.seen).toSorted()).toEqual(all.toSorted())
    const handedBack = idsOf(a.seen)
    const again = b.seen.filter(({ redeliveries }) => redeliveries > 0)
    expect(idsOf(again)).toEqual(handedBack)
  })

  test('stopping twice, or at once after the start, is stopping once', async () => {
    const { receiver, seen } = await receiveHeld('work.a')
    await Promise.all([receiver.stop(10), receiver.stop(10)])
    await receiver.stop(10)
    await receiver.resume()
    await mailboxes.send([message('work.a', 'one')])
    const other = await receiveHeld('work.a')
    await eventually(() => expect(other.seen.length).toBe(1))
    expect(seen).toEqual([])
  })

  test('closing ends while a handler hangs', async () => {
    let handling = false
    let aborted = false
    await mailboxes.receive('work.a', together, async ({ signal }) => {
      handling = true
      signal.addEventListener('abort', () => {
        aborted = true
      })
      await new Promise<never>(() => {})
    })
    await mailboxes.send([message('work.a', 'one')])
    await eventually(() => expect(handling).toBe(true))
    const before = performance.now()
    await Promise.all([mailboxes.close(), mailboxes.close()])
    expect(performance.now() - before).toBeLessThan(3000)
    expect(aborted).toBe(true)
  })
}
