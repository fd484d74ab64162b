/** Actors under a supervisor, in a world whose time is the test's. */
import { type ChildSpec, supervisor } from '../../actors/supervisor.ts'
import { type TreeNode, treeOf } from '../../actors/tree.ts'
import { defaultPolicy } from '../../machines/supervision.ts'
import type { TestClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import type { Begun, World } from './world.ts'

/** A world and its time. */
export interface Timed {
  clock: TestClock
  world: World
}

export const never = <T>() => new Promise<T>(() => {})

/** An actor as the only child of a supervisor. */
export function supervised({ clock, world }: Timed, id: string, spec: () => ChildSpec): Begun {
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

/** The only child, as the tree shows it. */
export function childIn(life: Begun, clock: TestClock): TreeNode {
  const [child] = treeOf(life.actor, 'root', 1, clock.monotonic()).children
  if (child === undefined) throw new Error('expected a child')
  return child
}

/** Lets test time go by, some at each look, until it is so. */
export function inTime<T>(
  clock: TestClock,
  ms: number,
  assertion: () => T | Promise<T>,
): Promise<T> {
  return eventually(
    async () => {
      await clock.pass(ms)
      return assertion()
    },
    { intervalMs: 2 },
  )
}
