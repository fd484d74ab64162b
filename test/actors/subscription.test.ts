import { afterEach, describe, expect, test } from 'bun:test'
import { TerminalError } from '../../actors/errors.ts'
import { redrive } from '../../actors/redrive.ts'
import { defineSubscription, type ReceivedMessage } from '../../actors/subscription-work.ts'
import { childOf } from '../../actors/supervisor.ts'
import { Throttle } from '../../actors/throttle.ts'
import { topicMailbox } from '../../actors/topic-message.ts'
import { eventually } from '../kit/eventually.ts'
import { subscribing } from './subscribing.ts'

const opened: ReturnType<typeof subscribing>[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.end()
})

function open(...words: Parameters<typeof subscribing>) {
  const one = subscribing(...words)
  opened.push(one)
  return one
}

/** Notes what it is handed. */
function noting(over: Partial<Parameters<typeof defineSubscription>[0]> = {}) {
  const handled: ReceivedMessage[] = []
  const definition = defineSubscription({
    name: 'audit',
    group: 'audit',
    pattern: 'events.>',
    handle(message) {
      handled.push(message)
    },
    ...over,
  })
  return { handled, definition }
}

describe('a durable subscription', () => {
  test('handles what is published on its pattern, in order, and nothing else', async () => {
    const node = open()
    const { handled, definition } = noting()
    await node.start([definition])
    const counts = []
    for (const topic of ['events.a', 'other', 'events.a.b']) {
      counts.push((await node.publish(topic, { of: topic })).groups)
    }
    expect(counts).toEqual([1, 0, 1])
    await eventually(() =>
      expect(handled).toMatchObject([
        { id: 'm-1', topic: 'events.a', data: { of: 'events.a' } },
        { id: 'm-3', topic: 'events.a.b' },
      ]),
    )
  })

  test('gets what was published while nobody handled it', async () => {
    const node = open()
    const { handled, definition } = noting()
    const first = await node.start([definition])
    first.send({ type: 'stop' })
    await eventually(() => expect(first.getSnapshot().status).toBe('done'))
    await node.publish('events.late', 1)
    await node.start([definition])
    await eventually(() => expect(handled.map(({ data }) => data)).toEqual([1]))
  })

  // Seeds C-03 and C-05: acknowledged when the handler has ended, else delivered again.
  test('has its message back when its holder dies in the middle of it', async () => {
    const node = open()
    const begun: string[] = []
    const hanging = Promise.withResolvers<void>()
    const { definition } = noting({
      handle: ({ id }) => {
        begun.push(id)
        return begun.length === 1 ? hanging.promise : undefined
      },
    })
    await node.start([definition])
    await node.publish('events.a', 1, { id: 'one' })
    await eventually(() => expect(begun).toEqual(['one']))
    expect(await node.mailboxes.reclaim(node.mailboxes.holders(), 'gone')).toBe(1)
    await eventually(() => expect(begun).toEqual(['one', 'one']))
    const mailbox = topicMailbox({ group: 'audit', pattern: 'events.>' })
    await eventually(async () => {
      expect(await node.mailboxes.depth(mailbox)).toEqual({ waiting: 0, active: 0, delayed: 0 })
    })
    expect(await node.parked()).toEqual([])
  })

  // Seeds C-28 and C-29: an error of a handler ended its process, and with exit code 0.
  // Seeds D-36: attempts were never counted.
  test('tries a message as often as it may, keeps it as a dead letter, and goes on', async () => {
    const node = open()
    const tried: number[] = []
    const { definition } = noting({
      handle({ data }, { attempt }) {
        if (data === 'good') tried.push(0)
        else {
          tried.push(attempt)
          throw new Error('not today')
        }
      },
    })
    const tree = await node.start([definition])
    await node.publish('events.a', 'bad', { id: 'bad' })
    await node.publish('events.a', 'good')
    await eventually(async () => expect(await node.parked()).toHaveLength(1))
    expect(tried.filter((each) => each > 0)).toEqual([1, 2, 3])
    expect(tried).toContain(0)
    expect(await node.parked()).toMatchObject([
      {
        id: 'topic.audit.events.>/bad',
        mailbox: 'topic.audit.events.>',
        reason: 'undeliverable',
        error: { message: 'not today' },
        origin: { node: 'n-1' },
      },
    ])
    expect(tree.getSnapshot().status).toBe('active')
    expect(childOf(tree, 'audit', 1)).toBeDefined()
  })

  test('does not try again what a handler calls terminal, whatever else it throws', async () => {
    const node = open()
    let tries = 0
    const { definition } = noting({
      handle({ data }) {
        tries += 1
        if (data === 'terminal') throw new TerminalError('no use')
        throw { toString: () => Symbol('nothing to say') as unknown as string }
      },
    })
    await node.start([definition])
    await node.publish('events.a', 'terminal')
    await eventually(async () => expect(await node.parked()).toHaveLength(1))
    expect(tries).toBe(1)
    await node.publish('events.a', 'odd')
    await eventually(async () => expect(await node.parked()).toHaveLength(2))
    expect(tries).toBe(4)
  })

  test('gives a handler up that does not end in time, and aborts its signal', async () => {
    const node = open()
    const signals: AbortSignal[] = []
    const { definition } = noting({
      timeoutMs: 20,
      attempts: 2,
      handle(_, { signal }) {
        signals.push(signal)
        return new Promise(() => undefined)
      },
    })
    await node.start([definition])
    await node.publish('events.a', 1)
    await eventually(async () => expect(await node.parked()).toHaveLength(1))
    expect(await node.parked()).toMatchObject([{ error: { code: 'TIMEOUT' } }])
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true])
  })

  test('makes a dead letter of a message that takes its holder down again and again', async () => {
    const node = open()
    let begun = 0
    const { definition } = noting({
      attempts: 2,
      handle: () => {
        begun += 1
        return new Promise(() => undefined)
      },
    })
    // A node that is killed takes back nothing of what it noted.
    const { receive } = node.mailboxes
    node.mailboxes.receive = (mailbox, options, handle) =>
      receive(mailbox, options, (delivery) => {
        const { note } = delivery
        delivery.note = (fields) =>
          Object.values(fields).includes('') ? Promise.resolve() : note(fields)
        return handle(delivery)
      })
    await node.start([definition])
    await node.publish('events.a', 1)
    for (let death = 1; death <= 3; death += 1) {
      await eventually(() => expect(begun).toBe(death))
      await node.mailboxes.reclaim(node.mailboxes.holders(), 'gone')
    }
    await eventually(async () => expect(await node.parked()).toHaveLength(1))
    const [letter] = await node.parked()
    expect(letter).toMatchObject({ reason: 'poison', error: { code: 'POISON' } })
    expect(letter?.chain).toHaveLength(2)
    expect(begun).toBe(3)
  })

  test('is not blamed for what was taken away and handed back', async () => {
    const node = open()
    let begun = 0
    const { definition } = noting({
      attempts: 2,
      handle: () => {
        begun += 1
        return begun > 6 ? undefined : new Promise(() => undefined)
      },
    })
    await node.start([definition])
    await node.publish('events.a', 1)
    for (let time = 1; time <= 6; time += 1) {
      await eventually(() => expect(begun).toBe(time))
      await node.mailboxes.reclaim(node.mailboxes.holders(), 'gone')
    }
    await eventually(() => expect(begun).toBe(7))
    expect(await node.parked()).toEqual([])
  })

  test('handles a dead letter that was redriven, with all its attempts', async () => {
    const node = open()
    let isMended = false
    const attempts: number[] = []
    const { definition } = noting({
      handle(_, { attempt }) {
        attempts.push(attempt)
        if (!isMended) throw new Error('not yet')
      },
    })
    await node.start([definition])
    await node.publish('events.a', 1, { id: 'one' })
    await eventually(async () => expect(await node.parked()).toHaveLength(1))
    isMended = true
    const done = await redrive({ ...node, dispatcher: undefined }, { filter: {} }, 'mended')
    expect(done.redriven).toMatchObject([{ mailbox: 'topic.audit.events.>' }])
    await eventually(() => expect(attempts).toEqual([1, 2, 3, 1]))
  })

  test('keeps what it cannot read as a dead letter, as it came', async () => {
    const node = open()
    const { handled, definition } = noting()
    await node.start([definition])
    const mailbox = 'topic.audit.events.>'
    const body = { v: 2, says: 'later' } as never
    await node.mailboxes.send([{ mailbox, id: 'x~1', priority: 'normal', delayMs: 0, body }])
    await eventually(async () => {
      expect(await node.parked()).toMatchObject([
        { reason: 'schema', error: { code: 'TOPIC_VERSION' } },
      ])
    })
    expect(handled).toEqual([])
  })

  test('takes nothing while the system is paused, or its node drains', async () => {
    const node = open()
    const throttle = new Throttle()
    const { handled, definition } = noting()
    throttle.set(0)
    await node.start([definition], { throttle })
    await node.publish('events.a', 1)
    await eventually(async () => {
      const { waiting } = await node.mailboxes.depth('topic.audit.events.>')
      expect(waiting).toBe(1)
    })
    expect(handled).toEqual([])
    throttle.set(1)
    await eventually(() => expect(handled).toHaveLength(1))
    node.drain.abort()
    await eventually(async () => {
      await node.publish('events.a', 2)
      expect((await node.mailboxes.depth('topic.audit.events.>')).waiting).toBeGreaterThan(0)
    })
    expect(handled.length).toBeLessThan(5)
  })

  // Seeds C-31: in a group that was shared, what was for another one was skipped, and acknowledged.
  test('of another pattern under the same name has a mailbox of its own', async () => {
    const node = open()
    const wide = noting()
    const narrow = noting({ name: 'narrow', pattern: 'events.b' })
    await node.start([wide.definition, narrow.definition])
    await node.publish('events.a', 1)
    await node.publish('events.b', 2)
    await eventually(() => expect(wide.handled.map(({ data }) => data)).toEqual([1, 2]))
    await eventually(() => expect(narrow.handled.map(({ data }) => data)).toEqual([2]))
  })

  // Seeds D-15: a second subscriber took the place of the first.
  test('leaves to every group a copy of its own', async () => {
    const node = open()
    const one = noting()
    const other = noting({ name: 'other', group: 'other' })
    await node.start([one.definition, other.definition])
    expect((await node.publish('events.a', 1)).groups).toBe(2)
    await eventually(() => expect([one.handled.length, other.handled.length]).toEqual([1, 1]))
  })
})

