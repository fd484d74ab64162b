import { describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, boolean, constantFrom, integer, record } from 'fast-check'
import { createActor, fromPromise } from 'xstate'
import type { Owned } from '../../machines/service.ts'
import { type SystemDiagnosed, type SystemMove, systemMachine } from '../../machines/system.ts'
import {
  afterReflection,
  type SystemFacts,
  type SystemPolicy,
  type SystemState,
  successorsOf,
  systemStates,
} from '../../machines/system-rules.ts'
import { explore } from '../kit/explore.ts'

const policy: SystemPolicy = {
  worsenMs: 3000,
  mendMs: 10_000,
  settleMs: 2000,
  bootMs: 30_000,
  reflectApartMs: 300_000,
}

const well: SystemFacts = { ailments: [], errors: 0, warnings: 0 }
const ill: SystemFacts = { ...well, ailments: ['Redis is away'] }

/** A node at work: its time passes as the test says. */
async function nodeAt(pause?: { reason: string; actor: string }) {
  const moves: SystemMove[] = []
  const acts: SystemState[] = []
  let at = 0
  const machine = systemMachine.provide({
    actors: {
      open: fromPromise(async () => ({ at, now: at, reason: 'boot', ...(pause && { pause }) })),
      close: fromPromise<void, Owned>(async () => {}),
      diagnose: fromPromise(() => new Promise<SystemDiagnosed>(() => {})),
    },
    actions: {
      act: (_, { to }) => acts.push(to),
      tellMove: (_, move) => moves.push(move),
      failDiagnosis: () => undefined,
    },
  })
  const actor = createActor(machine, { input: { policy, isUp: false } })
  actor.start()
  while (actor.getSnapshot().matches('starting')) await Promise.resolve()
  return {
    moves,
    acts,
    get state() {
      return actor.getSnapshot().value
    },
    get context() {
      return actor.getSnapshot().context
    },
    change(to: SystemState, reason = 'asked', isAsked = true) {
      actor.send({ type: 'state.change', to, reason, actor: 'ada', isAsked, at, now: at })
    },
    /** Looks once a second for so long. */
    see(facts: SystemFacts, ms: number) {
      for (let left = ms; left > 0; left -= 1000) {
        at += 1000
        actor.send({ type: 'looked', facts, at, now: at })
      }
    },
    up: (facts = well) => actor.send({ type: 'up', facts, at, now: at }),
  }
}

type It = Awaited<ReturnType<typeof nodeAt>>

/** How a node is brought into each state. */
const ways: Record<SystemState, (it: It) => void> = {
  PAUSED: (it) => it.change('PAUSED'),
  RECOVERY: (it) => it.change('RECOVERY'),
  OPERATIONAL: () => undefined,
  DEGRADED: (it) => it.change('DEGRADED'),
  REFLECTIVE: (it) => it.change('REFLECTIVE'),
}

async function operational(): Promise<It> {
  const it = await nodeAt()
  it.up()
  return it
}

