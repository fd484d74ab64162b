/** What every implementation of the topics port must do. */
import { expect, test } from 'bun:test'
import { array, assert, asyncProperty, constantFrom } from 'fast-check'
import { softBacklog, type TopicMessage, type Topics } from '../../actors/ports-topics.ts'
import { matches } from '../../machines/topic.ts'
import { eventually } from '../kit/eventually.ts'

export type OpenTopics = () => Promise<Topics>

export function topicMessage(topic: string, data: unknown = topic): TopicMessage {
  return { v: 1, id: `m-${topic}`, topic, data, at: 1000, attempt: 1, hops: 0 }
}

export function topicsConformance(open: OpenTopics): void {
  const heardBy = async (topics: Topics, boot: string, pattern: string) => {
    const heard: unknown[] = []
    const unlisten = await topics.listen(boot, pattern, ({ data }) => heard.push(data))
    return { heard, unlisten }
  }

  test('everybody who listens to a pattern hears of its topics, and nobody else', async () => {
    const topics = await open()
    const one = await heardBy(topics, 'b-1', 'events.*')
    const rest = await heardBy(topics, 'b-2', 'control.>')
    const both = await heardBy(topics, 'b-2', 'events.*')
    const told = []
    for (const topic of ['events.a', 'events.a.b', 'control.a', 'control.a.b', 'events']) {
      told.push(await topics.tell(topicMessage(topic)))
    }
    expect(told).toEqual([2, 0, 1, 1, 0])
    await eventually(() => expect(rest.heard).toEqual(['control.a', 'control.a.b']))
    await eventually(() => expect([one.heard, both.heard]).toEqual([['events.a'], ['events.a']]))
    await topics.close()
  })

  test('a message arrives as it was told, and is nobody else’s to change', async () => {
    const topics = await open()
    const message = { ...topicMessage('a.b', { list: [1, { ü: null }] }), hops: 3 }
    const heard: TopicMessage[] = []
    await topics.listen('b-1', 'a.b', (told) => {
      ;(told.data as { list: unknown[] }).list.push('mine')
    })
    await topics.listen('b-2', 'a.b', (told) => heard.push(told))
    await topics.tell(message)
    await eventually(() => expect(heard).toEqual([message]))
    await topics.close()
  })

  test('a listener that throws hears the next one', async () => {
    const topics = await open()
    const heard: unknown[] = []
    await topics.listen('b-1', 'a', ({ data }) => {
      heard.push(data)
      throw new Error('not today')
    })
    for (const data of [1, 2]) await topics.tell(topicMessage('a', data))
    await eventually(() => expect(heard).toEqual([1, 2]))
    await topics.close()
  })

  test('who listens no more hears nothing more', async () => {
    const topics = await open()
    const gone = await heardBy(topics, 'b-1', 'a')
    const there = await heardBy(topics, 'b-1', 'a')
    await gone.unlisten()
    expect(await topics.tell(topicMessage('a'))).toBe(1)
    await eventually(() => expect(there.heard).toEqual(['a']))
    expect(gone.heard).toEqual([])
    await topics.close()
  })

  test('a dead boot is forgotten with all it listened to, and others are not', async () => {
    const topics = await open()
    await heardBy(topics, 'b-1', 'a')
    await heardBy(topics, 'b-1', '>')
    const other = await heardBy(topics, 'b-2', 'a')
    expect(await topics.forget('b-1')).toBe(true)
    expect(await topics.tell(topicMessage('a'))).toBe(1)
    await eventually(() => expect(other.heard).toEqual(['a']))
    expect(await topics.forget('b-1')).toBe(false)
    expect(await topics.forget('nobody')).toBe(false)
    await topics.close()
  })

  test('a listener far behind loses the oldest, and hears the newest in their order', async () => {
    const topics = await open()
    const { heard } = await heardBy(topics, 'b-1', 'flood')
    const count = softBacklog * 20
    const all = Array.from({ length: count }, (_, index) => index)
    await Promise.all(all.map((index) => topics.tell(topicMessage('flood', index))))
    await eventually(() => expect(heard.at(-1)).toBe(count - 1))
    expect(heard.length).toBeGreaterThanOrEqual(softBacklog)
    expect(heard).toEqual((heard as number[]).toSorted((a, b) => a - b))
    await topics.close()
  })

  test('durable subscriptions are those declared and not withdrawn', async () => {
    const topics = await open()
    const [one, two, three] = [
      { group: 'audit', pattern: 'events.*' },
      { group: 'audit', pattern: 'events.>' },
      { group: 'board', pattern: 'events.*' },
    ] as const
    for (const group of [three, one, two, one]) await topics.declare(group)
    expect(await topics.groups()).toEqual([one, two, three])
    expect(await topics.withdraw(two)).toBe(true)
    expect(await topics.withdraw(two)).toBe(false)
    expect(await topics.groups()).toEqual([one, three])
    await topics.close()
  })

  test('a pattern reaches exactly the topics that it matches', async () => {
    const topics = await open()
    const segments = constantFrom('a', 'b', 'a-1', '*', '>')
    let boots = 0
    await assert(
      asyncProperty(
        array(segments, { minLength: 1, maxLength: 4 }),
        array(constantFrom('a', 'b', 'a-1'), { minLength: 1, maxLength: 4 }),
        async (words, topicWords) => {
          const isLast = (index: number) => index === words.length - 1
          const fit = words.map((word, index) => (word === '>' && !isLast(index) ? '*' : word))
          const [pattern, topic] = [fit.join('.'), topicWords.join('.')]
          boots += 1
          const { unlisten } = await heardBy(topics, `b-${boots}`, pattern)
          expect(await topics.tell(topicMessage(topic))).toBe(matches(pattern, topic) ? 1 : 0)
          await unlisten()
          await topics.forget(`b-${boots}`)
        },
      ),
      { numRuns: 60 },
    )
    await topics.close()
  })
}
