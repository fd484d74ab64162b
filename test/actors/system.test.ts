import { describe, expect, test } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import { ConflictError, UnavailableError, UsageError } from '../../actors/errors.ts'
import type { LogLevel } from '../../actors/ports.ts'
import type { SystemLog } from '../../actors/ports-system.ts'
import { type SystemOptions, system } from '../../actors/system.ts'
import { Throttle } from '../../actors/throttle.ts'
import type { SystemMove } from '../../machines/system.ts'
import type { Diagnosis, SystemFacts } from '../../machines/system-rules.ts'
import { memorySystemLog } from '../../runtime/memory/system.ts'
import { testClock } from '../kit/clock.ts'

const well: SystemFacts = { ailments: [], errors: 0, warnings: 0 }
const healthy: Diagnosis = { health: 1, findings: [] }

/** A log that can be out of reach. */
function outage(log: SystemLog) {
  let isAway = false
  const reached = async <T>(ask: () => Promise<T>): Promise<T> => {
    if (isAway) throw new UnavailableError('Redis is away')
    return ask()
  }
  const guarded: SystemLog = {
    append: (...args) => reached(() => log.append(...args)),
    order: () => reached(() => log.order()),
    snapshot: (node) => reached(() => log.snapshot(node)),
    history: (query) => reached(() => log.history(query)),
    watch: (listener) => reached(() => log.watch(listener)),
  }
  return {
    log: guarded,
    begin: () => {
      isAway = true
    },
    end: () => {
      isAway = false
    },
  }
}

async function nodeOn(log: SystemLog, more: Partial<SystemOptions> = {}) {
  const clock = testClock()
  const throttle = new Throttle()
  const audited: string[] = []
  const logged: [LogLevel, string][] = []
  const logs = (level: LogLevel) => (_: unknown, message: string) => logged.push([level, message])
  const seen = { facts: well }
  let ids = 0
  const made = system({
    node: 'a',
    systemLog: () => log,
    audit: async (line) => void audited.push(line),
    facts: () => seen.facts,
    diagnose: async () => healthy,
    throttle,
    hooks: [],
    isPublic: true,
    newId: () => {
      ids += 1
      return `${more.node ?? 'a'}-${ids}`
    },
    policy: {
      worsenMs: 3000,
      mendMs: 10_000,
      settleMs: 2000,
      bootMs: 30_000,
      reflectApartMs: 300_000,
    },
    clock,
    log: { debug: logs('debug'), info: logs('info'), warn: logs('warn'), error: logs('error') },
    tell: (to: AnyActorRef, event) => to.send(event),
    ...more,
  })
  const { logic, input } = made.spec()
  const actor = createActor(logic, { input, clock: clock.timers })
  actor.subscribe({ error: () => undefined })
  actor.start()
  await clock.settle()
  const steps = async () =>
    (await log.history({ limit: 100 })).toReversed().map(({ from, to }) => `${from} → ${to}`)
  return { made, actor, clock, throttle, audited, logged, seen, steps }
}

const refusalOf = (promise: Promise<unknown>) => promise.catch((error: unknown) => error)

