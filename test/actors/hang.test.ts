/** Workers with an envelope that makes no progress: aborted, restarted and counted. */
import { afterEach, describe, expect, test } from 'bun:test'
import type { Kind } from '../../actors/kind.ts'
import { workMailbox } from '../../actors/place.ts'
import type { Execution } from '../../actors/ports.ts'
import { type WorkerOptions, worker } from '../../actors/worker.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { childIn, inTime, never, supervised } from './hanging.ts'
import { isEmpty, jobs, resultsOf } from './working.ts'
import {
  type Begun,
  dispatch,
  failed,
  kindOf,
  memoryWorld,
  ok,
  packLimits,
  type World,
} from './world.ts'

let clock: TestClock
let world: World
const makeWorld = () => {
  clock = testClock()
  world = memoryWorld(clock)
}

afterEach(async () => {
  const closed = world.close()
  await clock.pass(60_000)
  await closed
})

function superviseWorker(kind: Kind, over: Partial<WorkerOptions> = {}): Begun {
  const options: WorkerOptions = {
    ...world,
    mailbox: 'work.job',
    kind,
    ordered: false,
    node: 'n-1',
    worker: 'work.job',
    retry: { baseMs: 1, capMs: 4, jitter: 0 },
    random: () => 0.5,
    poisonKills: 2,
    hangGraceMs: 500,
    drain: new AbortController().signal,
    graceMs: () => 0,
    ...over,
  }
  return supervised({ clock, world }, 'worker', () => worker(options))
}

/** A kind whose tasks end when the test says so, and begin in the order of `begun`. */
function gated(over: Partial<Kind> = {}) {
  const begun: string[] = []
  const gates = new Map<string, PromiseWithResolvers<Execution>>()
  const kind = kindOf(
    'job',
    (_, { run, seq }) => {
      const gate = Promise.withResolvers<Execution>()
      begun.push(`${run}.${seq}`)
      gates.set(`${run}.${seq}`, gate)
      return gate.promise
    },
    { limitMs: ({ timeoutMs }) => timeoutMs ?? 1000, ...over },
  )
  const end = async (task: string) => {
    gates.get(task)?.resolve(ok)
    await clock.settle()
  }
  return { kind, begun, end }
}

