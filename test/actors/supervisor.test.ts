import { afterEach, describe, expect, test } from 'bun:test'
import { type AnyActorRef, fromPromise } from 'xstate'
import { describeError, SpecificationError } from '../../actors/errors.ts'
import { service } from '../../actors/service.ts'
import {
  addChild,
  type ChildSpec,
  childOf,
  type NamedChild,
  planOf,
  rootCause,
  supervisor,
} from '../../actors/supervisor.ts'
import { type Owned, serviceMachine } from '../../machines/service.ts'
import { type ChildPlan, defaultPolicy, type SupervisorPolicy } from '../../machines/supervision.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { Nursery } from './nursery.ts'
import { type Begun, memoryWorld, type World } from './world.ts'

const policy: SupervisorPolicy = {
  ...defaultPolicy,
  intensity: 3,
  windowMs: 30_000,
  backoff: { baseMs: 200, capMs: 30_000, jitter: 0.2 },
  stableMs: 30_000,
  startTimeoutMs: 1000,
  stopTimeoutMs: 500,
}

const never = () => new Promise<void>(() => {})

let clock: TestClock
let world: World
const begin = (children: readonly NamedChild[], over: Partial<SupervisorPolicy> = {}): Begun => {
  clock = testClock()
  world = memoryWorld(clock)
  return world.begin(group('root', children, over), clock.timers)
}
const group = (
  id: string,
  children: readonly NamedChild[],
  over: Partial<SupervisorPolicy> = {},
  specOf?: (id: string) => ChildSpec,
): ChildSpec =>
  supervisor({
    id,
    policy: { ...policy, ...over },
    children,
    ...(specOf === undefined ? {} : { specOf }),
    clock: { ...clock },
    random: () => 0.5,
    log: world.log,
    tell: world.tell,
  })

/** Stops it, and lets the time pass that its children may take. */
async function stop(life: Begun): Promise<void> {
  const stopped = life.stop()
  await clock.pass(10_000)
  await stopped
}

afterEach(async () => {
  const closed = world.close()
  await clock.pass(60_000)
  await closed
})

