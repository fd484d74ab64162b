import { describe, expect, test } from 'bun:test'
import { array, assert, boolean, integer, nat, property, record } from 'fast-check'
import { createActor } from 'xstate'
import { poolMachine } from '../../machines/pool.ts'
import {
  emptyPool,
  type PoolCommand,
  type PoolEvent,
  type PoolState,
  poolCounts,
  poolStep,
} from '../../machines/pool-steps.ts'
import { slotAfter, slotMachine } from '../../machines/slot.ts'
import { explore } from '../kit/explore.ts'
import { testSeed } from '../kit/random.ts'

describe('slot machine, explored', () => {
  const events = ['lease', 'giveBack', 'done', 'fail', 'replace', 'discard'] as const
  const exploration = explore(slotMachine, { events: events.map((type) => ({ type })) })

  test('every state is reached and every transition taken', () => {
    expect(exploration.reached).toEqual([...exploration.declared])
    expect(exploration.takenTransitions).toEqual([...exploration.declaredTransitions])
  })

  test('between two leases there is always a reset, or another sandbox', () => {
    const toIdle = exploration.steps.filter(({ from, to }) => to.value === 'idle' && from !== to)
    const from = toIdle.map((step) => step.from.value).filter((value) => value !== 'idle')
    expect(new Set<unknown>(from)).toEqual(new Set(['replacing', 'resetting']))
  })

  test('what cannot happen to a slot is refused', () => {
    expect(() => slotAfter('idle', 'giveBack')).toThrow('a slot that is idle cannot giveBack')
    expect(slotAfter('resetting', 'fail')).toBe('replacing')
  })
})

const base = 'root:/a'
const policy = { slotsMax: 2, isReused: true }

/** What a pool was told, and what it wanted done. */
class Told {
  state: PoolState
  readonly commands: PoolCommand[] = []

  constructor(state = emptyPool(policy)) {
    this.state = state
  }

  tell(...events: PoolEvent[]): PoolCommand[] {
    const before = this.commands.length
    for (const event of events) {
      const step = poolStep(this.state, event)
      this.state = step.state
      this.commands.push(...step.commands)
    }
    return this.commands.slice(before)
  }

  get counts() {
    return poolCounts(this.state)
  }
}

const wanted = (waiter: number, of = base): PoolEvent => ({ type: 'slot.wanted', waiter, base: of })
const given = (slot: number, lease: number, isBroken = false): PoolEvent => ({
  type: 'slot.given',
  slot,
  lease,
  isBroken,
})
const done = (slot: number, life: number): PoolEvent => ({ type: 'slot.done', slot, life })
const failed = (slot: number, life: number, error: unknown = 'why'): PoolEvent => ({
  type: 'slot.failed',
  slot,
  life,
  error,
})

