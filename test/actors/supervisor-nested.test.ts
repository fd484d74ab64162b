/** Trees of supervisors under random falls: what holds at every moment, and in the end. */
import { expect, test } from 'bun:test'
import {
  array,
  assert,
  asyncProperty,
  constantFrom,
  integer,
  letrec,
  oneof,
  record,
} from 'fast-check'
import { type AnyActorRef, createActor } from 'xstate'
import { DeadLetters, isLive } from '../../actors/dead-letters.ts'
import { MusterError } from '../../actors/errors.ts'
import { service } from '../../actors/service.ts'
import { type ChildSpec, type NamedChild, supervisor } from '../../actors/supervisor.ts'
import { takeOut } from '../../actors/take-out.ts'
import {
  defaultPolicy,
  type Fault,
  type Restart,
  type Strategy,
} from '../../machines/supervision.ts'
import { testClock } from '../kit/clock.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }

interface Leaf {
  restart: Restart
  /** What it is like when it is asked to open, and to close. */
  opens: 'at once' | 'never' | 'fails'
  closes: 'at once' | 'never'
  stopTimeoutMs: number
}

interface Branch {
  strategy: Strategy
  restart: Restart
  stopTimeoutMs: number
  below: readonly (Branch | Leaf)[]
}

const restart = constantFrom<Restart>('permanent', 'permanent', 'transient', 'temporary')
const stopTimeoutMs = constantFrom(0, 300, 1000)
const { branch: trees } = letrec<{ branch: Branch; child: Branch | Leaf; leaf: Leaf }>((tie) => ({
  branch: record({
    strategy: constantFrom<Strategy>('one_for_one', 'one_for_all', 'rest_for_one', 'dynamic'),
    restart,
    stopTimeoutMs,
    below: array(tie('child'), { minLength: 1, maxLength: 3 }),
  }),
  leaf: record({
    restart,
    opens: constantFrom(
      ...(['at once', 'at once', 'at once', 'at once', 'never', 'fails'] as const),
    ),
    closes: constantFrom('at once', 'at once', 'never'),
    stopTimeoutMs,
  }),
  child: oneof({ maxDepth: 2, depthIdentifier: 'tree' }, tie('leaf'), tie('leaf'), tie('branch')),
}))

const moves = array(
  record({
    verb: constantFrom('fail', 'fail', 'fail', 'end', 'pass', 'pass', 'late'),
    which: integer({ min: 0, max: 30 }),
    fault: constantFrom<Fault>('bug', 'bug', 'dependency', 'poison', 'fenced', 'fatal'),
    ms: integer({ min: 1, max: 3000 }),
  }),
  { maxLength: 25 },
)

class Faulty extends MusterError {
  override readonly fault: Fault
  constructor(fault: Fault) {
    super('FAULTY', `a ${fault} fault`)
    this.fault = fault
  }
}

/** A tree that has begun, every actor that ever was in it, and ways to make its leaves fail. */
function grow(tree: Branch) {
  const clock = testClock()
  const { tell } = new DeadLetters({ clock, log })
  const actors: AnyActorRef[] = []
  const failing: ((error: unknown) => void)[] = []
  let opened = 0

  const leaf = ({ opens, closes }: Leaf): ChildSpec =>
    service({
      tell,
      open: async (fail) => {
        opened += 1
        failing.push(fail)
        // Only later in its life: who fails at first is never seen again.
        if (opens !== 'at once' && opened > 8) {
          if (opens === 'fails') throw new Error('it does not open')
          await new Promise(() => {})
        }
      },
      close: closes === 'never' ? () => new Promise(() => {}) : async () => {},
    })

  const specOf = (id: string, node: Branch | Leaf): ChildSpec =>
    'below' in node
      ? supervisor({
          id,
          policy: {
            ...defaultPolicy,
            intensity: 2,
            backoff: { baseMs: 100, capMs: 400, jitter: 0 },
            startTimeoutMs: 2000,
            strategy: node.strategy,
          },
          children: node.below.map((child, index): NamedChild => {
            const name = `${id}.${index}`
            const { restart: kind, stopTimeoutMs: ms } = child
            return { id: name, spec: () => specOf(name, child), restart: kind, stopTimeoutMs: ms }
          }),
          clock,
          random: () => 0.5,
          log,
          tell,
        })
      : leaf(node)

  const { logic, input } = specOf('0', tree)
  const root = createActor(logic, {
    input,
    clock: clock.timers,
    inspect: (event) => {
      if (event.type === '@xstate.actor') actors.push(event.actorRef as AnyActorRef)
    },
  }) as AnyActorRef
  root.subscribe({ error: () => undefined })
  root.start()
  return { clock, root, actors, failing }
}

type Grown = ReturnType<typeof grow>

function move(it: Grown, { verb, which, fault }: { verb: string; which: number; fault: Fault }) {
  const { actors, failing } = it
  const alive = actors.filter(isLive)
  const one = alive[which % alive.length]
  if (verb === 'fail') failing[failing.length - 1 - (which % failing.length)]?.(new Faulty(fault))
  else if (verb === 'end' && one !== it.root) one?.send({ type: 'stop' })
}

/** Nobody lives whose parent does not. */
function check({ actors }: Grown): void {
  for (const actor of actors) {
    const { _parent: parent } = actor as unknown as { _parent?: AnyActorRef }
    if (isLive(actor) && parent !== undefined) expect(isLive(parent)).toBe(true)
  }
}

test.each(['in order', 'by force'])(
  'no child survives its parent, and none the end of all, %s',
  async (how) => {
    let lives = 0
    await assert(
      asyncProperty(trees, moves, async (tree, all) => {
        const it = grow(tree)
        await it.clock.settle()
        check(it)
        for (const one of all) {
          if (!isLive(it.root)) break
          if (one.verb === 'pass') await it.clock.pass(one.ms)
          else move(it, one)
          check(it)
          await it.clock.settle()
          check(it)
        }
        if (how === 'by force') await takeOut(it.root, it.clock)
        else if (isLive(it.root)) it.root.send({ type: 'stop' })
        await it.clock.pass(20_000)
        check(it)
        expect(it.actors.filter(isLive)).toEqual([])
        expect(it.clock.armed).toBe(0)
        lives += it.actors.length
      }),
      { numRuns: 150 },
    )
    console.log(`${how}: ${lives} lives`)
  },
  30_000,
)
