import { describe, expect, test } from 'bun:test'
import { array, assert, boolean, constant, integer, oneof, property, record } from 'fast-check'
import { createActor, fromPromise } from 'xstate'
import type { BucketPolicy } from '../../machines/bucket.ts'
import { dispatcherMachine } from '../../machines/dispatcher.ts'
import type { Owned } from '../../machines/service.ts'
import { eventually } from '../kit/eventually.ts'
import { explore } from '../kit/explore.ts'

const policy = { rate: 1000, burst: 100 }

const exploration = explore(dispatcherMachine, {
  input: { bucket: policy, inFlightMax: 10, at: 0 },
  events: [
    { type: 'stop' },
    { type: 'tasks.offered', offer: { id: 1, tasks: 5 }, at: 0 },
    { type: 'offer.withdrawn', id: 1, at: 0 },
    { type: 'tasks.settled', tasks: 5, at: 0 },
    { type: 'tokens.due', at: 0 },
    { type: 'headroom.changed', isScarce: true, at: 0 },
    { type: 'storm.changed', isStorm: true, at: 0 },
    { type: 'share.changed', share: 0.5, at: 0 },
    { type: 'intake.closed' },
    { type: 'xstate.error.actor.r-1' },
    { type: 'xstate.done.actor.0.dispatcher.starting' },
    { type: 'xstate.done.actor.0.dispatcher.stopping' },
    { type: 'xstate.error.actor.0.dispatcher.starting' },
    { type: 'xstate.error.actor.0.dispatcher.stopping' },
  ],
  keyOf: ({ value }) => JSON.stringify(value),
})

describe('dispatcher machine, explored', () => {
  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('every state leads to an end', () => {
    expect(exploration.deadEnds()).toEqual([])
  })

  test('once closed, its intake never opens again', () => {
    const reopened = exploration.steps.filter(
      ({ from, to }) => from.value === 'draining' && to.hasTag('accepting'),
    )
    expect(reopened).toEqual([])
  })
})

/** A dispatcher that writes down what it grants, on a time that the test moves. */
function begin(bucket: BucketPolicy, inFlightMax: number) {
  const granted: { id: number; at: number }[] = []
  let at = 0
  let dueAt: number | undefined
  const asked: number[] = []
  const actor = createActor(
    dispatcherMachine.provide({
      actors: { open: fromPromise<void, Owned>(async () => {}) },
      actions: {
        grant: (_, { id }) => granted.push({ id, at }),
        awaitTokens: (_, { ms }) => {
          asked.push(ms)
          dueAt = Number.isFinite(ms) ? at + ms : undefined
        },
      },
    }),
    { input: { bucket, inFlightMax, at } },
  )
  actor.start()
  return {
    granted,
    asked,
    context: () => actor.getSnapshot().context,
    offer: (id: number, tasks: number) =>
      actor.send({ type: 'tasks.offered', offer: { id, tasks }, at }),
    withdraw: (id: number) => actor.send({ type: 'offer.withdrawn', id, at }),
    settle: (tasks: number) => actor.send({ type: 'tasks.settled', tasks, at }),
    headroom: (isScarce: boolean) => actor.send({ type: 'headroom.changed', isScarce, at }),
    storm: (isStorm: boolean) => actor.send({ type: 'storm.changed', isStorm, at }),
    share: (share: number) => actor.send({ type: 'share.changed', share, at }),
    /** Moves time on; tokens that fall due meanwhile are announced at their time. */
    pass(ms: number) {
      const until = at + ms
      while (dueAt !== undefined && dueAt <= until) {
        at = dueAt
        dueAt = undefined
        actor.send({ type: 'tokens.due', at })
      }
      at = until
    },
    now: () => at,
  }
}

test('a dispatcher that cannot be opened or closed fails with the reason', async () => {
  const reason = new Error('Redis is away')
  const refuse = fromPromise<void, Owned>(() => Promise.reject(reason))
  const open = fromPromise<void, Owned>(async () => {})
  for (const actors of [{ open: refuse }, { open, close: refuse }]) {
    const errors: unknown[] = []
    const input = { bucket: policy, inFlightMax: 10, at: 0 }
    const actor = createActor(dispatcherMachine.provide({ actors }), { input })
    actor.subscribe({ error: (error) => errors.push(error) })
    actor.start()
    if ('close' in actors) actor.send({ type: 'stop' })
    await eventually(() => expect(errors).toEqual([reason]))
  }
})

const ids = (granted: readonly { id: number }[]) => granted.map(({ id }) => id)

