/** What every implementation of the mailboxes port must do about names that nobody needs. */
import { afterEach, beforeEach, expect, test } from 'bun:test'
import type { Mailboxes } from '../../actors/ports.ts'
import { systemClock } from '../../runtime/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { seededRandom } from '../kit/random.ts'
import { message, messages, type OpenMailboxes } from './mailboxes.ts'

const together = { concurrency: 8, ordered: false }
const none = { waiting: 0, active: 0, delayed: 0 }

export function nameConformance(open: OpenMailboxes): void {
  let mailboxes: Mailboxes
  beforeEach(async () => {
    mailboxes = await open()
  })
  afterEach(() => mailboxes.close())

  const isEmpty = (mailbox: string) =>
    eventually(async () => expect(await mailboxes.depth(mailbox)).toEqual(none))

  const receiveAll = async (mailbox: string) => {
    const seen: string[] = []
    const receiver = await mailboxes.receive(mailbox, together, async ({ id }) => {
      seen.push(id)
    })
    return { seen, receiver }
  }

  test('a name is retired with an empty mailbox, and is back with the next message', async () => {
    const [own, other] = ['work.a@gone', 'work.b@gone']
    const { receiver } = await receiveAll(own)
    await mailboxes.send([message(own, 'one'), message(other, 'two'), message('work.a', 'three')])
    await isEmpty(own)
    await receiver.stop(0)
    expect(await mailboxes.retire([own, other])).toEqual([own])
    expect((await mailboxes.names()).toSorted()).toEqual(['work.a', other])
    expect(await mailboxes.depth(other)).toEqual({ ...none, waiting: 1 })
    const told: string[] = []
    await mailboxes.onNew((mailbox) => told.push(mailbox))
    await mailboxes.send([message(own, 'four')])
    expect(await mailboxes.names()).toContain(own)
    await eventually(() => expect(told).toEqual([own]))
    expect(await mailboxes.retire([own])).toEqual([])
    const { seen } = await receiveAll(own)
    await isEmpty(own)
    expect(seen).toEqual(['four'])
  })

  test('a mailbox that is used while its name is retired again and again is found', async () => {
    const random = seededRandom()
    const own = 'work.a@flickering'
    const sent = messages(own, 120)
    let isOver = false
    const retire = async () => {
      // Everybody else is to have a turn, also where nothing has to be waited for.
      for (; !isOver; await systemClock.breathe()) await mailboxes.retire([own])
    }
    const retiring = retire()
    const seen = new Set<string>()
    // Whoever serves it knows of it by its name alone, as after a start.
    for (let first = 0; first < sent.length; ) {
      const count = random.integer(1, 4)
      await Promise.all(sent.slice(first, first + count).map((each) => mailboxes.send([each])))
      first += count
      await eventually(async () => expect(await mailboxes.names()).toContain(own))
      const receiver = await mailboxes.receive(own, together, async ({ id }) => {
        seen.add(id)
      })
      await isEmpty(own)
      await receiver.stop(0)
    }
    isOver = true
    await retiring
    expect(seen.size).toBe(sent.length)
  }, 30_000)
}