describe('a supervisor', () => {
  test('opens its children in order, is ready when all are, closes them in reverse', async () => {
    const nursery = new Nursery()
    const gate = Promise.withResolvers<void>()
    const life = begin([
      nursery.child('a'),
      nursery.child('b', { open: () => gate.promise }),
      nursery.child('c'),
    ])
    await clock.settle()
    expect(nursery.events).toEqual(['open a', 'open b'])
    expect(life.actor.getSnapshot().hasTag('ready')).toBe(false)
    gate.resolve()
    await life.ready()
    nursery.events.length = 0
    await stop(life)
    expect(nursery.events).toEqual(['close c', 'close b', 'close a'])
    expect([life.errors, clock.armed]).toEqual([[], 0])
  })

  test('restarts a child that fails, after its back-off, in a new incarnation', async () => {
    const nursery = new Nursery()
    const life = begin([nursery.child('a'), nursery.child('b')])
    await life.ready()
    const first = childOf(life.actor, 'a', 1)
    nursery.fail('a')
    await clock.pass(199)
    expect([first?.getSnapshot().status, childOf(life.actor, 'a', 2)]).toEqual(['error', undefined])
    await clock.pass(1)
    expect(childOf(life.actor, 'a', 2)?.getSnapshot().value).toBe('running')
    // What is over is not kept: an inspector sees the tree that is there.
    expect(Object.keys(life.actor.getSnapshot().children).toSorted()).toEqual(['a:2', 'b:1'])
    expect(nursery.events).toEqual(['open a', 'open b', 'open a'])
    expect(world.logged).toEqual([
      {
        level: 'warn',
        fields: { path: 'root/a', error: 'a broke', restartInMs: 200 },
        message: 'an actor failed and will be restarted',
      },
    ])
  })

  test('a failure counts once, also of a child that was never ready', async () => {
    const nursery = new Nursery()
    const life = begin([
      nursery.child('a', { open: (of) => (of === 2 ? never() : Promise.resolve()) }),
    ])
    await life.ready()
    nursery.fail('a')
    await clock.pass(200)
    expect(nursery.events).toEqual(['open a', 'open a'])
    await clock.pass(999)
    expect(world.logged).toHaveLength(1)
    await clock.pass(1)
    expect(world.logged.slice(1).map(({ fields }) => fields)).toEqual([
      { path: 'root/a', error: 'was not ready in time', restartInMs: 400 },
    ])
    await clock.pass(400)
    expect(childOf(life.actor, 'a', 3)?.getSnapshot().value).toBe('running')
    expect(life.actor.getSnapshot().context.children[0]?.restarts).toBe(2)
  })

  test('gives up after too many failures, closes what is left, hands up the cause', async () => {
    const nursery = new Nursery()
    const life = begin([nursery.child('a'), nursery.child('b')])
    await life.ready()
    for (let failure = 0; failure < 3; failure += 1) {
      nursery.fail('b')
      await clock.pass(3000)
    }
    expect(life.errors).toEqual([])
    nursery.events.length = 0
    const cause = new TypeError('the last straw')
    nursery.fail('b', cause)
    await clock.settle()
    expect(nursery.events).toEqual(['close a'])
    expect(life.errors.map(rootCause)).toEqual([cause])
    expect(describeError(life.errors[0]).message).toBe('root/b: the last straw')
    expect(world.logged.at(-1)).toEqual({
      level: 'error',
      fields: { path: 'root/b', error: 'the last straw' },
      message: 'an actor failed, and its supervisor',
    })
    expect(clock.armed).toBe(0)
  })

  test('when a child cannot be opened, those before it are closed in reverse', async () => {
    const nursery = new Nursery()
    const refusal = new Error('the port is in use')
    const life = begin([
      nursery.child('a'),
      nursery.child('b'),
      nursery.child('c', { open: () => Promise.reject(refusal) }),
      nursery.child('d'),
    ])
    await clock.settle()
    expect(nursery.events).toEqual(['open a', 'open b', 'open c', 'close b', 'close a'])
    expect(life.errors.map(rootCause)).toEqual([refusal])
    // Whoever started it is told.
    expect(world.logged.map(({ level }) => level)).toEqual(['info'])
  })

  test('when a child is not ready in time at first, those before it are closed', async () => {
    const nursery = new Nursery()
    const life = begin([nursery.child('a'), nursery.child('b', { open: never })])
    await clock.pass(1000)
    expect(nursery.events).toEqual(['open a', 'open b', 'close a'])
    expect(describeError(life.errors[0]).message).toBe('root/b: was not ready in time')
  })

  test('a child that never stops is taken out after the limit, the others are closed', async () => {
    const nursery = new Nursery()
    const life = begin([nursery.child('a'), nursery.child('b', { close: never })])
    await life.ready()
    const stopped = life.stop()
    await clock.pass(499)
    expect(nursery.events.slice(2)).toEqual(['close b'])
    await clock.pass(1)
    await stopped
    expect(nursery.events.slice(2)).toEqual(['close b', 'close a'])
    expect([life.errors, clock.armed]).toEqual([[], 0])
  })

  test('stopped while a child waits for its restart, it does not restart it', async () => {
    const nursery = new Nursery()
    const life = begin([nursery.child('a'), nursery.child('b')])
    await life.ready()
    nursery.fail('a')
    await stop(life)
    expect(nursery.events).toEqual(['open a', 'open b', 'close b'])
    expect(clock.armed).toBe(0)
  })

  test('stopped while it starts, it closes what it has opened', async () => {
    const nursery = new Nursery()
    const life = begin([
      nursery.child('a'),
      nursery.child('b', { open: never }),
      nursery.child('c'),
    ])
    await clock.settle()
    await stop(life)
    expect(nursery.events).toEqual(['open a', 'open b', 'close b', 'close a'])
  })

  test('starts a child that is added, once, and stops it first', async () => {
    const nursery = new Nursery()
    begin([])
    const spec = group('pool', [nursery.child('a')], {}, (id) =>
      nursery.child(id).spec(world as never),
    )
    const pool = world.begin(spec, clock.timers)
    await pool.ready()
    const added = { type: 'child.add', child: planOf({ id: 'b' }, policy) }
    pool.actor.send(added)
    pool.actor.send(added)
    await clock.settle()
    await stop(pool)
    expect(nursery.events).toEqual(['open a', 'open b', 'close b', 'close a'])
  })
})

