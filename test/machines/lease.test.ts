import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, integer, property, record } from 'fast-check'
import {
  type AnyMachineSnapshot,
  createActor,
  type EventFromLogic,
  fromCallback,
  fromPromise,
} from 'xstate'
import {
  type AcquireReply,
  type HeldGrant,
  type LeaseContext,
  type LeaseNews,
  leaseMachine,
  type Moment,
  ownerOf,
  type RenewReply,
} from '../../machines/lease.ts'
import {
  checkLeaseTimes,
  type LeaseTimes,
  leaseMarginMs,
  renewDeadlineMs,
} from '../../machines/lease-times.ts'
import { type ExploredEvent, explore } from '../kit/explore.ts'

const times: LeaseTimes = { ttlMs: 1500, renewMs: 500, operationTimeoutMs: 300 }
const input = { name: 'a', contender: 'node/boot/1', times }

type LeaseMachineEvent = EventFromLogic<typeof leaseMachine>

const done = (id: string, output: object): ExploredEvent => {
  return { type: `xstate.done.actor.${id}`, output }
}

describe('times of a lease', () => {
  test('the defaults and the profile of the tests are in order', () => {
    for (const [ttlMs, renewMs, operationTimeoutMs] of [
      [10_000, 3333, 1000],
      [1750, 500, 300],
    ] as const) {
      expect(checkLeaseTimes({ ttlMs, renewMs, operationTimeoutMs })).toBeUndefined()
    }
  })

  test('a contradiction is named, with what was expected and what came', () => {
    expect(checkLeaseTimes({ ...times, ttlMs: 0 })).toBe(
      'ttlMs: expected a number of milliseconds above 0 that a timer can hold, got 0',
    )
    expect(checkLeaseTimes({ ...times, ttlMs: 900 })).toStartWith(
      'renewMs: expected less than 5/9 of ttlMs (900)',
    )
    expect(checkLeaseTimes({ ...times, operationTimeoutMs: 500 })).toStartWith(
      'operationTimeoutMs: expected less than a third of ttlMs (1500)',
    )
    expect(checkLeaseTimes({ ...times, operationTimeoutMs: Number.NaN })).toEndWith('got NaN')
  })

  test('whatever passes leaves time to renew twice as late, to answer and to stop', () => {
    const milliseconds = integer({ min: 1, max: 100_000 })
    const any = record({
      ttlMs: milliseconds,
      renewMs: milliseconds,
      operationTimeoutMs: milliseconds,
    })
    assert(
      property(any, (given) => {
        const { ttlMs, renewMs, operationTimeoutMs } = given
        const passes =
          renewMs * 1.2 < renewDeadlineMs(ttlMs) &&
          renewDeadlineMs(ttlMs) < ttlMs - operationTimeoutMs
        expect(checkLeaseTimes(given) === undefined).toBe(passes)
        expect(renewDeadlineMs(ttlMs)).toBeLessThan(ttlMs - leaseMarginMs(ttlMs))
        expect(leaseMarginMs(ttlMs)).toBeGreaterThanOrEqual(ttlMs / 100)
      }),
    )
  })
})