describe('a soft subscription', () => {
  test('hears what is published while it listens, and survives its own errors', async () => {
    const node = open()
    const heard: unknown[] = []
    const { definition } = noting({
      handle({ data }) {
        heard.push(data)
        if (data === 2) throw new Error('not today')
      },
    })
    const { group: _, ...soft } = definition
    await node.publish('events.a', 1)
    await node.start([defineSubscription(soft)])
    for (const data of [2, 3]) {
      expect(await node.publish('events.a', data)).toMatchObject({ groups: 0, listeners: 1 })
    }
    await eventually(() => expect(heard).toEqual([2, 3]))
    const warned = node.logged.filter(({ level }) => level === 'warn')
    await eventually(() => expect(warned).toMatchObject([{ fields: { message: 'not today' } }]))
  })

  test('hears nothing more when it has stopped', async () => {
    const node = open()
    const { definition } = noting()
    const { group: _, ...soft } = definition
    const tree = await node.start([defineSubscription(soft)])
    tree.send({ type: 'stop' })
    await eventually(() => expect(tree.getSnapshot().status).toBe('done'))
    expect(await node.publish('events.a', 1)).toMatchObject({ listeners: 0 })
  })
})

describe('a declaration', () => {
  const sound = { name: 'a', pattern: 'x', handle() {} }
  test.each([
    [{ ...sound, name: 'a b' }, 'name'],
    [{ ...sound, pattern: 'x.>.y' }, 'pattern'],
    [{ ...sound, group: 'a.b' }, 'group'],
    [{ ...sound, attempts: 0 }, 'attempts'],
    [{ ...sound, timeoutMs: 0.5 }, 'timeoutMs'],
    [{ ...sound, handle: undefined as never }, 'handle'],
  ])('is refused as %j, and says why', (definition, field) => {
    expect(() => defineSubscription(definition)).toThrow(field)
  })
})
