/** Actors with a message that makes no progress: aborted, restarted by their supervisor, counted. */
import { afterEach, describe, expect, test } from 'bun:test'
import { type CollectorOptions, collector } from '../../actors/collector.ts'
import { workMailbox } from '../../actors/envelope.ts'
import type { Kind } from '../../actors/kind.ts'
import type { Execution, Settled } from '../../actors/ports.ts'
import { type ChildSpec, supervisor } from '../../actors/supervisor.ts'
import { type TreeNode, treeOf } from '../../actors/tree.ts'
import { type WorkerOptions, worker } from '../../actors/worker.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { isEmpty, jobs, resultsOf } from './working.ts'
import {
  type Begun,
  dispatch,
  failed,
  finished,
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

const never = <T>() => new Promise<T>(() => {})

/** An actor as the only child of a supervisor. */
function supervised(id: string, spec: () => ChildSpec): Begun {
  const group = supervisor({
    ...world,
    id: 'root',
    policy: { ...defaultPolicy, backoff: { baseMs: 200, capMs: 200, jitter: 0 } },
    children: [{ id, spec }],
    clock: { ...clock },
    random: () => 0.5,
  })
  return world.begin(group, clock.timers)
}

function superviseWorker(kind: Kind, over: Partial<WorkerOptions> = {}): Begun {
  const options: WorkerOptions = {
    ...world,
    mailbox: 'work.job',
    kind,
    ordered: false,
    node: 'n-1',
    retry: { baseMs: 1, capMs: 4, jitter: 0 },
    random: () => 0.5,
    poisonKills: 2,
    hangGraceMs: 500,
    drain: new AbortController().signal,
    graceMs: () => 0,
    ...over,
  }
  return supervised('worker', () => worker(options))
}

/** The only child, as the tree shows it. */
function childIn(life: Begun): TreeNode {
  const [child] = treeOf(life.actor, 'root', 1, clock.monotonic()).children
  if (child === undefined) throw new Error('expected a child')
  return child
}

/** Lets test time go by, some at each look, until it is so. */
function inTime<T>(ms: number, assertion: () => T | Promise<T>): Promise<T> {
  return eventually(
    async () => {
      await clock.pass(ms)
      return assertion()
    },
    { intervalMs: 2 },
  )
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
  test('is restarted and counted each time, until the task is poison; its neighbours complete', async () => {
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
    const results = await inTime(100, () => {
      expect(bodies).toHaveLength(1)
      return resultsOf(bodies, 4)
    })
    expect(results.map(({ code }) => code)).toEqual([1, 6, 1, 1])
    expect(results[1]?.result.error?.code).toBe('POISON')
    // Once with all the others, when nobody knew which it was, and twice by itself.
    expect(runs[1]).toBe(3)
    const { restarts, lastError, state } = childIn(life)
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
    expect(childIn(life)).toMatchObject({ state: 'receiving.busy', oldestMessageMs: 1499 })
    await clock.pass(1)
    await eventually(() => expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]))
    await inTime(100, () => expect(bodies).toHaveLength(2))
    expect(childIn(life).restarts).toBe(1)
    expect(childIn(life)).not.toHaveProperty('oldestMessageMs')
    await isEmpty(world)
  })

  test('gives an envelope as long as the slowest of its tasks may take', async () => {
    makeWorld()
    const { kind } = gated()
    const tasks = [...jobs(1, { timeoutMs: 10 }), ...jobs(1, { timeoutMs: 5000 }), ...jobs(1)]
    await dispatch(world, 'r-1', tasks)
    const life = superviseWorker(kind)
    await clock.pass(5499)
    expect(childIn(life).state).toBe('receiving.busy')
    await clock.pass(1)
    await inTime(10, () => expect(childIn(life).restarts).toBe(1))
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
    expect(childIn(life).restarts).toBe(0)
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
    expect([begun, childIn(life).state]).toEqual([['r-1.0', 'r-1.1'], 'receiving.busy'])
    await end('r-1.0')
    await clock.pass(1000)
    await end('r-1.1')
    expect(begun.at(-1)).toBe('r-2.0')
    // From here on its own time runs.
    await clock.pass(499)
    expect(childIn(life).state).toBe('receiving.busy')
    await clock.pass(1)
    await inTime(10, () => expect(childIn(life).restarts).toBe(1))
    expect(childIn(life).lastError).toContain('message r-2.')
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
    expect(childIn(life)).toMatchObject({ state: 'receiving.busy', restarts: 0 })
    await end('r-1.2')
    expect(begun.at(-1)).toBe('r-2.1')
    await clock.pass(1500)
    await inTime(10, () => expect(childIn(life).restarts).toBe(1))
    expect(childIn(life).lastError).toContain('message r-2.')
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
    expect(childIn(life).restarts).toBe(0)
  })

  test('is left alone while Redis is away, and no longer', async () => {
    makeWorld()
    let isAway = true
    const { kind } = gated()
    await dispatch(world, 'r-1', jobs(1))
    const life = superviseWorker(kind, { isAway: () => isAway })
    await clock.pass(60_000)
    expect(childIn(life)).toMatchObject({ state: 'receiving.busy', restarts: 0 })
    isAway = false
    await clock.pass(1500)
    await inTime(10, () => expect(childIn(life).restarts).toBe(1))
  })

  test('stops within its grace, as one that is not hung', async () => {
    makeWorld()
    const { kind } = gated()
    await dispatch(world, 'r-1', jobs(1))
    const life = superviseWorker(kind, { graceMs: () => 20 })
    await clock.pass(1499)
    const stopped = life.stop()
    await clock.pass(1)
    await stopped
    expect(life.errors).toEqual([])
    expect((await world.mailboxes.depth('work.job')).waiting).toBe(1)
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
  await inTime(100, () => expect(bodies).toHaveLength(1))
  expect((await resultsOf(bodies, 2)).map(({ code }) => code)).toEqual([1, 1])
  expect(childIn(life).restarts).toBe(1)
})

