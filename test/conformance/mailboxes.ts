/** What every implementation of the mailboxes port must do: what is sent, and in which order. */
import { afterEach, beforeEach, expect, test } from 'bun:test'
import type { Envelope } from '../../actors/envelope.ts'
import {
  type Delivery,
  diedNote,
  type Mailboxes,
  type Message,
  type Receiver,
} from '../../actors/ports.ts'
import { eventually } from '../kit/eventually.ts'

/** Opens mailboxes nobody has used before; the suite closes them. */
export type OpenMailboxes = () => Promise<Mailboxes>

const together = { concurrency: 8, ordered: false }
const inOrder = { concurrency: 1, ordered: true }
const none = { waiting: 0, active: 0, delayed: 0 }

/** A message that carries its own id. */
export function message(mailbox: string, id: string, more: Partial<Message> = {}): Message {
  const body: Envelope = {
    v: 1,
    run: 'r-conformance',
    mailbox,
    kind: 'probe',
    priority: more.priority ?? 'normal',
    attempt: 1,
    readyAt: 0,
    seqs: [[0, 1]],
    tasks: [{ id }],
  }
  return { mailbox, id, priority: 'normal', delayMs: 0, body, ...more }
}

export function messages(mailbox: string, count: number, prefix = 'm'): Message[] {
  return Array.from({ length: count }, (_, index) => message(mailbox, `${prefix}${index}`))
}

export const idsOf = (all: readonly { id: string }[]) => all.map(({ id }) => id)

