/**
 * What does supervision cost? Start, crash-to-restart and stop of 100 children; what a message
 * costs as actors send it (`tell`), to a supervised actor and to one on its own, and XState's own
 * `send`; and the longest time for which the stop of a full tree (10 supervisors of 100), in order
 * and by force, keeps the event loop.
 *
 *   bun bench/supervisor.bench.ts [--json]
 */

import { type AnyActorRef, createActor, setup } from 'xstate'
import { DeadLetters } from '../actors/dead-letters.ts'
import {
  type ChildSpec,
  childOf,
  isReady,
  type NamedChild,
  supervisor,
} from '../actors/supervisor.ts'
import { takeOut } from '../actors/take-out.ts'
import { defaultPolicy } from '../machines/supervision.ts'

const children = 100
const supervisors = 10
const messages = 200_000
const rounds = 15

type Word = { type: 'stop' } | { type: 'crash' } | { type: 'count' }

/** An actor with next to nothing to do: what is measured is what is around it. */
const counter = setup({
  types: { events: {} as Word },
  actions: {
    crash: () => {
      throw new Error('crash')
    },
  },
}).createMachine({
  initial: 'running',
  states: {
    running: {
      tags: ['ready'],
      on: { stop: 'stopped', crash: { actions: 'crash' }, count: {} },
    },
    stopped: { type: 'final' },
  },
})

const log = { debug() {}, info() {}, warn() {}, error() {} }
const policy = {
  ...defaultPolicy,
  intensity: 1000,
  windowMs: 1_000_000,
  backoff: { baseMs: 0, capMs: 0, jitter: 0 },
}
const clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  breathe: () => turn(),
  wait: () => turn(),
  tick: () => turn(),
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

function group(id: string, named: readonly NamedChild[]): ChildSpec {
  const { tell } = new DeadLetters({ clock, log })
  return supervisor({ id, policy, children: named, clock, random: Math.random, log, tell })
}

const flock = (id: string): ChildSpec =>
  group(
    id,
    Array.from({ length: children }, (_, index) => ({
      id: `child-${index}`,
      spec: () => ({ logic: counter }),
    })),
  )

function begin({ logic, input }: ChildSpec): AnyActorRef {
  const actor = createActor(logic, { input }) as AnyActorRef
  actor.subscribe({
    error: (error) => {
      throw error
    },
  })
  actor.start()
  return actor
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await turn()
}

const isOver = (actor: AnyActorRef) => actor.getSnapshot().status === 'done'

/** Milliseconds until 100 children are up, are up again after all have crashed, and are down. */
async function live(): Promise<{ startMs: number; restartMs: number; stopMs: number }> {
  const begun = performance.now()
  const actor = begin(flock('root'))
  await until(() => isReady(actor.getSnapshot()))
  const startMs = performance.now() - begun

  const crashed = performance.now()
  for (let index = 0; index < children; index += 1) {
    childOf(actor, `child-${index}`, 1)?.send({ type: 'crash' })
  }
  const isUpAgain = (child: { incarnation: number; status: string }) =>
    child.incarnation === 2 && child.status === 'ready'
  await until(() => actor.getSnapshot().context.children.every(isUpAgain))
  const restartMs = performance.now() - crashed

  const asked = performance.now()
  actor.send({ type: 'stop' })
  await until(() => isOver(actor))
  return { startMs, restartMs, stopMs: performance.now() - asked }
}

/** Nanoseconds a message. */
function deliver(send: (event: Word) => void): number {
  const begun = performance.now()
  for (let count = 0; count < messages; count += 1) send({ type: 'count' })
  return ((performance.now() - begun) * 1e6) / messages
}

async function deliverAll(): Promise<{ sentNs: number; aloneNs: number; supervisedNs: number }> {
  const { tell } = new DeadLetters({ clock, log })
  const alone = begin({ logic: counter })
  const root = begin(flock('root'))
  await until(() => isReady(root.getSnapshot()))
  const supervised = childOf(root, 'child-50', 1)
  if (supervised === undefined) throw new Error('expected child-50 to be there')
  const sentNs = deliver((event) => alone.send(event))
  const aloneNs = deliver((event) => tell(alone, event))
  const supervisedNs = deliver((event) => tell(supervised, event))
  for (const actor of [alone, root]) actor.send({ type: 'stop' })
  await until(() => isOver(root))
  return { sentNs, aloneNs, supervisedNs }
}