describe('a pool', () => {
  test('makes a sandbox for who wants one, and grants it when it is made', () => {
    const pool = new Told()
    expect(pool.tell(wanted(1))).toEqual([{ type: 'make', slot: 1, life: 1, base }])
    expect(pool.tell(done(1, 1))).toEqual([
      { type: 'grant', waiter: 1, slot: 1, life: 1, lease: 1 },
    ])
    expect(pool.counts).toMatchObject({ total: 1, leased: 1 })
  })

  test('what comes back is offered again only after its reset', () => {
    const pool = new Told()
    pool.tell(wanted(1), done(1, 1))
    expect(pool.tell(given(1, 1))).toEqual([{ type: 'reset', slot: 1, life: 1 }])
    expect(pool.tell(wanted(2))).toEqual([])
    expect(pool.tell(done(1, 1))).toEqual([
      { type: 'grant', waiter: 2, slot: 1, life: 1, lease: 2 },
    ])
  })

  test('one whose reset fails is discarded, and replaced', () => {
    const pool = new Told()
    pool.tell(wanted(1), done(1, 1), given(1, 1))
    expect(pool.tell(failed(1, 1))).toEqual([
      { type: 'discard', life: 1 },
      { type: 'make', slot: 1, life: 2, base },
    ])
    expect(pool.counts).toEqual({
      total: 1,
      available: 0,
      leased: 0,
      resetting: 0,
      replacing: 1,
      waiting: 0,
    })
    // What is still told of the discarded one is late.
    expect(pool.tell(done(1, 1))).toEqual([])
    pool.tell(done(1, 2))
    expect(pool.counts).toMatchObject({ total: 1, available: 1 })
  })

  test('one that is given back as broken is replaced without a reset', () => {
    const pool = new Told()
    pool.tell(wanted(1), done(1, 1))
    expect(pool.tell(given(1, 1, true))).toEqual([
      { type: 'discard', life: 1 },
      { type: 'make', slot: 1, life: 2, base },
    ])
  })

  test('the holder of an earlier lease cannot give back that of the present one', () => {
    const pool = new Told()
    pool.tell(wanted(1), done(1, 1), given(1, 1), wanted(2), done(1, 1))
    expect(pool.tell(given(1, 1))).toEqual([])
    expect(pool.counts.leased).toBe(1)
  })

  test('who waits hears why none could be made, and the next one has his own tried', () => {
    const pool = new Told(emptyPool({ slotsMax: 1, isReused: true }))
    pool.tell(wanted(1), wanted(2))
    expect(pool.tell(failed(1, 1, 'no root'))).toEqual([
      { type: 'refuse', waiter: 1, error: 'no root' },
      { type: 'make', slot: 2, life: 2, base },
    ])
  })

  test('an idle sandbox of another base makes way when there is no place left', () => {
    const pool = new Told(emptyPool({ slotsMax: 1, isReused: true }))
    pool.tell(wanted(1), done(1, 1), given(1, 1), done(1, 1))
    expect(pool.tell(wanted(2, 'root:/b'))).toEqual([
      { type: 'discard', life: 1 },
      { type: 'make', slot: 1, life: 2, base: 'root:/b' },
    ])
  })

  test('the first in the line is not passed by those of a base that is there', () => {
    const pool = new Told(emptyPool({ slotsMax: 1, isReused: true }))
    pool.tell(wanted(1), done(1, 1), wanted(2, 'root:/b'), wanted(3))
    expect(pool.tell(given(1, 1), done(1, 1))).toEqual([
      { type: 'reset', slot: 1, life: 1 },
      { type: 'discard', life: 1 },
      { type: 'make', slot: 1, life: 2, base: 'root:/b' },
    ])
    expect(pool.tell(done(1, 2))).toMatchObject([{ type: 'grant', waiter: 2 }])
  })

  test('where nothing is used again, what comes back is discarded', () => {
    const pool = new Told(emptyPool({ slotsMax: 1, isReused: false }))
    pool.tell(wanted(1), done(1, 1))
    expect(pool.tell(given(1, 1))).toEqual([{ type: 'discard', life: 1 }])
    expect(pool.counts.total).toBe(0)
  })

  test('a pool that closes refuses who comes, and waits for what is leased', () => {
    const actor = createActor(
      poolMachine.provide({ actions: { carryOut: () => {}, opened: () => {} } }),
      { input: policy },
    ).start()
    actor.send(wanted(1))
    actor.send(done(1, 1))
    actor.send({ type: 'stop' })
    expect(actor.getSnapshot().value).toBe('closing')
    actor.send(wanted(2))
    actor.send(given(1, 1))
    expect(actor.getSnapshot().status).toBe('done')
  })
})

/** Chooses what happens next among what can: numbers stand for choices. */
type Choice = { kind: number; which: number }

const choices = array(record({ kind: nat(7), which: nat(1000) }), { maxLength: 200 })
const policies = record({ slotsMax: integer({ min: 1, max: 5 }), isReused: boolean() })

interface Play {
  pool: Told
  /** Commands that have not been answered. */
  open: { slot: number; life: number }[]
  leases: { slot: number; lease: number }[]
  waiters: number[]
  waited: number
}