describe('a child that is added', () => {
  async function beginPool(over: Partial<SupervisorPolicy> = {}) {
    begin([])
    const nursery = new Nursery()
    const specOf = (id: string) => nursery.child(id).spec(world as never)
    const pool = world.begin(group('pool', [nursery.child('a')], over, specOf), clock.timers)
    await pool.ready()
    const add = (id: string, plan: Partial<ChildPlan> = {}) =>
      addChild(pool.actor, { ...planOf({ id }, policy), ...plan }, world.tell).then(
        (child) => child.id,
        (error: unknown) => error,
      )
    return { nursery, pool, add }
  }

  test('is handed over when it is ready', async () => {
    const { nursery, add } = await beginPool()
    expect(await add('b')).toBe('b:1')
    expect(nursery.events).toEqual(['open a', 'open b'])
  })

  test.each([
    ['that is there already', 'a', {}, {}, 'id'],
    ['for which there is no place', 'b', { childrenMax: 1 }, {}, 'childrenMax'],
    ['that cannot be as it is specified', 'b', {}, { startTimeoutMs: -1 }, 'startTimeoutMs'],
  ])('%s is refused, by its name and the field', async (_, id, over, plan, field) => {
    const { nursery, add } = await beginPool(over)
    const refusal = await add(id, plan)
    expect(refusal).toBeInstanceOf(SpecificationError)
    expect(refusal).toMatchObject({ supervisor: 'pool', child: id, field })
    expect(nursery.events).toEqual(['open a'])
  })
})

describe('supervisors of supervisors', () => {
  /** A root over one supervisor, over two children. */
  function beginNested() {
    const nursery = new Nursery()
    const spec = () => group('team', [nursery.child('a'), nursery.child('b')])
    const life = begin([nursery.child('x'), { id: 'team', spec }, nursery.child('y')])
    return { nursery, life }
  }

  test('start and stop as one tree', async () => {
    const { nursery, life } = beginNested()
    await life.ready()
    expect(nursery.events).toEqual(['open x', 'open a', 'open b', 'open y'])
    nursery.events.length = 0
    await stop(life)
    expect(nursery.events).toEqual(['close y', 'close b', 'close a', 'close x'])
  })

  test('the one above restarts the one below when that has given up', async () => {
    const { nursery, life } = beginNested()
    await life.ready()
    for (let failure = 0; failure < 4; failure += 1) {
      nursery.fail('a')
      await clock.pass(2000)
    }
    const team = childOf(life.actor, 'team', 2) as AnyActorRef
    expect(team.getSnapshot().value).toBe('running')
    expect(
      life.actor
        .getSnapshot()
        .context.children.map(({ restarts }: { restarts: number }) => restarts),
    ).toEqual([0, 1, 0])
    expect(world.logged.at(-1)?.fields).toMatchObject({
      path: 'root/team',
      error: 'team/a: a broke',
    })
  })

  test('a failure that no level can mend reaches the top, with what began it', async () => {
    const { nursery, life } = beginNested()
    await life.ready()
    const cause = new Error('no space left')
    for (let failure = 0; failure < 40 && life.errors.length === 0; failure += 1) {
      nursery.fail('a', cause)
      await clock.pass(1700)
    }
    expect(life.errors.map(rootCause)).toEqual([cause])
    expect(describeError(life.errors[0]).message).toBe('root/team: team/a: no space left')
  })
})

describe('a service', () => {
  test('fails with the reason for which it could not be opened', async () => {
    begin([])
    const reason = new Error('no such server')
    const life = world.begin(
      service({ open: () => Promise.reject(reason), close: never, tell: world.tell }),
    )
    await clock.settle()
    expect(life.errors).toEqual([reason])
  })

  test('stopped while it opens, it is closed', async () => {
    begin([])
    const nursery = new Nursery()
    const life = world.begin(nursery.child('a', { open: never }).spec(world as never))
    await stop(life)
    expect(nursery.events).toEqual(['open a', 'close a'])
  })

  test('a child that ends unasked is restarted', async () => {
    const endings: (() => void)[] = []
    const shortLived: ChildSpec = {
      logic: serviceMachine.provide({
        actors: {
          open: fromPromise<void, Owned>(async ({ input }) => {
            endings.push(() => input.owner.send({ type: 'stop' }))
          }),
          close: fromPromise<void, Owned>(async () => {}),
        },
      }),
    }
    const life = begin([{ id: 'a', spec: () => shortLived }])
    await life.ready()
    endings[0]?.()
    await clock.pass(200)
    expect(endings).toHaveLength(2)
    expect(world.logged[0]?.fields).toMatchObject({ path: 'root/a', error: 'ended unasked' })
  })
})