describe('dispatcher machine', () => {
  test('it grants what the bucket holds at once, and the rest when the tokens are there', () => {
    const it = begin({ rate: 1000, burst: 100 }, 1000)
    it.offer(1, 80)
    it.offer(2, 80)
    expect([ids(it.granted), it.asked]).toEqual([[1], [60]])
    it.pass(59)
    expect(ids(it.granted)).toEqual([1])
    it.pass(1)
    expect(ids(it.granted)).toEqual([1, 2])
    expect(it.context().bucket.tokens).toBeCloseTo(0, 6)
  })

  test('an offer larger than the burst waits for a full bucket and goes into debt', () => {
    const it = begin({ rate: 1000, burst: 100 }, 10_000)
    it.offer(1, 250)
    it.offer(2, 1)
    expect([ids(it.granted), it.context().bucket.tokens]).toEqual([[1], -150])
    it.pass(150)
    expect(ids(it.granted)).toEqual([1])
    it.pass(1)
    expect(ids(it.granted)).toEqual([1, 2])
  })

  test('while memory is scarce offers go out alone, and together again afterwards', () => {
    const it = begin({ rate: 0, burst: 1000 }, 100)
    it.headroom(true)
    for (const id of [1, 2, 3, 4]) it.offer(id, 5)
    expect(ids(it.granted)).toEqual([1])
    it.settle(4)
    expect(ids(it.granted)).toEqual([1])
    it.settle(1)
    expect(ids(it.granted)).toEqual([1, 2])
    it.headroom(false)
    expect(ids(it.granted)).toEqual([1, 2, 3, 4])
  })

  test('in a storm a quarter of the bound may be in flight, and all of it afterwards', () => {
    const it = begin({ rate: 0, burst: 1000 }, 100)
    it.storm(true)
    for (const id of [1, 2, 3, 4]) it.offer(id, 10)
    expect(ids(it.granted)).toEqual([1, 2])
    it.settle(10)
    expect(ids(it.granted)).toEqual([1, 2, 3])
    it.storm(false)
    expect(ids(it.granted)).toEqual([1, 2, 3, 4])
  })

  test('with half the share half of the burst is there, and comes back at half the rate', () => {
    const it = begin({ rate: 1000, burst: 100 }, 10_000)
    it.share(0.5)
    it.offer(1, 50)
    it.offer(2, 50)
    expect(ids(it.granted)).toEqual([1])
    it.pass(99)
    expect(ids(it.granted)).toEqual([1])
    it.pass(1)
    expect(ids(it.granted)).toEqual([1, 2])
    it.share(1)
    it.offer(3, 50)
    it.pass(49)
    expect(ids(it.granted)).toEqual([1, 2])
    it.pass(1)
    expect(ids(it.granted)).toEqual([1, 2, 3])
  })

  test('with no share nothing goes out, however long it waits, and then all in order', () => {
    const it = begin({ rate: 1000, burst: 100 }, 10_000)
    it.share(0)
    for (const id of [1, 2]) it.offer(id, 10)
    it.settle(5)
    it.pass(60_000)
    expect(it.granted).toEqual([])
    // Nothing of what it held is lost by that.
    it.share(1)
    expect(ids(it.granted)).toEqual([1, 2])
  })

  test('an offer larger than the bound on tasks in flight goes alone', () => {
    const it = begin({ rate: 0, burst: 1000 }, 10)
    it.offer(1, 5)
    it.offer(2, 50)
    it.offer(3, 1)
    expect(ids(it.granted)).toEqual([1])
    it.settle(5)
    expect([ids(it.granted), it.context().inFlight]).toEqual([[1, 2], 50])
    it.settle(49)
    expect([ids(it.granted), it.context().inFlight]).toEqual([[1, 2, 3], 2])
  })

  test('a small offer does not overtake a large one that waits', () => {
    const it = begin({ rate: 0, burst: 1000 }, 10)
    it.offer(1, 8)
    it.offer(2, 5)
    it.offer(3, 1)
    expect(ids(it.granted)).toEqual([1])
    it.settle(8)
    expect(ids(it.granted)).toEqual([1, 2, 3])
  })

  test('an offer that is withdrawn lets the next one through, and is never granted', () => {
    const it = begin({ rate: 0, burst: 1000 }, 10)
    it.offer(1, 8)
    it.offer(2, 5)
    it.offer(3, 2)
    it.withdraw(2)
    expect(ids(it.granted)).toEqual([1, 3])
    it.settle(10)
    expect(ids(it.granted)).toEqual([1, 3])
  })

  test('with rate 0 it gives out its burst and then waits for ever', () => {
    const it = begin({ rate: 0, burst: 3 }, 1000)
    for (let id = 1; id <= 5; id += 1) it.offer(id, 1)
    it.pass(1_000_000)
    expect(ids(it.granted)).toEqual([1, 2, 3])
    expect(it.asked.every((ms) => ms === Number.POSITIVE_INFINITY)).toBe(true)
  })

  test('tasks that were dispatched elsewhere count as in flight, and never less than none', () => {
    const it = begin({ rate: 0, burst: 1000 }, 10)
    it.settle(-8)
    it.offer(1, 5)
    expect([ids(it.granted), it.context().inFlight]).toEqual([[], 8])
    it.settle(100)
    expect([ids(it.granted), it.context().inFlight]).toEqual([[1], 5])
  })
})