function eventOf(play: Play, { kind, which }: Choice): PoolEvent | undefined {
  const pick = <T>(from: readonly T[]): T | undefined => from[which % Math.max(1, from.length)]
  if (kind <= 1) {
    play.waited += 1
    play.waiters.push(play.waited)
    return wanted(play.waited, `root:/${which % 3}`)
  }
  if (kind === 2) {
    const waiter = pick(play.waiters)
    play.waiters = play.waiters.filter((one) => one !== waiter)
    return waiter === undefined ? undefined : { type: 'slot.unwanted', waiter }
  }
  if (kind <= 4) {
    const lease = pick(play.leases)
    play.leases = play.leases.filter((one) => one !== lease)
    return lease && given(lease.slot, lease.lease, which % 5 === 0)
  }
  const command = pick(play.open)
  play.open = play.open.filter((one) => one !== command)
  return (
    command && (kind === 7 ? failed(command.slot, command.life) : done(command.slot, command.life))
  )
}

function take(play: Play, commands: readonly PoolCommand[]): void {
  for (const command of commands) {
    if (command.type === 'make' || command.type === 'reset') play.open.push(command)
    if (command.type === 'grant') play.leases.push(command)
    if (command.type === 'grant' || command.type === 'refuse') {
      play.waiters = play.waiters.filter((waiter) => waiter !== command.waiter)
    }
  }
}

const begin = (state: PoolState): Play => ({
  pool: new Told(state),
  open: [],
  leases: [],
  waiters: [],
  waited: 0,
})

const always = (check: (play: Play, commands: readonly PoolCommand[]) => void) =>
  assert(
    property(policies, choices, (chosen, moves) => {
      const play = begin(emptyPool(chosen))
      for (const move of moves) {
        const event = eventOf(play, move)
        if (event === undefined) continue
        const commands = play.pool.tell(event)
        take(play, commands)
        check(play, commands)
      }
    }),
    { seed: testSeed(), numRuns: 300 },
  )

describe('whatever happens to a pool', () => {
  test('total = available + leased + resetting + replacing, and no more than it may have', () => {
    always(({ pool, leases }) => {
      const { total, available, leased, resetting, replacing } = pool.counts
      expect(total).toBe(available + leased + resetting + replacing)
      expect(total).toBeLessThanOrEqual(pool.state.policy.slotsMax)
      expect(leased).toBe(leases.length)
    })
  })

  test('nobody waits while a sandbox of any base is idle', () => {
    always(({ pool }) => {
      if (pool.state.waiters.some(({ base: of }) => !hasComing(pool.state, of))) {
        expect(pool.counts.available).toBe(0)
      }
    })
  })

  test('whoever waits for one base is granted in the order in which he came', () => {
    always(({ pool }, commands) => {
      for (const command of commands) {
        if (command.type !== 'grant') continue
        const slot = pool.state.slots.find(({ id }) => id === command.slot)
        const ahead = pool.state.waiters.filter(
          ({ id, base: of }) => of === slot?.base && id < command.waiter,
        )
        expect(ahead).toEqual([])
      }
    })
  })

  test('a sandbox is granted again only after it was reset', () => {
    always(({ pool }, commands) => {
      for (const command of commands) {
        if (command.type !== 'grant') continue
        const granted = pool.commands.filter(
          (one) => one.type === 'grant' && one.life === command.life,
        ).length
        const resets = pool.commands.filter(
          (one) => one.type === 'reset' && one.life === command.life,
        ).length
        expect(granted).toBe(resets + 1)
      }
    })
  })

  test('when everything that was asked for is done, everybody has been served', () => {
    assert(
      property(policies, choices, (chosen, moves) => {
        const play = begin(emptyPool(chosen))
        for (const move of moves) {
          const event = eventOf(play, move)
          if (event !== undefined) take(play, play.pool.tell(event))
        }
        for (let steps = 0; play.open.length + play.leases.length > 0; steps += 1) {
          expect(steps).toBeLessThan(2000)
          const event = eventOf(play, { kind: play.open.length > 0 ? 5 : 3, which: 1 })
          if (event !== undefined) take(play, play.pool.tell(event))
        }
        expect(play.waiters).toEqual([])
        expect(play.pool.state.waiters).toEqual([])
      }),
      { seed: testSeed(), numRuns: 300 },
    )
  })
})

function hasComing({ slots, waiters }: PoolState, of: string): boolean {
  const coming = slots.filter(
    (slot) => slot.base === of && (slot.state === 'resetting' || slot.state === 'replacing'),
  )
  return coming.length >= waiters.filter((waiter) => waiter.base === of).length
}
