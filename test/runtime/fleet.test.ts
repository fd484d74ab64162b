/** What makes a node one of several, on nodes in memory. */
import { afterEach, describe, expect, test } from 'bun:test'
import { hostname } from 'node:os'
import { UsageError } from '../../actors/errors.ts'
import type { NodeLine } from '../../actors/membership.ts'
import { defineSingleton } from '../../actors/singleton.ts'
import type { SingletonContext, SingletonDefinition } from '../../actors/singleton-work.ts'
import type { TreeNode } from '../../actors/tree.ts'
import { createNode } from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type StartedNode, startNode } from './started-node.ts'

const nodes: StartedNode[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map(({ node }) => node.stop(0)))
})

async function begin(options: Parameters<typeof startNode>[0] = {}): Promise<StartedNode> {
  const started = await startNode({ ephemeral: true, ...options })
  nodes.push(started)
  return started
}

const listOf = async ({ ask }: StartedNode) =>
  ((await (await ask('/v1/nodes')).json()) as { items: NodeLine[] }).items

const treeOf = async ({ ask }: StartedNode) => (await (await ask('/v1/tree')).json()) as TreeNode

/** Names of the children of a child of the node. */
const childrenOf = async (started: StartedNode, id: string): Promise<string[] | undefined> =>
  (await treeOf(started)).children
    .find((child) => child.id === id)
    ?.children.map((child) => child.id)

const idle = (name: string): SingletonDefinition => defineSingleton({ name, start() {} })

describe('a node', () => {
  test('describes itself, and is alive as soon as it is up', async () => {
    const started = await begin({ node: { id: 'n-1', labels: { zone: 'ä "b"' } } })
    const [own, ...others] = await listOf(started)
    expect(others).toEqual([])
    expect(own).toMatchObject({
      id: 'n-1',
      pid: process.pid,
      host: hostname(),
      state: 'alive',
      roles: ['dispatcher', 'worker', 'collector'],
      labels: { zone: 'ä "b"' },
      load: 0,
    })
    expect(own?.kinds).toContain('exec')
    expect(own?.boot).toMatch(/^[0-9a-f-]{13}$/)
    expect(Math.abs(Date.now() - (own?.lastSeen ?? 0))).toBeLessThan(10_000)
  })

  test('says what it can do by its roles: without workers it runs no kind', async () => {
    const started = await begin({ node: { roles: ['dispatcher', 'collector'] } })
    expect(await listOf(started)).toMatchObject([{ roles: ['dispatcher', 'collector'], kinds: [] }])
  })

  test('is another one at every start', async () => {
    const boots: (string | undefined)[] = []
    for (let round = 0; round < 2; round += 1) {
      const started = await begin({ node: { id: 'n-1' } })
      boots.push((await listOf(started))[0]?.boot)
      await started.node.stop(0)
    }
    expect(new Set(boots).size).toBe(2)
  })

  test('leads what nobody else does: collector, coordinator, its singletons', async () => {
    const started = await begin({ singletons: [idle('sweeper')] })
    expect(await childrenOf(started, 'singletons')).toEqual(['coordinator', 'sweeper'])
    await eventually(async () => {
      const [leader, child] = (await childrenOf(started, 'collector')) ?? []
      expect(leader).toBe('leader')
      expect(child).toMatch(/^epoch-\d{13,}$/)
    })
  })

  test('coordinates only where it can take up runs', async () => {
    const started = await begin({ node: { roles: ['worker'] }, singletons: [idle('sweeper')] })
    expect(await childrenOf(started, 'singletons')).toEqual(['sweeper'])
    expect(await childrenOf(started, 'collector')).toBeUndefined()
  })
})

describe('a singleton whose name is taken', () => {
  const refusalOf = async (singletons: readonly SingletonDefinition[]): Promise<unknown> => {
    const node = await createNode({
      ephemeral: true,
      listen: false,
      dataDir: temporaryDirectory(),
      log: { level: 'error' },
      singletons,
    })
    const refusal = await node.start().then(
      () => undefined,
      (error: unknown) => error,
    )
    await node.stop(0)
    return refusal
  }

  test.each(['coordinator', 'collector'])('by the node itself (%s) is refused', async (name) => {
    const refusal = await refusalOf([idle(name)])
    expect(refusal).toBeInstanceOf(UsageError)
    expect((refusal as UsageError).message).toContain(`"${name}"`)
  })

  test('by another one is refused', async () => {
    const refusal = await refusalOf([idle('a'), idle('b'), idle('a')])
    expect(refusal).toBeInstanceOf(UsageError)
    expect((refusal as UsageError).message).toContain('"a"')
  })

  test('is told before anything is started, and another name is not', async () => {
    expect(await refusalOf([idle('Coordinator'), idle('collector-2')])).toBeUndefined()
  })
})

describe('tasks of a singleton', () => {
  /** What the start of a singleton was told. */
  const told = () => {
    const begun = Promise.withResolvers<SingletonContext>()
    const definition = defineSingleton({ name: 'sweeper', start: begun.resolve })
    return { definition, context: begun.promise }
  }
  const failureOf = (submitted: Promise<unknown>): Promise<unknown> =>
    submitted.then(
      () => undefined,
      (error: unknown) => error,
    )

  test('are refused, all of them, where one cannot be taken', async () => {
    const { definition, context } = told()
    const started = await begin({ singletons: [definition] })
    const { submit } = await context
    const refusal = await failureOf(submit([{ kind: 'noop' }, { kind: 'nope' }]))
    expect(refusal).toBeInstanceOf(UsageError)
    expect((refusal as UsageError).message).toContain('task 2: kind')
    const { items } = (await (await started.ask('/v1/runs')).json()) as { items: unknown[] }
    expect(items).toEqual([])
  })

  test('are refused where two of them have one id', async () => {
    const { definition, context } = told()
    await begin({ singletons: [definition] })
    const tasks = ['a', 'b', 'a'].map((id) => ({ kind: 'noop', id }))
    const refusal = await failureOf((await context).submit(tasks))
    expect(refusal).toBeInstanceOf(UsageError)
    expect((refusal as UsageError).message).toContain('task 3: id')
  })

  test('are refused where the node has no dispatcher, and it says so', async () => {
    const { definition, context } = told()
    await begin({ node: { roles: ['worker'] }, singletons: [definition] })
    const refusal = await failureOf((await context).submit([{ kind: 'noop' }]))
    expect(refusal).toBeInstanceOf(UsageError)
    expect((refusal as UsageError).message).toContain('node.roles')
  })

  test('are one run, which ends like any other', async () => {
    const { definition, context } = told()
    const started = await begin({ singletons: [definition] })
    const run = await (await context).submit([{ kind: 'noop' }, { kind: 'noop', id: 'b' }])
    await eventually(async () => {
      expect(await started.get(run)).toMatchObject({ state: 'completed', counts: { ok: 2 } })
    })
  })
})