describe('the state of the system', () => {
  test('a start is noted step by step, in Redis and in the audit log', async () => {
    const log = memorySystemLog()
    const { made, steps, audited, throttle, clock } = await nodeOn(log)
    expect(throttle.share).toBe(0.25)
    made.up()
    await clock.settle()
    expect(throttle.share).toBe(1)
    expect(await steps()).toEqual(['PAUSED → RECOVERY', 'RECOVERY → OPERATIONAL'])
    expect(audited.map((line) => JSON.parse(line).to)).toEqual(['RECOVERY', 'OPERATIONAL'])
    expect(await log.snapshot('a')).toMatchObject({ state: 'OPERATIONAL', actor: 'system' })
  })

  test("an operator's pause holds on every node and at the next start, until resumed", async () => {
    const log = memorySystemLog()
    const [one, two] = [await nodeOn(log, { node: 'a' }), await nodeOn(log, { node: 'b' })]
    one.made.up()
    two.made.up()
    await one.made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    expect(one.throttle.share).toBe(0)
    await two.clock.settle()
    expect(two.made.view).toMatchObject({ state: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    expect(two.throttle.share).toBe(0)
    const third = await nodeOn(log, { node: 'c' })
    third.made.up()
    await third.clock.pass(60_000)
    expect(third.made.view).toMatchObject({ state: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    await third.made.ask({ to: 'RECOVERY', reason: 'done', actor: 'bob' })
    for (const { made, clock } of [one, two, third]) {
      await clock.settle()
      expect(made.view).toMatchObject({ state: 'RECOVERY', reason: 'done', actor: 'bob' })
      await clock.pass(3000)
      expect(made.view.state).toBe('OPERATIONAL')
    }
  })

  test('a word that was lost is heard within some seconds', async () => {
    const log = memorySystemLog()
    const deaf: SystemLog = { ...log, watch: async () => async () => undefined }
    const { made, clock } = await nodeOn(deaf)
    made.up()
    const order = { isPaused: true, at: 1, reason: 'upgrade', actor: 'ada' }
    const snapshot = { state: 'PAUSED', since: 1, changedAt: 1, reason: 'x', actor: 'ada' } as const
    const entry = { id: 'x', at: 1, node: 'z', from: 'DEGRADED', to: 'PAUSED' } as const
    await log.append({ ...entry, reason: 'upgrade', actor: 'ada' }, snapshot, order)
    await clock.pass(6000)
    expect(made.view.state).toBe('PAUSED')
  })

  test('while paused, and not before or after, work is refused with the reason', async () => {
    const { made } = await nodeOn(memorySystemLog())
    made.up()
    expect(made.refusal()).toBeUndefined()
    await made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    expect(made.refusal()).toMatchObject({ reason: 'paused', retryAfterMs: 5000 })
    expect(made.refusal()?.message).toContain('ada: upgrade')
    await made.ask({ to: 'OPERATIONAL', reason: 'done', actor: 'ada' })
    expect(made.refusal()).toBeUndefined()
  })

  test('what is not allowed, or has no reason, is refused and noted nowhere', async () => {
    const log = memorySystemLog()
    const { made, steps } = await nodeOn(log)
    made.up()
    await made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    const before = await steps()
    const error = await refusalOf(made.ask({ to: 'REFLECTIVE', reason: 'why', actor: 'ada' }))
    expect(error).toBeInstanceOf(ConflictError)
    expect(error).toMatchObject({ code: 'ILLEGAL_TRANSITION' })
    expect(await refusalOf(made.ask({ to: 'RECOVERY', reason: ' ', actor: 'ada' }))).toBeInstanceOf(
      UsageError,
    )
    expect(await steps()).toEqual(before)
  })

  test('the same state again is noted as no change, and hooks do not hear of it', async () => {
    const log = memorySystemLog()
    const heard: SystemMove[] = []
    const { made } = await nodeOn(log, { hooks: [(move) => heard.push(move)] })
    made.up()
    const { since } = await made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    const again = await made.ask({ to: 'PAUSED', reason: 'again', actor: 'bob' })
    expect(again).toMatchObject({ noop: true, since, reason: 'upgrade' })
    expect(heard.map(({ to }) => to)).toEqual(['RECOVERY', 'OPERATIONAL', 'PAUSED'])
    const [entry] = await log.history({ limit: 1 })
    expect(entry).toMatchObject({ from: 'PAUSED', to: 'PAUSED', reason: 'again', noop: true })
    expect(await log.order()).toMatchObject({ reason: 'upgrade' })
  })

  test('a hook that fails undoes nothing, and the next one hears', async () => {
    const heard: string[] = []
    const broken = () => {
      throw new Error('broken')
    }
    const hooks = [broken, ({ to }: SystemMove) => heard.push(to)]
    const { made, logged } = await nodeOn(memorySystemLog(), { hooks })
    made.up()
    expect(made.view.state).toBe('OPERATIONAL')
    expect(heard).toEqual(['RECOVERY', 'OPERATIONAL'])
    expect(logged.filter(([level]) => level === 'warn').length).toBe(2)
  })

  test('what changes during an outage is noted after it, in order and once', async () => {
    const reach = outage(memorySystemLog())
    const { made, clock, seen, steps } = await nodeOn(reach.log)
    made.up()
    await clock.settle()
    reach.begin()
    seen.facts = { ...well, ailments: ['Redis is away'] }
    await clock.pass(6000)
    expect(made.view).toMatchObject({ state: 'DEGRADED', reason: 'Redis is away' })
    seen.facts = well
    await clock.pass(12_000)
    expect(made.view.state).toBe('OPERATIONAL')
    reach.end()
    await clock.pass(2000)
    expect(await steps()).toEqual([
      'PAUSED → RECOVERY',
      'RECOVERY → OPERATIONAL',
      'OPERATIONAL → DEGRADED',
      'DEGRADED → OPERATIONAL',
    ])
  })

  test('what cannot be told to all nodes is not done on one', async () => {
    const reach = outage(memorySystemLog())
    const { made, clock, throttle } = await nodeOn(reach.log)
    made.up()
    await clock.settle()
    reach.begin()
    const pause = { to: 'PAUSED', reason: 'upgrade', actor: 'ada' } as const
    expect(await refusalOf(made.ask(pause))).toBeInstanceOf(UnavailableError)
    expect([made.view.state, throttle.share]).toEqual(['OPERATIONAL', 1])
    // Of this node alone it can be.
    const view = await made.ask({ to: 'DEGRADED', reason: 'slowly', actor: 'ada' })
    expect(view.effect).toEqual({ admission: 0.5, concurrency: 0.5 })
  })

  test('with Redis away at its start it ends in DEGRADED, and hears of a pause later', async () => {
    const log = memorySystemLog()
    const paused = await nodeOn(log, { node: 'z' })
    await paused.made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    const reach = outage(log)
    reach.begin()
    const { made, clock, seen } = await nodeOn(reach.log)
    seen.facts = { ...well, ailments: ['Redis is away'] }
    made.up()
    expect(made.view.state).toBe('DEGRADED')
    reach.end()
    await clock.pass(6000)
    expect(made.view).toMatchObject({ state: 'PAUSED', reason: 'upgrade' })
  })

  test('it says at the next start how it was left', async () => {
    const log = memorySystemLog()
    const first = await nodeOn(log)
    first.made.up()
    await first.made.ask({ to: 'DEGRADED', reason: 'slow disk', actor: 'ada' })
    await nodeOn(log, { newId: () => 'next' })
    const [entry] = await log.history({ limit: 1 })
    expect(entry).toMatchObject({ id: 'next', to: 'RECOVERY' })
    expect(entry?.reason).toContain('DEGRADED when it last ran (slow disk)')
  })

  test('a node that nobody can find notes what it is asked, and nothing else', async () => {
    const log = memorySystemLog()
    const { made, steps } = await nodeOn(log, { isPublic: false })
    made.up()
    await made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    await made.ask({ to: 'RECOVERY', reason: 'done', actor: 'ada' })
    expect(await steps()).toEqual(['OPERATIONAL → PAUSED', 'PAUSED → RECOVERY'])
  })
})

describe('a node that reflects', () => {
  const reflecting = async (diagnose: SystemOptions['diagnose']) => {
    const it = await nodeOn(memorySystemLog(), { diagnose })
    it.made.up()
    it.seen.facts = { ...well, errors: 3 }
    await it.clock.pass(1000)
    return it
  }

  test('does so for errors in its log, at a quarter of its rate, and then leaves', async () => {
    const found = Promise.withResolvers<Diagnosis>()
    const { made, clock, throttle, steps } = await reflecting(() => found.promise)
    expect([made.view.state, throttle.share]).toEqual(['REFLECTIVE', 0.25])
    found.resolve(healthy)
    await clock.settle()
    expect([made.view.state, throttle.share]).toEqual(['OPERATIONAL', 1])
    expect(made.view.diagnosis).toEqual(healthy)
    expect((await steps()).slice(2)).toEqual([
      'OPERATIONAL → REFLECTIVE',
      'REFLECTIVE → OPERATIONAL',
    ])
  })

  test('names what makes it ill before what it could not ask', async () => {
    const asked = Promise.withResolvers<Diagnosis>()
    const { made, seen, clock } = await reflecting(() => asked.promise)
    seen.facts = { ...well, health: 0.2, because: 'event loop held by block for 9 s' }
    asked.reject(new Error('Redis did not answer within 1000 ms'))
    await clock.settle()
    expect(made.view.reason).toBe(
      'event loop held by block for 9 s; reflecting failed: Redis did not answer within 1000 ms',
    )
  })

  test('is DEGRADED when that fails, or takes too long', async () => {
    const failed = await reflecting(() => Promise.reject(new Error('blind')))
    expect(failed.made.view).toMatchObject({
      state: 'DEGRADED',
      reason: 'reflecting failed: blind',
    })
    let isAborted = false
    const late = await reflecting((signal) => {
      signal.addEventListener('abort', () => {
        isAborted = true
      })
      return new Promise(() => {})
    })
    await late.clock.pass(9000)
    expect(late.made.view.state).toBe('REFLECTIVE')
    await late.clock.pass(1000)
    expect(late.made.view.state).toBe('DEGRADED')
    expect(isAborted).toBe(true)
  })

  test('stops that when it is paused', async () => {
    let isAborted = false
    const { made } = await reflecting((signal) => {
      signal.addEventListener('abort', () => {
        isAborted = true
      })
      return new Promise(() => {})
    })
    await made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    expect([made.view.state, isAborted]).toEqual(['PAUSED', true])
  })
})

test('whether work is taken is said without working out how the node feels', async () => {
  let asked = 0
  const feels = () => {
    asked += 1
    return undefined
  }
  const { made, clock } = await nodeOn(memorySystemLog(), { feels })
  made.up()
  await clock.settle()
  expect([made.refusal(), asked]).toEqual([undefined, 0])
  expect([made.view.state, asked]).toEqual(['OPERATIONAL', 1])
})

describe('the time in each state', () => {
  test('adds up to the time since the start', async () => {
    const { made, clock } = await nodeOn(memorySystemLog())
    await clock.pass(2000)
    made.up()
    await clock.pass(5000)
    await made.ask({ to: 'PAUSED', reason: 'upgrade', actor: 'ada' })
    await clock.pass(3000)
    const spent = { PAUSED: 3000, RECOVERY: 2000, OPERATIONAL: 5000, DEGRADED: 0, REFLECTIVE: 0 }
    expect(made.spentMs()).toEqual(spent)
  })

  test('what a node that is not there does is nothing', async () => {
    const { made, actor, clock } = await nodeOn(memorySystemLog())
    actor.send({ type: 'stop' })
    await clock.settle()
    expect(made.view.effect).toEqual({ admission: 0, concurrency: 0 })
    const error = await refusalOf(made.ask({ to: 'PAUSED', reason: 'x', actor: 'ada' }))
    expect(error).toBeInstanceOf(UnavailableError)
  })
})