describe('a collector with a batch that makes no progress', () => {
  const superviseCollector = (over: Partial<CollectorOptions>): Begun => {
    const options = { ...world, batchMax: 10, graceMs: () => 0, hangMs: 30_000, ...over }
    return supervised('collector', () => collector(options))
  }

  /** Two tasks that have been run, their results on the way to the collector. */
  const settleTwo = async () => {
    await dispatch(world, 'r-1', jobs(2))
    const life = world.begin(
      worker({
        ...world,
        mailbox: 'work.job',
        kind: kindOf('job', () => ok),
        ordered: false,
        node: 'n-1',
        retry: { baseMs: 1, capMs: 4, jitter: 0 },
        random: () => 0.5,
        poisonKills: 2,
        hangGraceMs: 500,
        drain: new AbortController().signal,
        graceMs: () => 0,
      }),
    )
    await isEmpty(world)
    await life.stop()
  }

  test('is restarted and counted; the envelope comes back and is counted once', async () => {
    makeWorld()
    await settleTwo()
    const answer = Promise.withResolvers<void>()
    let settles = 0
    const accounting = {
      ...world.accounting,
      async settle(...args: Parameters<typeof world.accounting.settle>): Promise<Settled[]> {
        settles += 1
        if (settles > 1) return world.accounting.settle(...args)
        await answer.promise
        return args[0].map(() => ({ fresh: 2 }))
      },
    }
    const life = superviseCollector({ accounting })
    await clock.pass(29_999)
    expect(childIn(life)).toMatchObject({ restarts: 0, oldestMessageMs: 29_999 })
    await clock.pass(1)
    const run = await inTime(100, async () => {
      const progress = await world.accounting.get('r-1')
      expect(progress?.run.state).toBe('completed')
      return progress?.run
    })
    expect(run?.counts).toMatchObject({ ok: 2, pending: 0 })
    const { restarts, lastError } = childIn(life)
    expect(restarts).toBe(1)
    expect(lastError).toMatch(/^results: message r-1\.\S+, received 30000 ms ago, .* progress for /)
    expect([settles, world.audit.lines.length]).toEqual([2, 2])
    // Whoever was given up and gets on after all leaves it at that.
    answer.resolve()
    await clock.settle()
    expect(world.audit.lines).toHaveLength(2)
    expect(life.errors).toEqual([])
  })

  test('is not hung as long as one step after the other is done', async () => {
    makeWorld()
    await settleTwo()
    const slowly = async <T>(act: () => Promise<T>): Promise<T> => {
      await clock.wait(20_000)
      return act()
    }
    const { accounting, audit, results } = world
    const life = superviseCollector({
      accounting: {
        ...accounting,
        settle: (settlements) => slowly(() => accounting.settle(settlements)),
        stored: (settlements) => slowly(() => accounting.stored(settlements)),
      },
      results: { ...results, put: (rows) => slowly(() => results.put(rows)) },
      audit: { append: (lines) => slowly(() => audit.append(lines)) },
    })
    await clock.pass(80_000)
    expect((await finished(world, 'r-1')).counts).toMatchObject({ ok: 2, pending: 0 })
    expect(childIn(life).restarts).toBe(0)
  })

  test('is left alone while Redis is away, and no longer', async () => {
    makeWorld()
    await settleTwo()
    let isAway = true
    const accounting = { ...world.accounting, settle: () => never<Settled[]>() }
    const life = superviseCollector({ accounting, isAway: () => isAway })
    await clock.pass(90_000)
    expect(childIn(life)).toMatchObject({ state: 'life.receiving,batch.collecting', restarts: 0 })
    isAway = false
    await clock.pass(30_000)
    await inTime(10, () => expect(childIn(life).restarts).toBe(1))
  })
})