describe('a lease, explored', () => {
  const moments: Moment[] = [0, 999, 1000, 1349, 1350].map((at) => ({ at, random: 0.5 }))
  const replies = (id: string, words: readonly object[]) =>
    moments.flatMap((moment) =>
      words.map((word) => done(id, { ...moment, sentAt: moment.at === 0 ? 0 : 900, ...word })),
    )
  const found = explore(leaseMachine, {
    input,
    events: [
      { type: 'lease.watched' },
      { type: 'stop' },
      { type: 'service.failed', error: new Error('no channel') },
      ...['lease.freed', 'lease.checked'].flatMap((type) =>
        moments.map(({ at, random }) => ({ type, at, random })),
      ),
      ...['wait', 'deadline', 'rest', 'release'].flatMap((id) =>
        moments.map((moment) => done(id, moment)),
      ),
      ...replies('renew', [{ reply: 'renewed' }, { reply: 'refused' }, { reply: 'none' }]),
      ...replies('acquire', [
        { reply: 'granted', epoch: 7 },
        { reply: 'denied', heldForMs: 100 },
        { reply: 'none' },
      ]),
      done('acquire', { at: 2400, random: 0, sentAt: 0, reply: 'granted', epoch: 7 }),
    ],
    keyOf: ({ value, context }) => {
      const { attempt, leaving, holding } = context as LeaseContext
      return JSON.stringify([value, attempt, leaving, holding])
    },
    isBeyond: ({ context }) => context['attempt'] > 3,
  })
  const contextOf = ({ context }: AnyMachineSnapshot) => context as LeaseContext

  test('every state is reached, and every transition taken', () => {
    expect(found.reached).toEqual(found.declared)
    expect(found.takenTransitions).toEqual(found.declaredTransitions)
  })

  test('from everywhere it comes to an end', () => {
    expect(found.deadEnds()).toEqual([])
  })

  test('who holds knows his grant; who waits or acquires has none', () => {
    for (const snapshot of found.snapshots) {
      const holds = snapshot.matches('held') || snapshot.matches('releasing')
      if (snapshot.status !== 'active') continue
      expect(contextOf(snapshot).holding !== undefined).toBe(holds)
      expect(snapshot.hasTag('held')).toBe(snapshot.matches('held'))
      expect(snapshot.hasTag('ready')).toBe(
        !snapshot.matches('starting') && !snapshot.matches('releasing'),
      )
    }
  })

  test('no event that comes at or after the renew deadline leaves it held', () => {
    let late = 0
    for (const { event, from, to } of found.steps) {
      const { holding } = contextOf(from)
      const { at } = ('output' in event ? event.output : event) as Partial<Moment>
      if (!from.matches('held') || at === undefined || holding === undefined) continue
      const isHeard = from.can(event)
      if (!isHeard || at < holding.renewBy) continue
      late += 1
      expect(to.matches('waiting')).toBe(true)
    }
    expect(late).toBeGreaterThan(10)
  })

  test('every loss makes it somebody else', () => {
    for (const { from, to } of found.steps) {
      const isLost = from.matches('held') && to.matches('waiting')
      expect(contextOf(to).attempt - contextOf(from).attempt).toBe(isLost ? 1 : 0)
    }
  })
})

/** What the world may say, by what is awaited of it; `stray` comes at any time. */
const words = {
  waiting: ['wait', 'freed'],
  acquiring: ['granted', 'granted', 'granted', 'denied', 'unanswered', 'freed'],
  resting: ['rest', 'rest', 'rest', 'freed', 'deadline'],
  renewing: ['renewed', 'renewed', 'renewed', 'refused', 'silent', 'freed', 'deadline'],
  stray: ['wait', 'rest', 'deadline', 'granted', 'renewed', 'refused', 'freed'],
} as const

const moves = array(
  record({
    word: integer({ min: 0, max: 1000 }),
    isStray: constantFrom(false, false, false, false, false, true),
    // Most of the time little; now and then everything stood still.
    ms: constantFrom(0, 1, 10, 10, 100, 100, 300, 400, 500, 999, 1000, 2000),
  }),
  { minLength: 10, maxLength: 60 },
)

const never = new Promise<never>(() => undefined)
const endless = <Input>() => fromPromise<Moment, Input>(() => never)

/** A machine whose operations never end by themselves, and what it asked for and emitted. */
function begin() {
  const world = { at: 0, sentAt: 0 }
  const renewed: string[] = []
  const acquired: string[] = []
  const news: LeaseNews[] = []
  const actor = createActor(
    leaseMachine.provide({
      actors: {
        notices: fromCallback(() => undefined),
        acquire: fromPromise<AcquireReply, { name: string; owner: string; ttlMs: number }>(
          ({ input: { owner } }) => {
            acquired.push(owner)
            world.sentAt = world.at
            return never
          },
        ),
        renew: fromPromise<RenewReply, { grant: HeldGrant; ttlMs: number }>(
          ({ input: { grant } }) => {
            renewed.push(grant.owner)
            world.sentAt = world.at
            return never
          },
        ),
        release: endless(),
        sleep: endless(),
      },
    }),
    { input },
  )
  actor.on('*', (emitted) => news.push(emitted))
  actor.start()
  actor.send({ type: 'lease.watched' })
  return { actor, acquired, renewed, news, world }
}

type Game = ReturnType<typeof begin>

