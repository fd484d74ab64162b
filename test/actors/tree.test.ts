import { afterEach, describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor, createMachine } from 'xstate'
import { supervisor } from '../../actors/supervisor.ts'
import { type TreeNode, treeOf } from '../../actors/tree.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import { testClock } from '../kit/clock.ts'
import { Nursery } from './nursery.ts'
import { type Begun, memoryWorld } from './world.ts'

const lives: Begun[] = []
afterEach(async () => {
  await Promise.all(lives.splice(0).map((life) => life.stop()))
})

/** An actor of which only its context is to be seen. */
function actorWith(context: object): AnyActorRef {
  const machine = createMachine({ context, initial: 'alive', states: { alive: {} } })
  return createActor(machine).start()
}

const leaf = (path: string, over: Partial<TreeNode> = {}): TreeNode => ({
  path,
  id: path.split('/').at(-1) ?? '',
  state: 'receiving.idle',
  incarnation: 1,
  restarts: 0,
  pid: 77,
  children: [],
  ...over,
})

describe('the tree', () => {
  test('shows supervised actors, how often each was restarted, and why', async () => {
    const clock = testClock()
    const world = memoryWorld(clock)
    const nursery = new Nursery()
    const group = supervisor({
      ...world,
      id: 'root',
      policy: { ...defaultPolicy, backoff: { baseMs: 200, capMs: 200, jitter: 0 } },
      children: [nursery.child('a'), nursery.child('b')],
      clock: { ...clock },
      random: () => 0.5,
    })
    const life = world.begin(group, clock.timers)
    lives.push(life)
    await life.ready()
    nursery.fail('b')
    await clock.pass(200)
    const tree = treeOf(life.actor, 'n-1', 5, clock.monotonic())
    expect(tree).toMatchObject({ path: '/n-1', id: 'n-1', restarts: 0, pid: 5 })
    expect(tree.children).toEqual([
      leaf('/n-1/a', { state: 'running', pid: 5 }),
      leaf('/n-1/b', {
        state: 'running',
        incarnation: 2,
        restarts: 1,
        lastError: 'b broke',
        pid: 5,
      }),
    ])
  })

  test('tells how long the oldest message of an actor is at hand, to whom knows the time', () => {
    const actor = actorWith({ oldestAt: 1000.2 })
    expect(treeOf(actor, 'n-1', 5, 1500.9).oldestMessageMs).toBe(501)
    expect(treeOf(actor, 'n-1', 5)).not.toHaveProperty('oldestMessageMs')
    expect(treeOf(actorWith({ oldestAt: 0 }), 'n-1', 5, 0).oldestMessageMs).toBe(0)
  })

  test('tells no age where nothing is at hand', () => {
    const actor = actorWith({ oldestAt: undefined })
    expect(treeOf(actor, 'n-1', 5, 1500)).not.toHaveProperty('oldestMessageMs')
  })

  test('goes on in a worker process as that last told it, under the path it has here', () => {
    const told = leaf('/cpu-1', {
      children: [
        leaf('/cpu-1/workers', {
          children: [leaf('/cpu-1/workers/work.job', { restarts: 3, oldestMessageMs: 12 })],
        }),
      ],
    })
    const tree = treeOf(actorWith({ tree: told }), 'n-1', 5, 0)
    expect(tree).toEqual(
      leaf('/n-1', {
        state: 'alive',
        children: [
          leaf('/n-1/workers', {
            children: [leaf('/n-1/workers/work.job', { restarts: 3, oldestMessageMs: 12 })],
          }),
        ],
      }),
    )
  })

  test('says how old the word of a worker process is, and lets its messages age on', () => {
    const told = leaf('/cpu-1', {
      children: [leaf('/cpu-1/workers', { oldestMessageMs: 40 }), leaf('/cpu-1/redis')],
    })
    const tree = treeOf(actorWith({ tree: told, heardAt: 1000 }), 'n-1', 5, 13_000)
    expect(tree).toEqual(
      leaf('/n-1', {
        state: 'alive',
        heardMs: 12_000,
        children: [leaf('/n-1/workers', { oldestMessageMs: 12_040 }), leaf('/n-1/redis')],
      }),
    )
  })

  test.each([
    ['nothing', undefined],
    ['text', 'a tree'],
    ['null', null],
    ['half a node', { id: 'a', pid: 3 }],
  ])('ends at a worker process that has told %s', (_, told) => {
    expect(treeOf(actorWith({ tree: told }), 'n-1', 5, 0)).toEqual(
      leaf('/n-1', { state: 'alive', pid: 5 }),
    )
  })
})
