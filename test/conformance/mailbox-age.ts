/** What every implementation of the mailboxes port must do: say since when its messages wait. */
import { afterEach, beforeEach, expect, test } from 'bun:test'
import type { Mailboxes } from '../../actors/ports.ts'
import { eventually } from '../kit/eventually.ts'
import { message, type OpenMailboxes } from './mailboxes.ts'

export function ageConformance(open: OpenMailboxes): void {
  let mailboxes: Mailboxes
  beforeEach(async () => {
    mailboxes = await open()
  })
  afterEach(() => mailboxes.close())

  /** Sends a message in a millisecond of its own; returns the times before and after. */
  const send = async (id: string, over: Parameters<typeof message>[2] = {}) => {
    const before = Date.now()
    await eventually(() => expect(Date.now()).toBeGreaterThan(before), { intervalMs: 1 })
    const from = Date.now()
    await mailboxes.send([message('work.a', id, over)])
    return { from, to: Date.now() }
  }
  const oldest = () => mailboxes.oldestAt('work.a')

  test('a mailbox where nothing waits has no oldest message', async () => {
    expect(await oldest()).toBeUndefined()
    await send('later', { delayMs: 60_000 })
    expect(await oldest()).toBeUndefined()
  })

  test('the oldest is found whatever its priority', async () => {
    const { from, to } = await send('low', { priority: 'low' })
    await send('high', { priority: 'high' })
    await send('normal')
    await send('another high', { priority: 'high' })
    expect(await oldest()).toBeWithin(from, to + 1)
  })

  test('one that was delayed has waited since it was due', async () => {
    const delayMs = 50
    const { from, to } = await send('late', { delayMs })
    const gates = new Map(['one', 'two', 'late'].map((id) => [id, Promise.withResolvers<void>()]))
    await send('one', { priority: 'critical' })
    const once = { concurrency: 1, ordered: false }
    const receiver = await mailboxes.receive('work.a', once, async ({ id }) => {
      await gates.get(id)?.promise
    })
    await send('two', { priority: 'critical' })
    await eventually(() => expect(Date.now()).toBeGreaterThan(to + delayMs))
    // BullMQ sees that it is due when somebody comes for the next one.
    gates.get('one')?.resolve()
    await eventually(async () => {
      expect(await mailboxes.depth('work.a')).toEqual({ waiting: 1, active: 1, delayed: 0 })
    })
    expect(await oldest()).toBeWithin(from + delayMs, to + delayMs + 1)
    for (const gate of gates.values()) gate.resolve()
    await eventually(async () => expect(await oldest()).toBeUndefined())
    await receiver.stop(1000)
  })
}
