import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { HungError, UnavailableError } from '../../actors/errors.ts'
import type { WorkerProcesses, WorkerProcessListener } from '../../actors/ports.ts'
import { supervisor } from '../../actors/supervisor.ts'
import { type TreeNode, treeOf } from '../../actors/tree.ts'
import { workerProcess } from '../../actors/worker-process.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { type Begun, memoryWorld, type World } from './world.ts'

/** Processes that do what the test says. */
class Processes implements WorkerProcesses {
  readonly events: string[] = []
  readonly started: WorkerProcessListener[] = []
  refusal: Error | undefined

  start(name: string, listener: WorkerProcessListener) {
    if (this.refusal !== undefined) throw this.refusal
    const pid = 100 + this.started.push(listener)
    this.events.push(`start ${name} ${pid}`)
    return {
      pid,
      stop: (graceMs: number) => void this.events.push(`stop ${pid} ${graceMs}`),
      check: () => void this.events.push(`check ${pid}`),
      kill: () => void this.events.push(`kill ${pid}`),
    }
  }

  get last(): WorkerProcessListener {
    const last = this.started.at(-1)
    if (last === undefined) throw new Error('expected a process to be started')
    return last
  }
}

const node = (id: string, children: TreeNode[] = []): TreeNode => ({
  path: `/${id}`,
  id,
  state: 'running',
  incarnation: 1,
  restarts: 0,
  pid: 101,
  children,
})
const told = node('process-1', [node('workers')])
const killed = { exitCode: null, signal: 'SIGKILL' }
const inOrder = { exitCode: 0, signal: null }

let clock: TestClock
let world: World
let processes: Processes
let reclaimed: (readonly string[])[]
let deadLetters: DeadLetters
beforeEach(() => {
  clock = testClock()
  world = memoryWorld(clock)
  processes = new Processes()
  reclaimed = []
  deadLetters = new DeadLetters(world)
})
afterEach(async () => {
  const closed = world.close()
  await clock.pass(60_000)
  await closed
})

function begin(reclaim: () => Promise<number> = () => Promise.resolve(3)): Begun {
  const mailboxes = {
    reclaim: (holders: readonly string[]) => {
      reclaimed.push(holders)
      return reclaim()
    },
  }
  const spec = () =>
    workerProcess({
      ...world,
      name: 'process-1',
      processes,
      mailboxes,
      deadLetters,
      silenceMs: 10_000,
      reapMs: 2000,
      graceMs: () => 700,
    })
  const policy = { ...defaultPolicy, backoff: { baseMs: 200, capMs: 200, jitter: 0 } }
  const children = [{ id: 'process-1', spec }]
  const group = supervisor({ ...world, id: 'processes', policy, random: () => 0.5, children })
  return world.begin(group, clock.timers)
}

const childOf = (life: Begun) => treeOf(life.actor, 'n-1', 5).children[0]

async function beginReady(reclaim?: () => Promise<number>): Promise<Begun> {
  const life = begin(reclaim)
  processes.last.beat({ tree: told, holders: ['h1', 'h2'], load: 0 })
  processes.last.ready()
  await life.ready()
  return life
}

const stopped = async (life: Begun): Promise<void> => {
  const stopping = life.stop()
  await clock.settle()
  processes.last.exited(inOrder)
  await stopping
}

