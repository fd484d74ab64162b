import { expect, test } from 'bun:test'
import { type AnyActorRef, createActor, setup } from 'xstate'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { type NamedChild, supervisor } from '../../actors/supervisor.ts'
import { takeOut } from '../../actors/take-out.ts'
import { watch } from '../../actors/watch.ts'
import { defaultPolicy, type Strategy } from '../../machines/supervision.ts'
import { testClock } from '../kit/clock.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/** Ready at once, and deaf to whoever asks it to stop. */
const deaf = setup({}).createMachine({
  initial: 'running',
  states: { running: { tags: ['ready'] } },
})

test.each<[Strategy, number]>([
  ['one_for_one', 10],
  ['dynamic', 10],
])('a full tree (%s) is taken out one child a turn', async (strategy, supervisors) => {
  const clock = testClock()
  const { tell } = new DeadLetters({ clock, log })
  const lives: AnyActorRef[] = []
  const group = (id: string, children: readonly NamedChild[]) =>
    supervisor({
      id,
      policy: { ...defaultPolicy, strategy },
      children,
      clock,
      random: () => 0.5,
      log,
      tell,
    })
  const flock = (id: string) =>
    group(
      id,
      Array.from({ length: 100 }, (_, index) => ({
        id: `child-${index}`,
        spec: () => ({ logic: deaf }),
      })),
    )
  const named = Array.from({ length: supervisors }, (_, index) => ({
    id: `flock-${index}`,
    spec: () => flock(`flock-${index}`),
  }))
  const { logic, input } = group('root', named)
  const root = createActor(logic, {
    input,
    clock: clock.timers,
    inspect: (event) => {
      const actor = event.actorRef as AnyActorRef
      if (event.type === '@xstate.actor' && actor.id.startsWith('child-')) lives.push(actor)
    },
  }) as AnyActorRef
  const errors: unknown[] = []
  root.subscribe({ error: (error) => errors.push(error) })
  root.start()
  await clock.settle()
  expect(root.getSnapshot().value).toBe('running')
  expect(lives).toHaveLength(100 * supervisors)
  let endedInThisTurn = 0
  let most = 0
  for (const life of lives) {
    watch(life, () => {
      endedInThisTurn += 1
      most = Math.max(most, endedInThisTurn)
    })
  }
  const breathe = async () => {
    endedInThisTurn = 0
    await clock.breathe()
  }
  await takeOut(root, { ...clock, breathe })
  expect([most, clock.armed, errors]).toEqual([1, 0, []])
  expect(lives.filter((life) => life.getSnapshot().status === 'active')).toEqual([])
  expect(root.getSnapshot().status).toBe('done')
})
