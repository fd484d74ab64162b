/** Topics as a program uses them that has a node in it. */
import { afterEach, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import {
  type CreateNodeOptions,
  createNode,
  defineBridge,
  defineSubscription,
  defineTask,
  type MusterNode,
} from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'

const nodes: MusterNode[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop(0)))
})

async function nodeWith(options: CreateNodeOptions): Promise<MusterNode> {
  const node = await createNode({
    ephemeral: true,
    dataDir: temporaryDirectory(),
    http: { port: 0 },
    log: { level: 'error' },
    ...options,
  })
  nodes.push(node)
  return node
}

const refusalOf = (answer: Promise<unknown>) =>
  answer.then(
    () => undefined,
    (error: unknown) => error,
  )
const quiet = { name: 'quiet', group: 'quiet', pattern: 'a', handle() {} }

describe('a node', () => {
  test('publishes to its subscriptions, through a bridge and from a handler', async () => {
    const got: unknown[] = []
    const node = await nodeWith({
      subscriptions: [
        defineBridge<string, string>({
          name: 'louder',
          from: 'said.*',
          to: 'shouted',
          transform: (text) => [text.toUpperCase()],
        }),
        defineSubscription({
          name: 'ear',
          group: 'ear',
          pattern: 'shouted',
          handle({ data }) {
            got.push(data)
          },
        }),
      ],
      tasks: [
        defineTask({
          kind: 'say',
          input: z.object({ text: z.string() }),
          run: ({ text }, { publish }) => publish('said.by-task', text),
        }),
      ],
    })
    await node.start()
    expect(await node.publish('said.by-node', 'hello')).toMatchObject({ groups: 1, listeners: 0 })
    await eventually(() => expect(got).toEqual(['HELLO']))
    const line = JSON.stringify({ kind: 'say', input: { text: 'bye' } })
    const headers = { 'content-type': 'application/x-ndjson' }
    const request = new Request('http://localhost/v1/runs', { method: 'POST', headers, body: line })
    expect((await node.fetch(request)).status).toBe(202)
    await eventually(() => expect(got).toEqual(['HELLO', 'BYE']))
    const { tree } = node.heartbeat()
    const subscriptions = tree.children.find(({ id }) => id === 'subscriptions')
    expect(subscriptions?.children.map(({ id }) => id)).toEqual(['louder', 'ear'])
  })

  // Seeds C-12.
  test('that is not started refuses to publish, and says what to do', async () => {
    const node = await nodeWith({})
    expect(await refusalOf(node.publish('a', 1))).toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('await its start()'),
    })
  })

  test('sends nothing more to a subscription that was withdrawn', async () => {
    const node = await nodeWith({ subscriptions: [defineSubscription(quiet)] })
    await node.start()
    expect(await node.publish('a', 1)).toMatchObject({ groups: 1 })
    expect(await node.withdraw({ group: 'quiet', pattern: 'a' })).toBe(true)
    expect(await node.publish('a', 1)).toMatchObject({ groups: 0 })
  })

  // Seeds C-38: how far consumers were behind could not be seen.
  test('tells how many messages a durable subscription has, and for how long', async () => {
    const gate = Promise.withResolvers<void>()
    const node = await nodeWith({
      subscriptions: [defineSubscription({ ...quiet, handle: () => gate.promise })],
    })
    await node.start()
    for (const data of [1, 2]) await node.publish('a', data)
    await eventually(async () => {
      const text = await (await node.fetch(new Request('http://localhost/metrics'))).text()
      for (const state of ['waiting', 'active']) {
        expect(text).toContain(`muster_mailbox_depth{mailbox="topic.quiet.a",state="${state}"} 1`)
      }
      const [, age] = /oldest_age_seconds\{mailbox="topic.quiet.a"\} (\S+)/.exec(text) ?? []
      expect(Number(age)).toBeGreaterThan(0)
    })
    gate.resolve()
  })

  test.each([
    [[quiet, { ...quiet, group: 'other' }], 'subscription "quiet": expected a name of its own'],
    [[quiet, { ...quiet, name: 'other' }], 'subscription "other": expected a group of its own'],
  ])('refuses subscriptions of one name, or of one group and pattern', async (all, message) => {
    const node = await nodeWith({ subscriptions: all.map(defineSubscription) })
    expect(await refusalOf(node.start())).toMatchObject({
      message: expect.stringContaining(message),
    })
  })

  test('takes subscriptions and bridges from a tasks file that has nothing else', async () => {
    const dataDir = temporaryDirectory()
    const file = join(dataDir, 'only.ts')
    writeFileSync(
      file,
      `import { defineBridge, defineSubscription } from 'muster'
       export const bridge = defineBridge({ name: 'b', from: 'x', to: 'y', transform: (x) => [x] })
       export default defineSubscription({ name: 's', pattern: 'y', handle() {} })`,
    )
    const node = await nodeWith({ dataDir, tasksFiles: [file] })
    await node.start()
    expect(await node.publish('y', 1)).toMatchObject({ groups: 0, listeners: 1 })
    expect(await node.publish('x', 1)).toMatchObject({ groups: 1, listeners: 0 })
  })
})