type Move = { offer: number } | { settle: number } | { pass: number } | { withdraw: number }

const moves = array(
  oneof(
    record({ offer: integer({ min: 1, max: 40 }) }),
    record({ settle: integer({ min: 1, max: 40 }) }),
    record({ pass: integer({ min: 0, max: 500 }) }),
    record({ withdraw: integer({ min: 1, max: 30 }) }),
  ) as ReturnType<typeof constant<Move>>,
  { maxLength: 60 },
)
const bounds = record({
  rate: integer({ min: 1, max: 2000 }),
  burst: integer({ min: 1, max: 60 }),
  inFlightMax: integer({ min: 1, max: 60 }),
})

/** What a dispatcher did with random offers, checked as it goes. */
function play({ rate, burst, inFlightMax }: BucketPolicy & { inFlightMax: number }, all: Move[]) {
  const it = begin({ rate, burst }, inFlightMax)
  const sizes = new Map<number, number>()
  const withdrawn = new Set<number>()
  let seen = 0
  let inFlight = 0
  let spent = 0
  const check = () => {
    for (const { id } of it.granted.slice(seen)) {
      const size = sizes.get(id) ?? 0
      if (inFlight > 0) expect(inFlight + size).toBeLessThanOrEqual(inFlightMax)
      // An offer larger than the burst pays the burst and leaves the rest as a debt.
      const earned = burst + (it.now() * rate) / 1000
      expect(spent + Math.min(size, burst)).toBeLessThanOrEqual(earned + 1e-6)
      expect(withdrawn.has(id)).toBe(false)
      inFlight += size
      spent += size
    }
    seen = it.granted.length
    expect(it.context().inFlight).toBe(inFlight)
    expect(it.context().bucket.tokens).toBeLessThanOrEqual(burst)
  }
  const apply = (move: Move) => {
    if ('offer' in move) {
      const id = sizes.size + 1
      sizes.set(id, move.offer)
      it.offer(id, move.offer)
    } else if ('settle' in move) {
      const settled = Math.min(move.settle, inFlight)
      inFlight -= settled
      it.settle(settled)
    } else if ('pass' in move) {
      for (let ms = 0; ms < move.pass; ms += 1) {
        it.pass(1)
        check()
      }
    } else if (!ids(it.granted).includes(move.withdraw) && sizes.has(move.withdraw)) {
      withdrawn.add(move.withdraw)
      it.withdraw(move.withdraw)
    }
    check()
  }
  for (const move of all) apply(move)
  return { it, sizes, withdrawn, apply, inFlight: () => inFlight }
}

describe('dispatcher machine, played', () => {
  test('it keeps to the bound in flight and to the tokens, whatever comes', () => {
    assert(
      property(bounds, moves, (bound, all) => {
        play(bound, all)
      }),
    )
  })

  test('offers are granted in the order in which they came', () => {
    assert(
      property(bounds, moves, (bound, all) => {
        const { it } = play(bound, all)
        expect(ids(it.granted)).toEqual(ids(it.granted).toSorted((a, b) => a - b))
      }),
    )
  })

  test('every offer is granted in the end, as tasks settle and tokens come', () => {
    assert(
      property(bounds, moves, boolean(), (bound, all, settlesFirst) => {
        const { it, sizes, withdrawn, apply, inFlight } = play(bound, all)
        const expected = [...sizes.keys()].filter((id) => !withdrawn.has(id))
        for (let round = 0; it.granted.length < expected.length && round < 2000; round += 1) {
          if (settlesFirst) apply({ settle: Math.max(1, inFlight()) })
          it.pass(100)
          apply({ settle: Math.max(1, inFlight()) })
        }
        expect(ids(it.granted)).toEqual(expected)
      }),
    )
  })
})
