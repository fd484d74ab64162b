import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, property } from 'fast-check'
import {
  type AnyActorRef,
  createActor,
  createMachine,
  fromCallback,
  fromPromise,
  setup,
  stopChild,
} from 'xstate'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { type Down, watch } from '../../actors/watch.ts'
import { testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const { tell } = new DeadLetters({ clock: testClock(), log })
const broke = new Error('broke')
const ends = ['finish', 'break', 'kill', 'killParent'] as const
type End = (typeof ends)[number]

const child = setup({
  actions: {
    throwError: () => {
      throw broke
    },
  },
}).createMachine({
  initial: 'alive',
  states: {
    alive: { on: { finish: 'finished', break: { actions: 'throwError' } } },
    finished: { type: 'final' },
  },
})

const reasonOf: Record<End, Down['reason']> = {
  finish: 'normal',
  break: 'error',
  kill: 'killed',
  killParent: 'killed',
}

/** A child of a parent, and the ways to end it. */
function begin() {
  const parent = createActor(
    setup({ actors: { child } }).createMachine({
      invoke: { src: 'child', id: 'child', onError: {} },
      on: { kill: { actions: stopChild('child') } },
    }),
  )
  parent.subscribe({ error: () => undefined })
  parent.start()
  const actor = parent.getSnapshot().children['child'] as AnyActorRef
  const end = (how: End) => {
    if (how === 'killParent') parent.stop()
    else tell(how === 'kill' ? parent : actor, { type: how })
  }
  return { actor, end }
}

/** As many microtasks as an answer may take. */
const answered = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('a watch', () => {
  test.each(ends)('tells once of an actor that ends: %s', async (how) => {
    const { actor, end } = begin()
    const heard: Down[] = []
    watch(actor, (down) => heard.push(down))
    expect(heard).toEqual([])
    end(how)
    for (const again of ends) end(again)
    await answered()
    expect(heard).toHaveLength(1)
    expect(heard[0]?.actor).toBe(actor)
    expect(heard[0]?.reason).toBe(reasonOf[how])
    expect(heard[0]?.error).toBe(how === 'break' ? broke : undefined)
    expect('error' in (heard[0] ?? {})).toBe(how === 'break')
  })

  test.each(ends)('two watches are told each, one given up is not: %s', async (how) => {
    const { actor, end } = begin()
    const heard: string[] = []
    watch(actor, ({ reason }) => heard.push(`first ${reason}`))
    const giveUp = watch(actor, ({ reason }) => heard.push(`second ${reason}`))
    watch(actor, ({ reason }) => heard.push(`third ${reason}`))
    giveUp()
    giveUp()
    end(how)
    await answered()
    expect(heard).toEqual([`first ${reasonOf[how]}`, `third ${reasonOf[how]}`])
  })

  test.each(ends)('of the dead answers in a moment, with the error it had: %s', async (how) => {
    const { actor, end } = begin()
    end(how)
    const heard: Down[] = []
    watch(actor, (down) => heard.push(down))
    const giveUp = watch(actor, () => heard.push({ actor, reason: 'normal' }))
    giveUp()
    // Not before who watches has got hold of what gives up the watch.
    expect(heard).toEqual([])
    await answered()
    const failure = how === 'break' ? { error: broke } : {}
    expect(heard).toEqual([{ actor, reason: 'noproc', ...failure }])
  })

  test('of an actor of any kind tells of its end', async () => {
    const heard: string[] = []
    const told = ({ reason }: Down) => heard.push(reason)
    const done = createActor(fromPromise(() => Promise.resolve(1)))
    const failing = createActor(fromPromise(() => Promise.reject(broke)))
    const endless = createActor(fromCallback(() => undefined))
    for (const actor of [done, failing, endless]) {
      watch(actor, told)
      actor.start()
    }
    await eventually(() => expect(heard.toSorted()).toEqual(['error', 'normal']))
    endless.stop()
    expect(heard).toContain('killed')
  })

  test('given up leaves its actor observed, whose error would else end the process', () => {
    const actor = createActor(child)
    watch(actor, () => undefined)()
    actor.start()
    actor.send({ type: 'break' })
    expect(actor.getSnapshot()).toMatchObject({ status: 'error', error: broke })
  })

  test('given up leaves nothing behind for each', () => {
    const actor = createActor(createMachine({})).start()
    for (let round = 0; round < 1000; round += 1) watch(actor, () => undefined)()
    expect((actor as unknown as { observers: Set<unknown> }).observers.size).toBe(1)
    actor.stop()
  })

  test('in whatever order: one notice for each that was not given up before the end', async () => {
    const steps = array(constantFrom('watch', 'giveUp', ...ends), { minLength: 1, maxLength: 12 })
    const checks: Promise<void>[] = []
    assert(
      property(steps, (taken) => {
        const { actor, end } = begin()
        const watches: { heard: Down[]; giveUp(): void; expected: Down['reason'] | undefined }[] =
          []
        let over: Down['reason'] | undefined
        for (const step of taken) {
          if (step === 'watch') {
            const heard: Down[] = []
            const giveUp = watch(actor, (down) => heard.push(down))
            watches.push({ heard, giveUp, expected: over === undefined ? undefined : 'noproc' })
          } else if (step === 'giveUp') {
            const given = watches[taken.length % Math.max(1, watches.length)]
            given?.giveUp()
            // Who was told already cannot take it back.
            if (given?.heard.length === 0) given.expected = undefined
            if (given !== undefined) Object.assign(given, { isGivenUp: true })
          } else if (over === undefined) {
            end(step)
            over = reasonOf[step]
            for (const one of watches) if (!('isGivenUp' in one)) one.expected = over
          } else end(step)
        }
        checks.push(
          answered().then(() => {
            for (const { heard, expected } of watches) {
              expect(heard.map(({ reason }) => reason)).toEqual(
                expected === undefined ? [] : [expected],
              )
            }
          }),
        )
      }),
    )
    await Promise.all(checks)
  })
})
