/** What supervisors make of errors, of bad specifications, and of children that outstay. */
import { afterEach, describe, expect, test } from 'bun:test'
import { type AnyActorRef, fromCallback } from 'xstate'
import { MusterError, SpecificationError, UnavailableError } from '../../actors/errors.ts'
import {
  childOf,
  faultOf,
  type NamedChild,
  planOf,
  rootCause,
  type SupervisorOptions,
  supervisor,
} from '../../actors/supervisor.ts'
import {
  defaultPolicy,
  type Fault,
  type Restart,
  type Strategy,
  type SupervisorPolicy,
} from '../../machines/supervision.ts'
import { testClock } from '../kit/clock.ts'
import { Nursery } from './nursery.ts'
import { type Begun, memoryWorld } from './world.ts'

const policy: SupervisorPolicy = {
  ...defaultPolicy,
  intensity: 1,
  backoff: { baseMs: 200, capMs: 1000, jitter: 0 },
}

let clock = testClock()
let world = memoryWorld(clock)
const nursery = () => new Nursery()

function group(
  id: string,
  children: readonly NamedChild[],
  over: Partial<SupervisorPolicy> = {},
  specOf?: SupervisorOptions['specOf'],
) {
  return supervisor({
    id,
    policy: { ...policy, ...over },
    children,
    ...(specOf === undefined ? {} : { specOf }),
    clock: { ...clock },
    random: () => 0.5,
    log: world.log,
    tell: world.tell,
  })
}

function begin(make: () => ReturnType<typeof group>): Begun {
  clock = testClock()
  world = memoryWorld(clock)
  return world.begin(make(), clock.timers)
}

const statusesOf = (life: Begun): Record<string, string> =>
  Object.fromEntries(
    (life.actor.getSnapshot().context.children as { id: string; status: string }[]).map(
      ({ id, status }) => [id, status],
    ),
  )

class FaultyError extends MusterError {
  override readonly fault: Fault
  constructor(fault: Fault) {
    super('FAULTY', `a ${fault} fault`)
    this.fault = fault
  }
}

afterEach(async () => {
  const closed = world.close()
  await clock.pass(60_000)
  await closed
})

describe('the fault of an error', () => {
  test('is the one it names, that of a dependency, or a bug', () => {
    expect(faultOf(new FaultyError('fenced'))).toBe('fenced')
    expect(faultOf(new UnavailableError('Redis is away'))).toBe('dependency')
    expect([faultOf(new TypeError('x')), faultOf('x'), faultOf(undefined)]).toEqual(
      Array(3).fill('bug'),
    )
  })

  test('that is away is suspended and tried again, as often as it takes, uncounted', async () => {
    const it = nursery()
    const life = begin(() => group('root', [it.child('a')]))
    await life.ready()
    for (let failure = 0; failure < 20; failure += 1) {
      it.fail('a', new UnavailableError('Redis is away'))
      await clock.settle()
      expect(statusesOf(life)).toEqual({ a: 'suspended' })
      await clock.pass(1000)
    }
    expect([statusesOf(life), life.errors]).toEqual([{ a: 'ready' }, []])
  })

  test('that keeps a whole group from starting again is not counted above either', async () => {
    const it = nursery()
    let isAway = false
    const open = async () => {
      if (isAway) throw new UnavailableError('Redis is away')
    }
    const team = () => group('team', [it.child('a'), it.child('b', { open })])
    const life = begin(() => group('root', [{ id: 'team', spec: team }]))
    await life.ready()
    isAway = true
    it.fail('a', new FaultyError('fatal'))
    await clock.pass(30_000)
    expect([statusesOf(life), life.errors]).toEqual([{ team: 'suspended' }, []])
    isAway = false
    await clock.pass(1000)
    expect(statusesOf(life)).toEqual({ team: 'ready' })
  })

  test('that is fenced ends the child here, and nobody else', async () => {
    const it = nursery()
    const life = begin(() => group('root', [it.child('a'), it.child('b')]))
    await life.ready()
    it.fail('a', new FaultyError('fenced'))
    await clock.pass(60_000)
    expect([statusesOf(life), it.events]).toEqual([
      { a: 'stopped', b: 'ready' },
      ['open a', 'open b'],
    ])
    expect(Object.keys(life.actor.getSnapshot().children)).toEqual(['b:1'])
  })

  test('that is fatal is handed up at once', async () => {
    const it = nursery()
    const life = begin(() => group('root', [it.child('a'), it.child('b')]))
    await life.ready()
    const fatal = new FaultyError('fatal')
    it.fail('b', fatal)
    await clock.settle()
    expect(life.errors.map(rootCause)).toEqual([fatal])
    expect(it.events.at(-1)).toBe('close a')
  })
})

test('whoever does not stop when its supervisor has given up is taken out with it', async () => {
  const it = nursery()
  const close = () => new Promise<void>(() => {})
  const life = begin(() => group('root', [it.child('a', { close }), it.child('b')]))
  await life.ready()
  const deaf = childOf(life.actor, 'a', 1)
  it.fail('b', new FaultyError('fatal'))
  await clock.pass(policy.stopTimeoutMs)
  expect([life.errors.length, deaf?.getSnapshot().status]).toEqual([1, 'stopped'])
})

