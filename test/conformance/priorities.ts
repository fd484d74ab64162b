/** What every implementation of the mailboxes port must do: `low` waits, but not for ever. */
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { type Envelope, workMessage } from '../../actors/envelope.ts'
import { workMailbox } from '../../actors/place.ts'
import type { Mailboxes, Priority } from '../../actors/ports.ts'
import { eventually } from '../kit/eventually.ts'
import { message, type OpenMailboxes } from './mailboxes.ts'

const inOrder = { concurrency: 1, ordered: false }
const hourMs = 3_600_000

export function priorityConformance(open: OpenMailboxes): void {
  let mailboxes: Mailboxes
  beforeEach(async () => {
    mailboxes = await open()
  })
  afterEach(() => mailboxes.close())

  const of = (priority: Priority, id: string, mailbox = 'work.a') =>
    message(mailbox, id, { priority })

  /** Everything that waits, in the order in which it is delivered. */
  const drain = async (mailbox = 'work.a'): Promise<string[]> => {
    const ids: string[] = []
    const receiver = await mailboxes.receive(mailbox, inOrder, async ({ id }) => {
      ids.push(id)
    })
    await eventually(async () => {
      expect(await mailboxes.depth(mailbox)).toMatchObject({ waiting: 0, active: 0 })
    })
    await receiver.stop(1000)
    return ids
  }

  test('a low message that has waited becomes the last of the normal ones', async () => {
    await mailboxes.send([of('low', 'l1'), of('low', 'l2'), of('normal', 'n1'), of('high', 'h1')])
    expect(await mailboxes.promoteLow(0, 100)).toBe(2)
    await mailboxes.send([of('normal', 'n2'), of('low', 'l3'), of('critical', 'c1')])
    expect(await drain()).toEqual(['c1', 'h1', 'n1', 'l1', 'l2', 'n2', 'l3'])
  })

  test('one that has not waited long enough stays where it is', async () => {
    await mailboxes.send([of('low', 'l1'), of('normal', 'n1')])
    expect(await mailboxes.promoteLow(hourMs, 100)).toBe(0)
    await mailboxes.send([of('normal', 'n2')])
    expect(await drain()).toEqual(['n1', 'n2', 'l1'])
  })

  test('it has not waited before it was due', async () => {
    const delayMs = 1500
    await mailboxes.send([
      message('work.a', 'l1', { priority: 'low', delayMs }),
      of('normal', 'first'),
      of('normal', 'second'),
    ])
    const since = performance.now()
    expect(await mailboxes.promoteLow(0, 100)).toBe(0)
    const ids: string[] = []
    const gates = { first: Promise.withResolvers<void>(), second: Promise.withResolvers<void>() }
    await mailboxes.receive('work.a', inOrder, async ({ id }) => {
      ids.push(id)
      if (id === 'first' || id === 'second') await gates[id].promise
    })
    await eventually(() => expect(performance.now() - since).toBeGreaterThan(delayMs))
    gates.first.resolve()
    await eventually(async () => {
      expect(await mailboxes.depth('work.a')).toEqual({ waiting: 1, active: 1, delayed: 0 })
    })
    expect(ids).toEqual(['first', 'second'])
    expect(await mailboxes.promoteLow(delayMs, 100)).toBe(0)
    await eventually(async () => expect(await mailboxes.promoteLow(delayMs, 100)).toBe(1))
    gates.second.resolve()
    await eventually(() => expect(ids).toEqual(['first', 'second', 'l1']))
  })

  test('of each mailbox only so many are, the oldest', async () => {
    const low = (mailbox: string) =>
      ['1', '2', '3', '4'].map((id) => of('low', `${mailbox}-${id}`, mailbox))
    await mailboxes.send([...low('work.a'), ...low('work.b')])
    expect(await mailboxes.promoteLow(0, 3)).toBe(6)
    await mailboxes.send([of('normal', 'n', 'work.a'), of('normal', 'n', 'work.b')])
    for (const mailbox of ['work.a', 'work.b']) {
      const ids = ['1', '2', '3'].map((id) => `${mailbox}-${id}`)
      expect(await drain(mailbox)).toEqual([...ids, 'n', `${mailbox}-4`])
    }
  })

  test('where there is none nothing is done', async () => {
    expect(await mailboxes.promoteLow(0, 100)).toBe(0)
    await mailboxes.send([of('normal', 'n1'), of('critical', 'c1')])
    expect(await mailboxes.promoteLow(0, 100)).toBe(0)
    expect(await drain()).toEqual(['c1', 'n1'])
    expect(await mailboxes.promoteLow(0, 100)).toBe(0)
  })

  test('one that was promoted keeps its place when it comes back', async () => {
    await mailboxes.send([of('low', 'l1')])
    await mailboxes.promoteLow(0, 100)
    const seen: string[] = []
    await mailboxes.receive('work.a', inOrder, async ({ id, redeliveries }) => {
      seen.push(id)
      if (id !== 'l1' || redeliveries > 0) return
      await mailboxes.send([of('normal', 'n1'), of('low', 'l2')])
      throw new Error('not yet')
    })
    await eventually(() => expect(seen).toEqual(['l1', 'l1', 'n1', 'l2']))
  })

  test('under a flood a low one runs once it has waited, and not before', async () => {
    const ahead = 20
    const before = 200
    const seen: string[] = []
    let sent = 0
    const flood = async (count: number) => {
      const from = sent
      sent += count
      await mailboxes.send(
        Array.from({ length: count }, (_, index) => of('normal', `n${from + index}`)),
      )
    }
    await mailboxes.send([of('low', 'patient')])
    await flood(ahead)
    let promoted = 0
    const receiver = await mailboxes.receive('work.a', inOrder, async ({ id }) => {
      seen.push(id)
      // For each that is done another one comes: there are always normal ones.
      if (!seen.includes('patient')) await flood(1)
      if (seen.length < before) promoted += await mailboxes.promoteLow(hourMs, 100)
      if (seen.length === before) promoted += await mailboxes.promoteLow(0, 100)
    })
    await eventually(() => expect(seen).toContain('patient'))
    await receiver.stop(1000)
    expect(promoted).toBe(1)
    const turn = seen.indexOf('patient')
    expect(turn).toBeGreaterThanOrEqual(before)
    expect(turn).toBeLessThanOrEqual(before + ahead + 1)
  })

  test('in an ordered mailbox priorities change nothing', async () => {
    const mailbox = workMailbox('job', 'k', 4)
    const priorities: Priority[] = ['low', 'normal', 'critical', 'high', 'low']
    const sent = priorities.map((priority, seq) => {
      const seqs: Envelope['seqs'] = [[seq, 1]]
      const about = { v: 1, run: 'r-1', mailbox, kind: 'job', attempt: 1, readyAt: 0 } as const
      return workMessage({ ...about, priority, seqs, tasks: [{ key: 'k' }] })
    })
    for (const each of sent) await mailboxes.send([each])
    expect(await mailboxes.promoteLow(0, 100)).toBe(0)
    expect(await drain(mailbox)).toEqual(sent.map(({ id }) => id))
  })
}
