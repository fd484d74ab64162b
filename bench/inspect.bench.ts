/**
 * What does it cost to be watched? Messages to 20 workers, of two each one changes the state and
 * both the context, as envelopes do: while nobody watches, while a page of `/inspect` does, while
 * an inspector of Stately does, and after they have left. An envelope carries up to 1000 tasks, so
 * that this is the dearest case: a control plane that does nothing but pass messages.
 *
 *   bun bench/inspect.bench.ts [--json] [--quick]
 *
 * Fails when a page costs a fifth of the throughput or more; not with --quick, which is too short
 * to say so.
 */
import { type AnyActorRef, createActor, createMachine, fromPromise } from 'xstate'
import { InspectionHub, type Viewer } from '../actors/inspection-hub.ts'
import type { Owned } from '../machines/service.ts'
import { workerMachine } from '../machines/worker.ts'
import { systemClock } from '../runtime/clock.ts'
import { readOptions } from './kit/options.ts'

const { isJson, isQuick } = readOptions()
const workers = 20
const messages = isQuick ? 20_000 : 100_000
const rounds = isQuick ? 5 : 15
/** Between two of them the event loop turns, as it does between two envelopes. */
const burst = 200
const shareMax = 0.2

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
const open = fromPromise<void, Owned>(async () => undefined)
const worker = workerMachine.provide({ actors: { open } })
const ids = Array.from({ length: workers }, (_, index) => `worker-${index}`)
const invoke = ids.map((id) => ({ src: worker, id }))
const root: AnyActorRef = createActor(createMachine({ id: 'root', invoke })).start()
const hub = new InspectionHub({ root: () => root, name: 'bench', clock: systemClock })
let frames = 0
let bytes = 0
const line = {
  write(frame: string) {
    frames += 1
    bytes += frame.length
  },
  buffered: () => 0,
  close: () => undefined,
}
await turn()

/** Of this process alone: what else the machine does is not counted. */
const cpuUs = () => {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** Microseconds of the processor a message. */
async function deliver(): Promise<number> {
  const { children } = root.getSnapshot() as { children: Record<string, AnyActorRef> }
  const actors = ids.map((id) => children[id]).filter((actor) => actor !== undefined)
  const begun = cpuUs()
  for (let count = 0; count < messages; count += 2) {
    const actor = actors[(count / 2) % workers]
    actor?.send({ type: 'envelope.received', tasks: 1, oldestAt: count })
    actor?.send({ type: 'envelope.settled', tasks: 1, oldestAt: undefined })
    if (count % burst === 0) await turn()
  }
  return (cpuUs() - begun) / messages
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
const watched: Record<string, () => Viewer | undefined> = {
  nobody: () => undefined,
  page: () => hub.add(line, 'page'),
  stately: () => hub.add(line, 'full'),
  nobodyAgain: () => undefined,
}
const times = new Map(Object.keys(watched).map((name) => [name, [] as number[]]))
await deliver()
// One after the other in each round: what else the machine does falls on all alike.
for (let round = 0; round < rounds; round += 1) {
  for (const [name, begin] of Object.entries(watched)) {
    const viewer = begin()
    times.get(name)?.push(await deliver())
    viewer?.leave()
    if (hub.isAttached) throw new Error('expected the hub to be detached when all have left')
  }
}
root.stop()

const us = (name: string) => median(times.get(name) ?? [])
/** Compared within each round. */
const shareOf = (name: string) => {
  const alone = times.get('nobody') ?? []
  return median((times.get(name) ?? []).map((time, round) => 1 - (alone[round] ?? time) / time))
}
const result = {
  nobodyUs: round2(us('nobody')),
  pageUs: round2(us('page')),
  statelyUs: round2(us('stately')),
  nobodyAgainUs: round2(us('nobodyAgain')),
  pageShare: round2(shareOf('page')),
  statelyShare: round2(shareOf('stately')),
  frames,
  megabytes: round2(bytes / 1e6),
}
if (isJson) console.log(JSON.stringify({ bench: 'inspect', ...result }))
else {
  console.log(`a message, nobody watching    ${result.nobodyUs} µs`)
  console.log(
    `  a page of /inspect          ${result.pageUs} µs (${percent('page')} of throughput)`,
  )
  console.log(`  an inspector of Stately     ${result.statelyUs} µs (${percent('stately')})`)
  console.log(`  after they have left        ${result.nobodyAgainUs} µs`)
}
if (!isQuick && shareOf('page') >= shareMax) {
  console.error(`being watched costs ${percent('page')}: expected less than 20 %`)
  process.exitCode = 1
}

function round2(value: number): number {
  return Math.round(value * 100) / 100
}

function percent(name: string): string {
  return `${Math.round(shareOf(name) * 100)} %`
}