describe('a specification that cannot be', () => {
  const refusal = (children: readonly NamedChild[], over: Partial<SupervisorPolicy> = {}) => {
    try {
      group('root', children, over)
    } catch (error) {
      if (error instanceof SpecificationError) {
        return [error.code, error.supervisor, error.child, error.field, error.message]
      }
      throw error
    }
    return []
  }
  const spec = () => ({ logic: fromCallback(() => {}) })

  test('is refused with the supervisor and the field', () => {
    expect(refusal([], { intensity: 5, windowMs: 1000 })).toEqual([
      'SPECIFICATION',
      'root',
      undefined,
      'windowMs',
      expect.stringMatching(/^supervisor root: windowMs: expected 5 back-offs from 200 ms to fit/),
    ])
    expect(refusal([], { strategy: 'one_for_two' as unknown as Strategy }).at(3)).toBe('strategy')
    for (const field of ['intensity', 'windowMs', 'startTimeoutMs', 'childrenMax'] as const) {
      expect(refusal([], { [field]: 0 }).at(3)).toBe(field)
      expect(refusal([], { [field]: -1 }).at(3)).toBe(field)
    }
  })

  test('is refused with the child and the field', () => {
    const a = { id: 'a', spec }
    const cases: [NamedChild[], string][] = [
      [[a, a], 'id'],
      [[{ ...a, restart: 'always' as unknown as Restart }], 'restart'],
      [[{ ...a, stopTimeoutMs: -1 }], 'stopTimeoutMs'],
      [[{ ...a, significant: true }], 'significant'],
    ]
    for (const [children, field] of cases) {
      const over = { autoShutdown: 'any_significant' as const }
      expect(refusal(children, over).slice(0, 4)).toEqual(['SPECIFICATION', 'root', 'a', field])
      expect(String(refusal(children, over)[4])).toStartWith(`supervisor root/a: ${field}: expect`)
    }
  })

  test('of a child that is added is refused in the log', async () => {
    const it = nursery()
    const life = begin(() => group('root', [it.child('a')], { childrenMax: 1 }))
    await life.ready()
    life.actor.send({ type: 'child.add', child: planOf({ id: 'b' }, policy) })
    await clock.settle()
    expect([statusesOf(life), world.logged.at(-1)]).toEqual([
      { a: 'ready' },
      {
        level: 'error',
        fields: {
          path: 'root/b',
          error: 'supervisor root: childrenMax: expected at most 1 children, got 2',
        },
        message: 'a child was not taken',
      },
    ])
  })
})

describe('a child that cannot even be made', () => {
  test('has failed: its supervisor goes on with the others', async () => {
    const it = nursery()
    const sound = it.child('a')
    let lives = 0
    const spec = (owner: AnyActorRef) => {
      lives += 1
      if (lives === 2) throw new Error('no more file handles')
      return sound.spec(owner)
    }
    const life = begin(() => group('root', [{ id: 'a', spec }, it.child('b')]))
    await life.ready()
    it.fail('a', new UnavailableError('Redis is away'))
    await clock.pass(200)
    expect(statusesOf(life)).toEqual({ a: 'backingOff', b: 'ready' })
    await clock.pass(400)
    expect([statusesOf(life), lives]).toEqual([{ a: 'ready', b: 'ready' }, 3])
  })

  test('and was added without a specification leaves nobody without a supervisor', async () => {
    const it = nursery()
    const life = begin(() => group('root', [it.child('a')]))
    await life.ready()
    life.actor.send({ type: 'child.add', child: planOf({ id: 'x' }, policy) })
    await clock.pass(60_000)
    expect(life.errors.map(String)).toEqual(['Error: root/x: supervisor root has no child "x"'])
    expect([it.events.at(-1), clock.armed]).toEqual(['close a', 0])
  })
})

describe('nobody', () => {
  /** Notes when it begins and when its resources are taken from it. */
  const watched = (name: string, events: string[]): NamedChild => ({
    id: name,
    spec: () => ({
      logic: fromCallback(() => {
        events.push(`begin ${name}`)
        return () => {
          events.push(`end ${name}`)
        }
      }),
    }),
  })

  test('survives a supervisor that is taken out by force', async () => {
    const events: string[] = []
    const it = nursery()
    const team = () =>
      group('team', [
        it.child('a', { close: () => new Promise(() => {}) }, { stopTimeoutMs: 60_000 }),
        { id: 'inner', spec: () => group('inner', [watched('deep', events)]) },
      ])
    const life = begin(() => group('root', [{ id: 'team', spec: team, stopTimeoutMs: 100 }]))
    await clock.settle()
    expect(events).toEqual(['begin deep'])
    const inside = childOf(life.actor, 'team', 1) as AnyActorRef
    const a = childOf(inside, 'a', 1) as AnyActorRef
    const stopped = life.stop()
    await clock.pass(100)
    await stopped
    expect([events, a.getSnapshot().status]).toEqual([['begin deep', 'end deep'], 'stopped'])
    expect(clock.armed).toBe(0)
  })

  test('survives a group that is restarted', async () => {
    const it = nursery()
    const children = () => ['a', 'b', 'c'].map((id) => it.child(id))
    const life = begin(() => group('root', children(), { strategy: 'one_for_all' }))
    await life.ready()
    it.fail('b')
    await clock.pass(200)
    expect(it.events.slice(3)).toEqual(['close c', 'close a', 'open a', 'open b', 'open c'])
    expect(Object.keys(life.actor.getSnapshot().children)).toEqual(['a:2', 'b:2', 'c:2'])
    expect(clock.armed).toBe(0)
  })
})