/** The longest time, in ms, between two turns of the event loop while a full tree goes. */
async function endFull(end: (root: AnyActorRef) => void): Promise<[block: number, all: number]> {
  const named = Array.from({ length: supervisors }, (_, index) => ({
    id: `flock-${index}`,
    spec: () => flock(`flock-${index}`),
  }))
  const root = begin(group('root', named))
  await until(() => isReady(root.getSnapshot()))
  let longestBlockMs = 0
  const begun = performance.now()
  let last = begun
  end(root)
  do {
    await turn()
    const now = performance.now()
    longestBlockMs = Math.max(longestBlockMs, now - last)
    last = now
  } while (!isOver(root))
  return [longestBlockMs, last - begun]
}

async function stopFull(): Promise<{ longestBlockMs: number; fullStopMs: number }> {
  const [longestBlockMs, fullStopMs] = await endFull((root) => root.send({ type: 'stop' }))
  return { longestBlockMs, fullStopMs }
}

async function takeOutFull(): Promise<{ longestForcedBlockMs: number; fullTakeOutMs: number }> {
  const [longestForcedBlockMs, fullTakeOutMs] = await endFull((root) => void takeOut(root, clock))
  return { longestForcedBlockMs, fullTakeOutMs }
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

interface Measured<K extends string> {
  medians: Record<K, number>
  most: Record<K, number>
}

/** What the rounds say; the first rounds, which warm up, are not counted. */
async function measure<K extends string>(
  round: () => Promise<Record<K, number>>,
): Promise<Measured<K>> {
  const all: Record<K, number>[] = []
  for (let index = -3; index < rounds; index += 1) {
    const figures = await round()
    if (index >= 0) all.push(figures)
  }
  const names = Object.keys(all[0] ?? {}) as K[]
  const over = (of: (numbers: number[]) => number) =>
    Object.fromEntries(
      names.map((name) => [name, of(all.map((figures) => figures[name]))]),
    ) as Record<K, number>
  return { medians: over(median), most: over((numbers) => Math.max(...numbers)) }
}

const stops = await measure(stopFull)
const takings = await measure(takeOutFull)
const figures = {
  ...(await measure(live)).medians,
  ...(await measure(deliverAll)).medians,
  ...stops.medians,
  mostBlockMs: stops.most.longestBlockMs,
  ...takings.medians,
  mostForcedBlockMs: takings.most.longestForcedBlockMs,
}
const overheadNs = figures.supervisedNs - figures.aloneNs

if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ bench: 'supervisor', children, rounds, ...figures, overheadNs }))
} else {
  const ms = (value: number) => `${value.toFixed(2)} ms`
  const ns = (value: number) => `${value.toFixed(0)} ns`
  console.log(`medians of ${rounds} rounds`)
  console.log(`start of ${children} children             ${ms(figures.startMs)}`)
  console.log(`crash-to-restart of ${children} children  ${ms(figures.restartMs)}`)
  console.log(`stop of ${children} children              ${ms(figures.stopMs)}`)
  console.log(`message sent past \`tell\`           ${ns(figures.sentNs)}`)
  console.log(`message to an actor on its own      ${ns(figures.aloneNs)}`)
  console.log(`message to a supervised actor       ${ns(figures.supervisedNs)}`)
  console.log(`overhead of supervision a message   ${ns(overheadNs)}`)
  console.log(`stop of ${supervisors} times ${children} children     ${ms(figures.fullStopMs)}`)
  const blockOf = (block: number, most: number) => `${ms(block)}, at most ${ms(most)}`
  const { longestBlockMs, mostBlockMs, longestForcedBlockMs, mostForcedBlockMs } = figures
  console.log(`longest block of the loop in that   ${blockOf(longestBlockMs, mostBlockMs)}`)
  console.log(`the same by force                   ${ms(figures.fullTakeOutMs)}`)
  console.log(
    `longest block of the loop in that   ${blockOf(longestForcedBlockMs, mostForcedBlockMs)}`,
  )
}