export function deliveryConformance(open: OpenMailboxes): void {
  let mailboxes: Mailboxes
  beforeEach(async () => {
    mailboxes = await open()
  })
  afterEach(() => mailboxes.close())

  const isEmpty = (mailbox: string) =>
    eventually(async () => expect(await mailboxes.depth(mailbox)).toEqual(none))

  /** Receives everything and acknowledges it; ids in the order of delivery. */
  const receiveAll = async (mailbox: string, options = inOrder) => {
    const seen: Delivery[] = []
    const receiver = await mailboxes.receive(mailbox, options, async (delivery) => {
      seen.push(delivery)
    })
    return { seen, receiver }
  }

  test('what is sent is delivered with its body, and its acknowledgement ends it', async () => {
    const sent = message('work.a', 'one')
    await mailboxes.send([sent])
    expect(await mailboxes.depth('work.a')).toEqual({ waiting: 1, active: 0, delayed: 0 })
    const { seen } = await receiveAll('work.a', together)
    await isEmpty('work.a')
    expect(idsOf(seen)).toEqual(['one'])
    expect(seen[0]?.body).toEqual(sent.body)
    expect(seen[0]?.redeliveries).toBe(0)
    expect(seen[0]?.signal.aborted).toBe(false)
  })

  test('the same id again adds nothing while the message is there', async () => {
    const finish = Promise.withResolvers<void>()
    await mailboxes.send([message('work.a', 'one'), message('work.a', 'one')])
    await mailboxes.send([message('work.a', 'one')])
    await mailboxes.send([message('work.b', 'later', { delayMs: 60_000 })])
    await mailboxes.send([message('work.b', 'later')])
    expect(await mailboxes.depth('work.a')).toEqual({ ...none, waiting: 1 })
    expect(await mailboxes.depth('work.b')).toEqual({ ...none, delayed: 1 })
    const seen: string[] = []
    await mailboxes.receive('work.a', together, async ({ id }) => {
      seen.push(id)
      await finish.promise
    })
    await eventually(() => expect(seen).toEqual(['one']))
    await mailboxes.send([message('work.a', 'one')])
    expect(await mailboxes.depth('work.a')).toEqual({ ...none, active: 1 })
    finish.resolve()
    await isEmpty('work.a')
    await mailboxes.send([message('work.a', 'one')])
    await eventually(() => expect(seen).toEqual(['one', 'one']))
  })

  test('the same id in two mailboxes is two messages', async () => {
    await mailboxes.send([message('work.a', 'one'), message('work.b', 'one')])
    const found: Record<string, string>[] = []
    for (const mailbox of ['work.a', 'work.b']) {
      await mailboxes.receive(mailbox, together, async (delivery) => {
        found.push(await delivery.notes())
        await delivery.note({ mailbox })
      })
      await isEmpty(mailbox)
    }
    expect(found).toEqual([{}, {}])
  })

  test('the more urgent message comes first, and equals in the order they were sent', async () => {
    const order = [
      'low',
      'normal',
      'high',
      'critical',
      'normal',
      'low',
      'critical',
      'high',
    ] as const
    await mailboxes.send(
      order.map((priority, index) => message('work.a', `${priority}${index}`, { priority })),
    )
    const { seen } = await receiveAll('work.a')
    await isEmpty('work.a')
    expect(idsOf(seen)).toEqual([
      'critical3',
      'critical6',
      'high2',
      'high7',
      'normal1',
      'normal4',
      'low0',
      'low5',
    ])
  })

  test('a delayed message waits for its time, then stands by its priority', async () => {
    // So long that whoever receives has begun by then.
    const delayMs = 1500
    const before = performance.now()
    await mailboxes.send([
      message('work.a', 'later', { delayMs, priority: 'critical' }),
      message('work.a', 'now'),
    ])
    expect(await mailboxes.depth('work.a')).toEqual({ waiting: 1, active: 0, delayed: 1 })
    const arrivals = new Map<string, number>()
    await mailboxes.receive('work.a', together, async ({ id }) => {
      arrivals.set(id, performance.now() - before)
    })
    await isEmpty('work.a')
    expect([...arrivals.keys()]).toEqual(['now', 'later'])
    // A timer may be a millisecond early by the other clock.
    expect(arrivals.get('later')).toBeGreaterThanOrEqual(delayMs - 2)
    expect(arrivals.get('later')).toBeLessThan(delayMs + 3500)
  })

  test('a message may be delayed by a year', async () => {
    await mailboxes.send([
      message('work.a', 'next year', { delayMs: 31_536_000_000 }),
      message('work.a', 'soon', { delayMs: 50 }),
    ])
    const { seen } = await receiveAll('work.a')
    await eventually(async () => {
      expect(await mailboxes.depth('work.a')).toEqual({ ...none, delayed: 1 })
    })
    expect(idsOf(seen)).toEqual(['soon'])
  })

  test('a message whose handling fails comes back at the head, counted', async () => {
    await mailboxes.send(messages('work.a', 4))
    const seen: [string, number][] = []
    await mailboxes.receive('work.a', inOrder, async ({ id, redeliveries }) => {
      seen.push([id, redeliveries])
      if (id === 'm1' && redeliveries < 2) throw new Error('not yet')
    })
    await isEmpty('work.a')
    expect(seen).toEqual([
      ['m0', 0],
      ['m1', 0],
      ['m1', 1],
      ['m1', 2],
      ['m2', 0],
      ['m3', 0],
    ])
  })

  test('a message that came back does not overtake a more urgent one', async () => {
    await mailboxes.send([message('work.a', 'normal')])
    const seen: string[] = []
    await mailboxes.receive('work.a', inOrder, async ({ id, redeliveries }) => {
      seen.push(id)
      if (id !== 'normal' || redeliveries > 0) return
      await mailboxes.send([
        message('work.a', 'critical', { priority: 'critical' }),
        message('work.a', 'neighbour'),
      ])
      throw new Error('not yet')
    })
    await isEmpty('work.a')
    expect(seen).toEqual(['normal', 'critical', 'normal', 'neighbour'])
  })

  test('a handler that always fails does not keep anybody else from running', async () => {
    await mailboxes.send([message('work.a', 'bad'), message('work.b', 'good')])
    let failures = 0
    await mailboxes.receive('work.a', together, () => {
      failures += 1
      return Promise.reject(new Error('never'))
    })
    const { seen } = await receiveAll('work.b')
    await eventually(() => expect(failures).toBeGreaterThan(2))
    await eventually(() => expect(idsOf(seen)).toEqual(['good']))
  })

  test('an ordered mailbox hands out one at a time, in order, whoever receives', async () => {
    const seen: string[] = []
    let atHand = 0
    let mostAtHand = 0
    const failed = new Set<string>()
    const receive = () =>
      mailboxes.receive('work.a~03', { concurrency: 4, ordered: true }, async ({ id }) => {
        atHand += 1
        mostAtHand = Math.max(mostAtHand, atHand)
        await Promise.resolve()
        atHand -= 1
        if (id.endsWith('7') && !failed.has(id)) {
          failed.add(id)
          throw new Error('not yet')
        }
        seen.push(id)
      })
    await Promise.all([receive(), receive()])
    const sent = messages('work.a~03', 60)
    for (let first = 0; first < 60; first += 20) await mailboxes.send(sent.slice(first, first + 20))
    await isEmpty('work.a~03')
    expect(seen).toEqual(idsOf(sent))
    expect(failed.size).toBe(6)
    expect(mostAtHand).toBe(1)
  })

  test('a large batch keeps its order', async () => {
    const sent = messages('work.a~00', 300)
    await mailboxes.send(sent)
    const { seen } = await receiveAll('work.a~00')
    await isEmpty('work.a~00')
    expect(idsOf(seen)).toEqual(idsOf(sent))
  })

  test('a message of one that is gone for good says so, once', async () => {
    const found: Record<string, string>[] = []
    await mailboxes.send([message('work.a', 'one')])
    const held = Promise.withResolvers<void>()
    const gone = await mailboxes.receive('work.a', together, async (delivery) => {
      await delivery.note({ running: '3' })
      held.resolve()
      await new Promise(() => {})
    })
    await held.promise
    const holders = mailboxes.holders()
    expect(await mailboxes.reclaim(holders, 'gone')).toBe(1)
    void gone.stop(0)
    await mailboxes.receive('work.a', together, async (delivery) => {
      found.push(await delivery.notes())
    })
    await isEmpty('work.a')
    expect(found).toEqual([{ running: '3', [diedNote]: '1' }])
  })

  test('notes outlive the delivery that made them, and end with the message', async () => {
    const found: Record<string, string>[] = []
    await mailboxes.send([message('work.a', 'one')])
    await mailboxes.receive('work.a', together, async (delivery) => {
      found.push(await delivery.notes())
      await delivery.note({ [`delivery${delivery.redeliveries}`]: 'was here', last: '1' })
      if (delivery.redeliveries < 2) throw new Error('not yet')
    })
    await isEmpty('work.a')
    const [first, second] = [
      { delivery0: 'was here', last: '1' },
      { delivery0: 'was here', delivery1: 'was here', last: '1' },
    ]
    expect(found).toEqual([{}, first, second])
    // How soon after the acknowledgement they end nobody promises.
    await eventually(async () => {
      found.length = 0
      await mailboxes.send([message('work.a', 'one')])
      await isEmpty('work.a')
      expect(found[0]).toEqual({})
    })
  })

  test('what a receiver does to a body nobody else sees', async () => {
    const sent = message('work.a', 'one')
    const original = structuredClone(sent.body)
    await mailboxes.send([sent])
    if ('tasks' in sent.body) sent.body.tasks.push({ id: 'added by the sender' })
    const bodies: unknown[] = []
    await mailboxes.receive('work.a', together, async ({ body, redeliveries }) => {
      bodies.push(structuredClone(body))
      ;(body as Envelope).tasks.push({ id: 'added by the receiver' })
      if (redeliveries === 0) throw new Error('not yet')
    })
    await isEmpty('work.a')
    expect(bodies).toEqual([original, original])
  })

  test('every mailbox that anybody sent to has a name, and is told of once', async () => {
    await mailboxes.send([message('work.old', 'one')])
    const told: string[] = []
    const unsubscribe = await mailboxes.onNew((mailbox) => told.push(mailbox))
    expect(await mailboxes.depth('work.asked')).toEqual(none)
    await mailboxes.send([message('work.old', 'two'), message('work.new', 'one')])
    await Promise.all([
      mailboxes.send([message('work.asked', 'one')]),
      mailboxes.send([message('work.asked', 'two')]),
      mailboxes.send([message('results', 'one')]),
    ])
    await eventually(() => {
      expect(told.toSorted()).toEqual(['results', 'work.asked', 'work.new'])
    })
    await unsubscribe()
    await mailboxes.send([message('work.unheard', 'one')])
    const names = await mailboxes.names()
    expect(names.toSorted()).toEqual([
      'results',
      'work.asked',
      'work.new',
      'work.old',
      'work.unheard',
    ])
    expect(told).not.toContain('work.unheard')
  })

  test('a mailbox is found by name before its first message can be received', async () => {
    const found: boolean[] = []
    await mailboxes.receive('work.a', together, async () => {
      found.push((await mailboxes.names()).includes('work.a'))
    })
    await Promise.all(messages('work.a', 5).map((each) => mailboxes.send([each])))
    await eventually(() => expect(found).toEqual([true, true, true, true, true]))
  })

  test('five hundred messages are each delivered once', async () => {
    const times = new Map<string, number>()
    const receivers: Receiver[] = []
    for (let number = 0; number < 3; number += 1) {
      receivers.push(
        await mailboxes.receive('work.a', together, async ({ id }) => {
          times.set(id, (times.get(id) ?? 0) + 1)
        }),
      )
    }
    await Promise.all(messages('work.a', 500).map((each) => mailboxes.send([each])))
    await eventually(() => expect(times.size).toBe(500))
    await isEmpty('work.a')
    expect([...times.values()].filter((count) => count !== 1)).toEqual([])
  })
}