describe('system machine', () => {
  test('of the 25 pairs 17 are transitions, 5 change nothing and 3 are forbidden', async () => {
    const forbidden: string[] = []
    let allowed = 0
    for (const from of systemStates) {
      for (const to of systemStates) {
        const it = await operational()
        ways[from](it)
        expect(it.state).toBe(from)
        const before = it.moves.length
        it.change(to, 'because')
        const moved = it.moves.slice(before)
        if (moved.length === 0) {
          expect(it.state).toBe(from)
          forbidden.push(`${from} → ${to}`)
          continue
        }
        expect(it.state).toBe(to)
        expect(moved).toMatchObject([{ from, to, reason: 'because', isNoop: from === to }])
        if (from !== to) allowed += 1
      }
    }
    expect(allowed).toBe(17)
    expect(forbidden).toEqual(['PAUSED → DEGRADED', 'PAUSED → REFLECTIVE', 'RECOVERY → REFLECTIVE'])
    expect(systemStates.flatMap((from) => successorsOf(from)).length).toBe(17)
  })

  test('without a reason nothing changes', async () => {
    const it = await operational()
    for (const reason of ['', '  ', '\n']) it.change('PAUSED', reason)
    expect(it.state).toBe('OPERATIONAL')
    expect(it.moves.length).toBe(2)
  })

  test('the same state again notes the time of it, and leaves since when and why', async () => {
    const it = await operational()
    it.change('PAUSED', 'upgrade')
    it.see(well, 5000)
    it.change('PAUSED', 'again')
    expect(it.context).toMatchObject({ since: 0, reason: 'upgrade', changedAt: 5000 })
    expect(it.acts.at(-1)).toBe('PAUSED')
    expect(it.acts.filter((state) => state === 'PAUSED').length).toBe(2)
  })

  test('a node begins PAUSED, recovers while it comes up, and then is OPERATIONAL', async () => {
    const it = await nodeAt()
    expect(it.acts).toEqual(['PAUSED', 'RECOVERY'])
    it.see(well, 5000)
    expect(it.state).toBe('RECOVERY')
    it.up()
    expect(it.state).toBe('OPERATIONAL')
  })

  test('with something down a start ends in DEGRADED, and so does a slow one', async () => {
    const broken = await nodeAt()
    broken.up(ill)
    expect(broken.state).toBe('DEGRADED')
    const slow = await nodeAt()
    slow.see(well, 29_000)
    expect(slow.state).toBe('RECOVERY')
    slow.see(well, 1000)
    expect(slow.state).toBe('DEGRADED')
    slow.see(well, 11_000)
    expect(slow.state).toBe('OPERATIONAL')
  })

  test('a node that boots into a pause stays paused whatever it sees', async () => {
    const it = await nodeAt({ reason: 'upgrade', actor: 'ada' })
    it.up()
    it.see(well, 60_000)
    it.see(ill, 60_000)
    expect(it.state).toBe('PAUSED')
    expect(it.moves).toEqual([])
    expect(it.context).toMatchObject({ reason: 'upgrade', actor: 'ada' })
    it.change('RECOVERY')
    it.see(well, 3000)
    expect(it.state).toBe('OPERATIONAL')
  })

  test('what is wrong for 3 s degrades, and what is well for 10 s mends', async () => {
    const it = await operational()
    it.see(ill, 3000)
    expect(it.state).toBe('OPERATIONAL')
    it.see(ill, 1000)
    expect(it.state).toBe('DEGRADED')
    expect(it.context.reason).toBe('Redis is away')
    it.see(well, 10_000)
    expect(it.state).toBe('DEGRADED')
    it.see(well, 1000)
    expect(it.state).toBe('OPERATIONAL')
  })

  test('a DEGRADED that somebody asked for stays until somebody asks again', async () => {
    const it = await operational()
    it.change('DEGRADED', 'slowly, please')
    it.see({ ...well, errors: 9 }, 600_000)
    expect(it.state).toBe('DEGRADED')
    it.change('OPERATIONAL')
    expect(it.state).toBe('OPERATIONAL')
    // One that the node chose becomes one that is wanted.
    it.see(ill, 5000)
    it.change('DEGRADED')
    it.see(well, 60_000)
    expect(it.state).toBe('DEGRADED')
  })

  test.each([
    ['3 errors', { ...well, errors: 3 }, { ...well, errors: 2 }],
    ['10 warnings', { ...well, warnings: 10 }, { ...well, warnings: 9 }],
    ['health below 0.7', { ...well, health: 0.69 }, { ...well, health: 0.7 }],
  ])('%s make it reflect, and less does not', async (_, facts, less) => {
    const it = await operational()
    it.see(less, 20_000)
    expect(it.state).toBe('OPERATIONAL')
    it.see(facts, 4000)
    expect(it.state).toBe('REFLECTIVE')
  })

  test('what a degraded node logs does not make it reflect, and its health does', async () => {
    const it = await operational()
    it.see(ill, 5000)
    it.see({ ...well, errors: 50, warnings: 50 }, 5000)
    expect(it.state).toBe('DEGRADED')
    it.see({ ...well, health: 0.6 }, 5000)
    expect(it.state).toBe('REFLECTIVE')
  })

  test('it does not reflect again for the same within 5 minutes', async () => {
    const it = await operational()
    const noisy = { ...well, errors: 5 }
    it.see(noisy, 1000)
    it.change('OPERATIONAL', 'reflected', false)
    it.see(noisy, 299_000)
    expect(it.state).toBe('OPERATIONAL')
    it.see(noisy, 1000)
    expect(it.state).toBe('REFLECTIVE')
  })

  test('it leaves a reflection by what that found', () => {
    const critical = { severity: 'critical', what: 'eviction' } as const
    const ends = [
      afterReflection({ health: 0.91, findings: [] }),
      afterReflection({ health: 1, findings: [critical] }),
      afterReflection({ health: 0.9, findings: [] }),
      afterReflection({ health: 0.71, findings: [] }),
      afterReflection({ health: 0.7, findings: [] }),
    ]
    expect(ends.map(({ to }) => to)).toEqual([
      'OPERATIONAL',
      'DEGRADED',
      'DEGRADED',
      'DEGRADED',
      'RECOVERY',
    ])
    expect(ends[1]?.reason).toContain('eviction')
  })
})