describe('a worker process', () => {
  test('is ready when it says so, and shows its actors under its own pid', async () => {
    const life = begin()
    await clock.settle()
    expect(processes.events).toEqual(['start process-1 101'])
    expect(childOf(life)).toMatchObject({ state: 'starting' })
    processes.last.beat({ tree: told, holders: [], load: 0 })
    processes.last.ready()
    await life.ready()
    expect(childOf(life)).toMatchObject({
      path: '/n-1/process-1',
      state: 'running.heard',
      pid: 101,
      children: [{ path: '/n-1/process-1/workers', id: 'workers' }],
    })
    await stopped(life)
  })

  test('that is killed is started again, and what it held is given back at once', async () => {
    const life = await beginReady()
    processes.last.exited(killed)
    await clock.settle()
    expect(reclaimed).toEqual([['h1', 'h2']])
    expect(world.logged).toContainEqual({
      level: 'info',
      fields: { name: 'process-1', messages: 3 },
      message: 'messages of a lost process go back',
    })
    expect(childOf(life)).toMatchObject({ state: 'backingOff', restarts: 1 })
    await clock.pass(200)
    processes.last.ready()
    expect(childOf(life)).toMatchObject({
      state: 'running.heard',
      incarnation: 2,
      restarts: 1,
      lastError: 'worker process 101 ended unasked: SIGKILL',
    })
    await stopped(life)
    expect(processes.events).toEqual(['start process-1 101', 'start process-1 102', 'stop 102 700'])
  })

  test('that dies before its first heartbeat gives back what it has told to hold', async () => {
    const life = begin()
    processes.last.holds('h1')
    processes.last.holds('h2')
    processes.last.exited(killed)
    await clock.settle()
    expect(reclaimed).toEqual([['h1', 'h2']])
    expect(life.errors).toHaveLength(1)
  })

  test('gives back also what it opened after its heartbeat was made', async () => {
    const life = await beginReady()
    processes.last.holds('h3')
    processes.last.beat({ tree: told, holders: ['h1', 'h2'], load: 0 })
    processes.last.exited(killed)
    await clock.settle()
    expect(reclaimed).toEqual([['h1', 'h2', 'h3']])
    await clock.pass(200)
    processes.last.exited(killed)
    // What the one before held is not the next one's.
    await clock.settle()
    expect(reclaimed.at(-1)).toEqual([])
    expect(life.errors).toEqual([])
  })

  test('that dies of poisonous tasks is restarted as often as it takes', async () => {
    const life = await beginReady()
    for (let task = 0; task < 30; task += 1) {
      // The first time nobody knows what it was.
      processes.last.exited(killed)
      await clock.pass(200)
      processes.last.ready()
      processes.last.suspected(true)
      processes.last.exited(killed)
      expect(childOf(life)).toMatchObject({ state: 'backingOff', restarts: 2 * task + 2 })
      await clock.pass(200)
      processes.last.ready()
    }
    expect(life.errors).toEqual([])
    await stopped(life)
  })

  test('that blocks in a suspected task died of that', async () => {
    const life = await beginReady()
    for (let task = 0; task < 30; task += 1) {
      processes.last.suspected(true)
      await clock.pass(10_000)
      processes.last.exited(killed)
      await clock.pass(200)
      processes.last.ready()
    }
    expect([life.errors, childOf(life)?.restarts]).toEqual([[], 30])
    expect(childOf(life)?.lastError).toContain('said nothing for 10000 ms and was killed')
    await stopped(life)
  })

  test('that has run its suspected tasks and falls is counted as any other', async () => {
    const life = await beginReady()
    for (let fall = 0; fall <= defaultPolicy.intensity; fall += 1) {
      processes.last.suspected(true)
      processes.last.suspected(false)
      processes.last.exited(killed)
      await clock.pass(200)
      if (life.errors.length === 0) processes.last.ready()
    }
    expect(life.errors).toHaveLength(1)
  })

  test('tells the messages of its actors that reached nobody, and they are kept here', async () => {
    const life = await beginReady()
    const letter = { at: 5000, to: 'work.job:2', type: 'stop', reason: 'stopped' } as const
    processes.last.undelivered([letter])
    expect(deadLetters.list()).toEqual([{ ...letter, to: 'process-1/work.job:2' }])
    await stopped(life)
  })

  test('that ended by itself is told of with its exit code', async () => {
    const life = await beginReady()
    processes.last.exited({ exitCode: 70, signal: null })
    expect(childOf(life)?.lastError).toBe('worker process 101 ended unasked: exit code 70')
  })

  test('that says nothing is killed, counted as hung, and its messages go back', async () => {
    const life = await beginReady()
    await clock.pass(9999)
    expect(processes.events).not.toContain('kill 101')
    await clock.pass(1)
    expect(processes.events).toContain('kill 101')
    expect(childOf(life)).toMatchObject({ state: 'hung', restarts: 0 })
    processes.last.exited(killed)
    await clock.settle()
    expect(childOf(life)).toMatchObject({
      restarts: 1,
      lastError: 'worker process 101 said nothing for 10000 ms and was killed',
    })
    expect(reclaimed).toEqual([['h1', 'h2']])
  })

  test('that was only slow hands back what it held, and is replaced all the same', async () => {
    const life = await beginReady()
    await clock.pass(8000)
    expect(processes.events.slice(1)).toEqual(['check 101', 'stop 101 700'])
    processes.last.beat({ tree: told, holders: ['h1', 'h2'], load: 0 })
    processes.last.exited(inOrder)
    await clock.settle()
    expect([reclaimed, childOf(life)?.lastError]).toEqual([
      [],
      'worker process 101 said nothing for 7500 ms and was asked to stop',
    ])
    await clock.pass(200)
    processes.last.ready()
    expect(childOf(life)).toMatchObject({ state: 'running.heard', incarnation: 2 })
    await stopped(life)
  })

  test('sick in every life climbs the whole ladder each time, and is given up', async () => {
    const life = await beginReady()
    let lives = 1
    for (; life.errors.length === 0 && lives < 50; lives += 1) {
      await clock.pass(10_000)
      processes.last.exited(killed)
      await clock.pass(200)
      if (life.errors.length === 0) processes.last.ready()
    }
    const rungs = processes.events.map((event) => event.split(' ')[0])
    const ladder = ['start', 'check', 'stop', 'kill']
    const count = rungs.length / ladder.length
    expect(rungs).toEqual(Array.from({ length: count }, () => ladder).flat())
    expect(count).toBeGreaterThanOrEqual(ladder.length)
    // It has not been well for long enough in any of them: the level above decides.
    expect([count, life.errors.length]).toEqual([defaultPolicy.streakMax + 1, 1])
  })

  test('that told why it gives up has failed of that', async () => {
    const life = await beginReady()
    processes.last.failed(new UnavailableError('Redis is away'))
    processes.last.exited(inOrder)
    // What it stands on is away: that is waited for, and not counted.
    expect(childOf(life)).toMatchObject({ state: 'suspended', lastError: 'Redis is away' })
    expect(reclaimed).toEqual([])
  })

  test('asked to stop gets its grace, and hands back itself what it held', async () => {
    const life = await beginReady()
    await stopped(life)
    expect(processes.events).toEqual(['start process-1 101', 'stop 101 700'])
    expect([reclaimed, life.errors, clock.armed]).toEqual([[], [], 0])
  })

  test('asked to stop while it starts ends as well', async () => {
    const life = begin()
    await clock.settle()
    await stopped(life)
    expect(processes.events).toEqual(['start process-1 101', 'stop 101 700'])
    expect(life.errors).toEqual([])
  })

  test('that does not stop in time is killed, and what it held is given back', async () => {
    const life = await beginReady()
    const stopping = life.stop()
    await clock.pass(defaultPolicy.stopTimeoutMs)
    await stopping
    expect(processes.events.slice(1)).toEqual(['stop 101 700', 'kill 101'])
    processes.last.exited(killed)
    await clock.settle()
    expect([reclaimed, life.errors]).toEqual([[['h1', 'h2']], []])
  })

  test('that is never ready is killed, and its late word is not that of the next one', async () => {
    const life = await beginReady()
    processes.last.exited(killed)
    await clock.pass(200)
    const second = processes.last
    await clock.pass(defaultPolicy.startTimeoutMs + 200)
    expect(processes.events.slice(1)).toEqual([
      'start process-1 102',
      'kill 102',
      'start process-1 103',
    ])
    second.ready()
    second.exited(killed)
    await clock.settle()
    expect(childOf(life)).toMatchObject({ state: 'starting', incarnation: 3, restarts: 2 })
  })

  test('that the operating system refuses is a failure with its reason', async () => {
    const life = await beginReady()
    processes.refusal = new Error('spawn: EAGAIN')
    processes.last.exited(killed)
    await clock.pass(200)
    expect(childOf(life)).toMatchObject({ lastError: 'spawn: EAGAIN', restarts: 2 })
    processes.refusal = undefined
    await clock.pass(200)
    processes.last.ready()
    expect(childOf(life)).toMatchObject({ state: 'running.heard', incarnation: 3 })
    await stopped(life)
  })

  test('whose messages cannot be given back is started again all the same', async () => {
    const life = await beginReady(() => Promise.reject(new Error('Redis is away')))
    processes.last.exited(killed)
    await clock.pass(200)
    processes.last.ready()
    expect(childOf(life)).toMatchObject({ state: 'running.heard', incarnation: 2 })
    expect(world.logged.map(({ message }) => message)).toContain(
      'messages of a lost process cannot go back yet',
    )
    await stopped(life)
  })

  test('that was silent fails with the error of an actor that hangs', () => {
    const spec = workerProcess({
      ...world,
      name: 'process-1',
      processes,
      deadLetters,
      silenceMs: 10_000,
      reapMs: 2000,
      graceMs: () => 0,
    })
    const { errors } = world.begin(spec, clock.timers)
    processes.last.ready()
    clock.advance(12_000)
    expect(errors.map((error) => error instanceof HungError)).toEqual([true])
  })
})
