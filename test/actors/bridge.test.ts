import { afterEach, describe, expect, test } from 'bun:test'
import { type BridgeDefinition, defineBridge } from '../../actors/bridge.ts'
import { NotAcceptingError } from '../../actors/errors.ts'
import { defineSubscription, type ReceivedMessage } from '../../actors/subscription-work.ts'
import { eventually } from '../kit/eventually.ts'
import { subscribing } from './subscribing.ts'

const opened: ReturnType<typeof subscribing>[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.end()
})

function open(over?: Parameters<typeof subscribing>[0]) {
  const one = subscribing(over)
  opened.push(one)
  return one
}

const numbers = (data: unknown): number[] => {
  if (Array.isArray(data)) return data as number[]
  throw new Error('expected a list')
}

function doubling(over: Partial<BridgeDefinition<number[], number>> = {}) {
  return defineBridge<number[], number>({
    name: 'double',
    from: 'raw.*',
    to: 'doubled',
    parse: numbers,
    transform: (input) => input.map((each) => each * 2),
    ...over,
  })
}

/** Notes what arrives at the far end. */
function sink(pattern = 'doubled') {
  const got: ReceivedMessage[] = []
  const definition = defineSubscription({
    name: 'sink',
    group: 'sink',
    pattern,
    handle(message) {
      got.push(message)
    },
  })
  return { got, definition }
}

describe('a bridge', () => {
  test('publishes none, one or more outputs of a message, in order', async () => {
    const node = open()
    const { got, definition } = sink()
    await node.start([doubling(), definition])
    for (const data of [[], [1], [2, 3]]) await node.publish('raw.a', data)
    await eventually(() => expect(got.map(({ data }) => data)).toEqual([2, 4, 6]))
    expect(got.map(({ id }) => id)).toEqual(['m-2~double~0', 'm-3~double~0', 'm-3~double~1'])
  })

  test('takes outputs as they come, and sends each where it says, or nowhere', async () => {
    const node = open()
    const { got, definition } = sink('out.>')
    const bridge = doubling({
      to: (output) => (output > 4 ? undefined : `out.${output}`),
      async *transform(input) {
        yield* input
      },
    })
    const loose = defineBridge({
      name: 'open',
      from: 'free',
      transform: ({ data }: { data?: unknown }) => [{ topic: 'out.free', data: data ?? null }],
    })
    await node.start([bridge, loose, definition])
    await node.publish('raw.a', [1, 9, 2])
    await node.publish('free', { data: 'x' })
    await eventually(() =>
      expect(got.map(({ topic }) => topic).toSorted()).toEqual(['out.1', 'out.2', 'out.free']),
    )
  })

  // Seeds C-29: what could not be read, or transformed, ended the process.
  test('makes dead letters of what it cannot parse, transform or send, and goes on', async () => {
    const node = open()
    const { got, definition } = sink()
    const bridge = doubling({
      transform(input) {
        if (input.includes(13)) throw new Error('unlucky')
        return input
      },
      to: (output) => (output === 7 ? 'no topic' : 'doubled'),
    })
    const bad = defineBridge({ name: 'bad', from: 'bad', transform: () => ['not addressed'] })
    await node.start([bridge, bad, definition])
    await node.publish('raw.a', 'no list', { id: 'parse' })
    await node.publish('raw.a', [13], { id: 'transform' })
    await node.publish('raw.a', [7], { id: 'topic' })
    await node.publish('bad', 1, { id: 'address' })
    await node.publish('raw.a', [1])
    await eventually(() => expect(got.map(({ data }) => data)).toEqual([1]))
    await eventually(async () => expect(await node.parked()).toHaveLength(4))
    const codes = (await node.parked()).map(({ id, error }) => [id.split('/')[1], error.code])
    expect(Object.fromEntries(codes)).toEqual({
      parse: 'PARSE',
      transform: 'Error',
      topic: 'TOPIC',
      address: 'BRIDGE_OUTPUT',
    })
  })

  // Seeds C-03: the message was acknowledged before its outputs were published.
  test('acknowledges when its outputs are durable, and else publishes all again', async () => {
    const node = open()
    const { send } = node.mailboxes
    let refusals = 1
    node.mailboxes.send = async (messages) => {
      const isSecond = messages.some(({ id }) => id.includes('~double~1'))
      if (isSecond && refusals > 0) {
        refusals -= 1
        throw new NotAcceptingError('full', 'no room', 1)
      }
      await send(messages)
    }
    const { got, definition } = sink()
    await node.start([doubling(), definition])
    await node.publish('raw.a', [1, 2], { id: 'one' })
    await eventually(() => expect(got.map(({ id }) => id)).toContain('one~double~1'))
    expect(new Set(got.map(({ id }) => id))).toEqual(new Set(['one~double~0', 'one~double~1']))
    expect(await node.parked()).toEqual([])
  })

  test('waits for room where its outputs go, and spends no attempt on it', async () => {
    const node = open({ depthMax: 1 })
    const { got, definition } = sink()
    await node.topics.declare({ group: 'sink', pattern: 'doubled' })
    await node.publish('doubled', 0)
    let tries = 0
    const transform = (input: number[]) => {
      tries += 1
      return input.map((each) => each * 2)
    }
    await node.start([doubling({ attempts: 1, transform })])
    await node.publish('raw.a', [1])
    await eventually(() => expect(tries).toBeGreaterThan(1))
    await node.start([definition])
    await eventually(() => expect(got.map(({ data }) => data)).toEqual([0, 2]))
    expect(await node.parked()).toEqual([])
  })

  test('that leads back to itself ends in a dead letter, not in a flood', async () => {
    const node = open()
    await node.start([
      doubling({ from: 'raw.>', to: 'raw.again', transform: () => [[1]] as never }),
    ])
    await node.publish('raw.a', [1])
    await eventually(async () => {
      expect(await node.parked()).toMatchObject([{ error: { code: 'TOPIC_CIRCLE' } }])
    })
  })

  test.each([
    [{ name: 'no name' }, 'bridge'],
    [{ from: '' }, 'pattern'],
    [{ to: 'a.*' }, 'to'],
    [{ transform: 1 as never }, 'transform'],
  ])('is refused with %j', (over, field) => {
    expect(() => doubling(over)).toThrow(field)
  })
})