describe('a worker with a task that never ends', () => {
  test('is restarted each time, until the task is poison; its neighbours complete', async () => {
    makeWorld()
    const bodies = await world.settled()
    const runs = [0, 0, 0, 0]
    const kind = kindOf(
      'job',
      // Deaf to its signal.
      async (_, { seq }) => {
        runs[seq] = (runs[seq] ?? 0) + 1
        return seq === 1 ? never<Execution>() : ok
      },
      { limitMs: () => 1000 },
    )
    await dispatch(world, 'r-1', jobs(4))
    const life = superviseWorker(kind)
    await clock.settle()
    const results = await inTime(clock, 100, () => {
      expect(bodies.map(({ outcomes }) => outcomes).join('')).toHaveLength(4)
      return resultsOf(bodies, 4)
    })
    expect(results.map(({ code }) => code)).toEqual([1, 6, 1, 1])
    expect(results[1]?.result.error?.code).toBe('POISON')
    // Once with all the others, when nobody knew which it was, and twice by itself.
    expect(runs[1]).toBe(3)
    const { restarts, lastError, state } = childIn(life, clock)
    expect([restarts, state]).toEqual([3, 'receiving.idle'])
    expect(lastError).toMatch(/^work\.job: message r-1\.\S+, received 1500 ms ago, .* 1500 ms/)
    await isEmpty(world)
    expect(life.errors).toEqual([])
  })

  test('aborts the signals of all it has at hand, and every envelope comes back', async () => {
    makeWorld()
    const bodies = await world.settled()
    let deliveries = 0
    const signals: AbortSignal[] = []
    const kind = kindOf(
      'job',
      async (_, { signal }) => {
        deliveries += 1
        if (deliveries > 2) return ok
        signals.push(signal)
        return never<Execution>()
      },
      { limitMs: ({ timeoutMs }) => timeoutMs ?? 1000 },
    )
    await dispatch(world, 'r-1', jobs(1))
    await dispatch(world, 'r-2', jobs(1, { timeoutMs: 60_000 }))
    const life = superviseWorker(kind)
    await clock.pass(1499)
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false])
    expect(childIn(life, clock)).toMatchObject({ state: 'receiving.busy', oldestMessageMs: 1499 })
    await clock.pass(1)
    await eventually(() => expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]))
    await inTime(clock, 100, () => expect(bodies).toHaveLength(2))
    expect(childIn(life, clock).restarts).toBe(1)
    expect(childIn(life, clock)).not.toHaveProperty('oldestMessageMs')
    await isEmpty(world)
  })

  test('gives an envelope as long as the slowest of its tasks may take', async () => {
    makeWorld()
    const { kind } = gated()
    const tasks = [...jobs(1, { timeoutMs: 10 }), ...jobs(1, { timeoutMs: 5000 }), ...jobs(1)]
    await dispatch(world, 'r-1', tasks)
    const life = superviseWorker(kind)
    await clock.pass(5499)
    expect(childIn(life, clock).state).toBe('receiving.busy')
    await clock.pass(1)
    await inTime(clock, 10, () => expect(childIn(life, clock).restarts).toBe(1))
  })

  test('is not hung as long as tasks end, however long the envelope takes', async () => {
    makeWorld()
    const bodies = await world.settled()
    const { kind, begun, end } = gated({ concurrency: 1 })
    await dispatch(world, 'r-1', jobs(5))
    const life = superviseWorker(kind)
    for (const seq of [0, 1, 2, 3, 4]) {
      await clock.pass(1400)
      expect(begun.at(-1)).toBe(`r-1.${seq}`)
      await end(`r-1.${seq}`)
    }
    expect((await resultsOf(bodies, 5)).map(({ code }) => code)).toEqual([1, 1, 1, 1, 1])
    expect(childIn(life, clock).restarts).toBe(0)
  })

  test('is hung also while the next task of the envelope waits for the slot', async () => {
    makeWorld()
    const { kind, begun } = gated({ concurrency: 1 })
    await dispatch(world, 'r-1', jobs(2))
    const life = superviseWorker(kind)
    await clock.pass(1500)
    expect(begun).toEqual(['r-1.0'])
    await inTime(clock, 10, () => expect(childIn(life, clock).restarts).toBe(1))
  })

  test.each([
    ['together', {}],
    ['one by one', { delivery: 'at-most-once' }],
  ])('does not blame an envelope whose tasks, %s, only wait for a slot', async (_, task) => {
    makeWorld()
    const { kind, begun, end } = gated({ concurrency: 2 })
    await dispatch(world, 'r-1', jobs(2, { timeoutMs: 20_000 }))
    const life = superviseWorker(kind)
    await clock.settle()
    await dispatch(world, 'r-2', jobs(1, task))
    await clock.pass(20_000)
    expect([begun, childIn(life, clock).state]).toEqual([['r-1.0', 'r-1.1'], 'receiving.busy'])
    await end('r-1.0')
    await clock.pass(1000)
    await end('r-1.1')
    expect(begun.at(-1)).toBe('r-2.0')
    // From here on its own time runs.
    await clock.pass(499)
    expect(childIn(life, clock).state).toBe('receiving.busy')
    await clock.pass(1)
    await inTime(clock, 10, () => expect(childIn(life, clock).restarts).toBe(1))
    expect(childIn(life, clock).lastError).toContain('message r-2.')
  })

  test('does not blame an envelope that others overtook between two of its tasks', async () => {
    makeWorld()
    const { kind, begun, end } = gated({ concurrency: 2 })
    await dispatch(world, 'r-1', jobs(4, { timeoutMs: 20_000 }))
    const life = superviseWorker(kind)
    await clock.settle()
    await dispatch(world, 'r-2', jobs(2))
    await clock.settle()
    await end('r-1.0')
    await end('r-1.1')
    expect(begun).toEqual(['r-1.0', 'r-1.1', 'r-1.2', 'r-2.0'])
    await clock.pass(1000)
    // Its slot goes to who waited before it.
    await end('r-2.0')
    expect(begun.at(-1)).toBe('r-1.3')
    await clock.pass(10_000)
    expect(childIn(life, clock)).toMatchObject({ state: 'receiving.busy', restarts: 0 })
    await end('r-1.2')
    expect(begun.at(-1)).toBe('r-2.1')
    await clock.pass(1500)
    await inTime(clock, 10, () => expect(childIn(life, clock).restarts).toBe(1))
    expect(childIn(life, clock).lastError).toContain('message r-2.')
  })

  test('does not count the back-off between two tries in place', async () => {
    makeWorld()
    const bodies = await world.settled()
    const kind = kindOf('job', async (_, { attempt }) => (attempt < 3 ? failed : ok), {
      limitMs: () => 1000,
    })
    const mailbox = workMailbox('job', 'k', packLimits.keyPartitions)
    await dispatch(world, 'r-1', jobs(1, { key: 'k' }))
    const retry = { baseMs: 10_000, capMs: 10_000, jitter: 0 }
    const life = superviseWorker(kind, { mailbox, ordered: true, retry })
    await clock.pass(20_000)
    expect((await resultsOf(bodies, 1)).map(({ attempt }) => attempt)).toEqual([3])
    expect(childIn(life, clock).restarts).toBe(0)
  })

  test('is left alone while Redis is away, and no longer', async () => {
    makeWorld()
    let isAway = true
    const { kind } = gated()
    await dispatch(world, 'r-1', jobs(1))
    const life = superviseWorker(kind, { isAway: () => isAway })
    await clock.pass(60_000)
    expect(childIn(life, clock)).toMatchObject({ state: 'receiving.busy', restarts: 0 })
    isAway = false
    await clock.pass(1500)
    await inTime(clock, 10, () => expect(childIn(life, clock).restarts).toBe(1))
  })

  test('stops within its grace, as one that is not hung', async () => {
    makeWorld()
    const { kind } = gated()
    await dispatch(world, 'r-1', jobs(1))
    const life = superviseWorker(kind, { graceMs: () => 20 })
    await clock.pass(1000)
    const stopped = life.stop()
    await clock.pass(1)
    await stopped
    expect(life.errors).toEqual([])
    expect((await world.mailboxes.depth('work.job')).waiting).toBe(1)
    // Nor is anything watched any more.
    await clock.settle()
    expect(clock.armed).toBe(0)
  })
})

test('a worker whose settlement is never answered is restarted, and settles then', async () => {
  makeWorld()
  const bodies = await world.settled()
  let sends = 0
  const mailboxes = {
    ...world.mailboxes,
    async send(...args: Parameters<typeof world.mailboxes.send>) {
      sends += 1
      await (sends === 1 ? never<void>() : world.mailboxes.send(...args))
    },
  }
  await dispatch(world, 'r-1', jobs(2))
  const life = superviseWorker(
    kindOf('job', async () => ok, { limitMs: () => 1000 }),
    { mailboxes },
  )
  await inTime(clock, 100, () => expect(bodies).toHaveLength(1))
  expect((await resultsOf(bodies, 2)).map(({ code }) => code)).toEqual([1, 1])
  expect(childIn(life, clock).restarts).toBe(1)
})
