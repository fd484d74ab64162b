import { describe, expect, test } from 'bun:test'
import { createActor, fromPromise } from 'xstate'
import { healthWatchMachine, type SelfTest, waterMarks } from '../../machines/health-watch.ts'
import type { Owned } from '../../machines/service.ts'
import { explore } from '../kit/explore.ts'

const marks = waterMarks(1000, 0.9, 30)
const proof: SelfTest = { at: 1, blockedMs: 75, sawMs: 55 }

function begin(given = marks, prove: () => Promise<SelfTest> = async () => proof) {
  const said: string[] = []
  const say = (word: string) => () => {
    said.push(word)
  }
  const machine = healthWatchMachine.provide({
    actors: {
      prove: fromPromise<SelfTest, Owned>(prove),
      look: fromPromise<void, Owned>(() => new Promise(() => {})),
    },
    actions: {
      keepProof: (_, kept) => {
        said.push(kept === undefined ? 'unproved' : 'proved')
      },
      shed: say('shed'),
      letIn: say('let in'),
      collect: say('collect'),
    },
  })
  const actor = createActor(machine, { input: { marks: given } })
  actor.start()
  const look = (bytes: number, at = 0) => actor.send({ type: 'health.looked', bytes, at })
  return { said, actor, look }
}

const proved = async () => {
  const begun = begin()
  await Promise.resolve()
  await Promise.resolve()
  expect(begun.said).toEqual(['proved'])
  begun.said.length = 0
  return begun
}

describe('the watch over health', () => {
  test('nobody waits for its self-test, and a failed one ends nothing', async () => {
    const { said, actor } = begin(marks, () => Promise.reject(new Error('no timers')))
    expect(actor.getSnapshot().hasTag('ready')).toBe(true)
    await Promise.resolve()
    await Promise.resolve()
    expect(said).toEqual(['unproved'])
    expect(actor.getSnapshot().hasTag('ready')).toBe(true)
  })

  test('sheds above the high mark, and lets in again below the low one', async () => {
    const { said, look } = await proved()
    for (const bytes of [999, 1000, 1001, 950, 1001, 900, 899, 950, 1000]) look(bytes)
    expect(said).toEqual(['shed', 'collect', 'let in'])
  })

  test('memory that flaps between the marks changes nothing', async () => {
    const { said, look } = await proved()
    look(1001)
    for (let round = 0; round < 100; round += 1) look(round % 2 === 0 ? 901 : 1100)
    expect(said).toEqual(['shed', 'collect'])
  })

  test('collects only after it has shed, and not more often than it may', async () => {
    const { said, look } = await proved()
    for (const at of [0, 1, 2, 30, 31, 32, 61, 62]) look(1001, at)
    // The first look sheds, the next collects at 1, then at 31 and 61.
    expect(said).toEqual(['shed', 'collect', 'collect', 'collect'])
  })

  test('what is shed when it stops is let in', async () => {
    const { said, actor, look } = await proved()
    look(1001)
    actor.send({ type: 'stop' })
    expect(said).toEqual(['shed', 'let in'])
    expect(actor.getSnapshot().status).toBe('done')
  })

  test('a mark of 0 is none', async () => {
    const { said, look } = begin(waterMarks(0, 0.9, 30))
    await Promise.resolve()
    await Promise.resolve()
    look(Number.MAX_SAFE_INTEGER)
    expect(said).toEqual(['proved'])
  })

  test('every state and transition is reached, and from everywhere there is an end', () => {
    const looks = [800, 950, 1200].flatMap((bytes) =>
      [0, 40].map((at) => ({ type: 'health.looked', bytes, at })),
    )
    const explored = explore(healthWatchMachine, {
      input: { marks },
      events: [
        { type: 'stop' },
        ...looks,
        { type: 'xstate.done.actor.0.health.proving', output: proof },
        { type: 'xstate.error.actor.0.health.proving', error: new Error('x') },
      ],
    })
    expect(explored.reached).toEqual(explored.declared)
    expect(explored.deadEnds()).toEqual([])
    const taken = new Set(explored.takenTransitions)
    const untaken = explored.declaredTransitions.filter((each) => !taken.has(each))
    expect(untaken).toEqual([])
  })
})
