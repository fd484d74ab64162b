import { describe, expect, test } from 'bun:test'
import { UnavailableError } from '../../actors/errors.ts'
import { topicMailbox } from '../../actors/topic-message.ts'
import { subscribing } from './subscribing.ts'

const refusalOf = (answer: Promise<unknown>) =>
  answer.then(
    () => undefined,
    (error: unknown) => error,
  )
const group = { group: 'g', pattern: 'a' }

describe('publishing', () => {
  test.each([
    ['a b', 1, {}, 'TOPIC'],
    ['a.*', 1, {}, 'TOPIC'],
    ['system.x', 1, {}, 'TOPIC'],
    ['a', undefined, {}, 'TOPIC_DATA'],
    ['a', 10n, {}, 'TOPIC_DATA'],
    ['a', 'x'.repeat(1_048_576), {}, 'TOPIC_DATA'],
    ['a', 1, { id: 'a:b' }, 'TOPIC_ID'],
    ['a', 1, { id: 'x'.repeat(201) }, 'TOPIC_ID'],
  ])('on %s of what cannot be taken is refused', async (topic, data, options, code) => {
    const { publish } = subscribing()
    expect(await refusalOf(publish(topic, data, options))).toMatchObject({ code })
  })

  test('the same id twice, before anybody took it, is one message', async () => {
    const node = subscribing()
    await node.topics.declare(group)
    for (let time = 0; time < 2; time += 1) await node.publish('a', 1, { id: 'one' })
    expect((await node.mailboxes.depth(topicMailbox(group))).waiting).toBe(1)
  })

  // Seeds C-06: to make room, unread messages were dropped.
  test('to a subscription that is full is refused, and nobody gets it', async () => {
    const node = subscribing({ depthMax: 2 })
    const other = { group: 'other', pattern: '>' }
    await node.topics.declare(group)
    for (const data of [1, 2]) await node.publish('a', data)
    await node.topics.declare(other)
    expect(await refusalOf(node.publish('a', 3))).toMatchObject({
      code: 'NOT_ACCEPTING_FULL',
      message: expect.stringContaining('topic.g.a'),
    })
    expect((await node.mailboxes.depth(topicMailbox(group))).waiting).toBe(2)
    expect((await node.mailboxes.depth(topicMailbox(other))).waiting).toBe(0)
    expect(await node.publish('b', 3)).toMatchObject({ groups: 1 })
    await node.topics.withdraw(group)
    expect(await node.publish('a', 3)).toMatchObject({ groups: 1 })
  })

  test('is refused while the memory of Redis is short', async () => {
    const { publish } = subscribing({ headroom: { shortage: () => 'nearly full' } })
    expect(await refusalOf(publish('a', 1))).toMatchObject({ message: 'nearly full' })
  })

  test('is durable though soft listeners cannot be told', async () => {
    const world = subscribing()
    const tell = () => Promise.reject(new UnavailableError('away'))
    const node = subscribing({ ...world, topics: { ...world.topics, tell } })
    await world.topics.declare(group)
    expect(await node.publish('a', 1)).toMatchObject({ groups: 1, listeners: 0 })
  })
})