describe('system machine, played', () => {
  test('an input that changes all the time does not change the state', async () => {
    const it = await operational()
    for (let round = 0; round < 500; round += 1) {
      it.see(ill, 2000)
      it.see(well, 1000)
    }
    expect(it.state).toBe('OPERATIONAL')
    // A node that is degraded is not well for moments between.
    it.see(ill, 5000)
    const before = it.moves.length
    for (let round = 0; round < 100; round += 1) {
      it.see(well, 9000)
      it.see(ill, 1000)
    }
    expect(it.moves.length).toBe(before)
  })

  test('whatever it sees, it moves seldom, by allowed transitions, and says why', async () => {
    const facts = record({
      ailments: constantFrom<string[]>([], ['Redis is away'], ['collector is waiting']),
      errors: integer({ min: 0, max: 4 }),
      warnings: integer({ min: 0, max: 12 }),
      isLow: boolean(),
      ms: integer({ min: 1000, max: 20_000 }),
    })
    await assert(
      asyncProperty(array(facts, { maxLength: 60 }), async (seen) => {
        const it = await operational()
        let spentMs = 0
        for (const { ms, isLow, ...rest } of seen) {
          it.see({ ...rest, ...(isLow ? { health: 0.5 } : {}) }, ms)
          spentMs += Math.ceil(ms / 1000) * 1000
          // Reflecting takes a moment.
          if (it.state === 'REFLECTIVE') it.change('DEGRADED', 'reflected', false)
        }
        const moves = it.moves.slice(2)
        const perCycleMs = policy.worsenMs + policy.mendMs
        const reflections = 2 * (spentMs / policy.reflectApartMs + 1)
        // Each reflection may end in a DEGRADED that mends once more.
        const most = 2 * (spentMs / perCycleMs + 1) + 2 * reflections
        expect(moves.length).toBeLessThanOrEqual(most)
        for (const { from, to, reason } of moves) {
          expect(successorsOf(from)).toContain(to)
          expect(reason.trim()).not.toBe('')
        }
      }),
      { numRuns: 100 },
    )
  })
})

describe('system machine, explored', () => {
  const time = { at: 60_000, now: 60_000 }
  const exploration = explore(systemMachine, {
    input: { policy, isUp: true },
    keyOf: ({ value }) => JSON.stringify(value),
    events: [
      { type: 'stop' },
      ...systemStates.map((to) => ({
        type: 'state.change',
        to,
        reason: 'asked',
        actor: 'ada',
        isAsked: true,
        ...time,
      })),
      { type: 'looked', facts: well, ...time },
      { type: 'up', facts: well, ...time },
      { type: 'xstate.done.actor.0.system.starting', output: { reason: 'boot', ...time } },
      {
        type: 'xstate.done.actor.0.system.REFLECTIVE',
        output: { diagnosis: { health: 1, findings: [] }, ...time },
      },
      { type: 'xstate.error.actor.0.system.REFLECTIVE', error: new Error('blind') },
      { type: 'xstate.error.actor.0.system.starting', error: new Error('broken') },
      { type: 'xstate.done.actor.0.system.stopping' },
      { type: 'xstate.error.actor.0.system.stopping', error: new Error('broken') },
    ],
  })

  test('every state is reached, and every state leads to an end', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.deadEnds()).toEqual([])
  })

  test('it is ready in each of its five states and nowhere else', () => {
    for (const snapshot of exploration.snapshots) {
      const isState = (systemStates as readonly unknown[]).includes(snapshot.value)
      expect(snapshot.hasTag('ready')).toBe(isState)
    }
  })
})