function awaitedBy({ actor }: Game): Exclude<keyof typeof words, 'stray'> {
  const snapshot = actor.getSnapshot()
  if (snapshot.matches('waiting')) return 'waiting'
  if (snapshot.matches('acquiring')) return 'acquiring'
  return snapshot.matches({ held: { renewal: 'resting' } }) ? 'resting' : 'renewing'
}

/** Plays many games and looks after every move. */
function play(look: (game: Game, at: number, was: LeaseContext) => void): Record<string, number> {
  const heard: Record<string, number> = {}
  assert(
    property(moves, (list) => {
      const game = begin()
      const { actor, world } = game
      let epoch = 0
      for (const { word, isStray, ms } of list) {
        world.at += ms
        const moment = { at: world.at, random: 0.5 }
        const answer = { ...moment, sentAt: world.sentAt }
        epoch += 1
        const events: Record<(typeof words)[keyof typeof words][number], ExploredEvent> = {
          granted: done('acquire', { ...answer, reply: 'granted', epoch }),
          denied: done('acquire', { ...answer, reply: 'denied', heldForMs: 100 }),
          unanswered: done('acquire', { ...answer, reply: 'none' }),
          renewed: done('renew', { ...answer, reply: 'renewed' }),
          refused: done('renew', { ...answer, reply: 'refused' }),
          silent: done('renew', { ...answer, reply: 'none' }),
          wait: done('wait', moment),
          rest: done('rest', moment),
          deadline: done('deadline', moment),
          freed: { type: 'lease.freed', ...moment },
        }
        const awaited = awaitedBy(game)
        const choice = words[isStray ? 'stray' : awaited]
        const verb = choice[word % choice.length] ?? 'freed'
        const was = actor.getSnapshot().context
        const canHear = actor.getSnapshot().can(events[verb] as LeaseMachineEvent)
        actor.send(events[verb] as LeaseMachineEvent)
        // A holder asks before every effect; what it has not heard it cannot know before.
        if (!canHear) actor.send({ type: 'lease.checked', ...moment })
        heard[`${awaited} ${verb}`] = (heard[`${awaited} ${verb}`] ?? 0) + 1
        look(game, world.at, was)
      }
      actor.stop()
    }),
    { numRuns: 300 },
  )
  return heard
}

describe('a lease under random events', () => {
  test('it is never held past its validity, which begins before the command left', () => {
    play(({ actor }, at) => {
      const { holding } = actor.getSnapshot().context
      if (!actor.getSnapshot().hasTag('held')) return
      expect(at).toBeLessThan(holding?.renewBy ?? 0)
      expect(holding?.validUntil).toBeLessThanOrEqual(at + times.ttlMs - leaseMarginMs(times.ttlMs))
    })
  })

  test('validity only grows while it is held', () => {
    const heard = play(({ actor }, _, { holding: before }) => {
      const { holding } = actor.getSnapshot().context
      if (before === undefined || before.grant !== holding?.grant) return
      expect(holding.validUntil).toBeGreaterThanOrEqual(before.validUntil)
    })
    expect(heard['renewing renewed']).toBeGreaterThan(50)
  })

  test('held and lost take turns, and no owner holds it twice', () => {
    play(({ news, actor }) => {
      const turns = news.filter(({ type }) => type !== 'lease.renewed')
      turns.forEach(({ type, grant }, index) => {
        expect(type).toBe(index % 2 === 0 ? 'lease.held' : 'lease.lost')
        if (type === 'lease.lost') expect(grant).toEqual(turns[index - 1]?.grant as typeof grant)
      })
      const owners = turns
        .filter(({ type }) => type === 'lease.held')
        .map(({ grant }) => grant.owner)
      expect(new Set(owners).size).toBe(owners.length)
      expect(turns.length % 2 === 1).toBe(actor.getSnapshot().hasTag('held'))
    })
  })

  test('what is lost is neither renewed nor asked for again', () => {
    play(({ news, renewed, acquired, actor }) => {
      const lost = news.filter(({ type }) => type === 'lease.lost').map(({ grant }) => grant.owner)
      const now = ownerOf(actor.getSnapshot().context)
      expect(lost).not.toContain(now)
      // Attempts are in order: once a later one has begun, no earlier one is heard of any more.
      for (const asked of [renewed, acquired]) expect(asked).toEqual(asked.toSorted(byAttempt))
    })
  })
})

function byAttempt(one: string, other: string): number {
  return Number(one.split('.')[1]) - Number(other.split('.')[1])
}
