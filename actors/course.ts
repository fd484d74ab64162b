/**
 * The way of a command through machines/subprocess.ts, for thousands of them a second. What the
 * machine decides depends on nothing but where a command is and what came, so what most of them go
 * through is decided once and remembered; of each there is only where it is, and its timers.
 */
import {
  type EventFromLogic,
  type ExecutableActionsFrom,
  initialTransition,
  type SnapshotFrom,
  transition,
} from 'xstate'
import {
  type KillSignal,
  type SubprocessEnd,
  type SubprocessTimes,
  subprocessMachine,
} from '../machines/subprocess.ts'

type Logic = typeof subprocessMachine
export type CourseEvent = EventFromLogic<Logic>
type Snapshot = SnapshotFrom<Logic>

/** What is done for it. Each may be called while it takes an event. */
export interface CourseWorld {
  kill(signal: KillSignal): void
  releasePipes(): void
  ended(end: SubprocessEnd): void
  /** The machine itself broke. */
  failed(error: unknown): void
}

type Deed =
  | { type: 'kill'; signal: KillSignal }
  | { type: 'release' }
  | { type: 'wait'; id: string; ms: number; event: CourseEvent }
  | { type: 'cancel'; id: string }

interface Step {
  snapshot: Snapshot
  deeds: readonly Deed[]
  /** What came of the events that came here before. */
  next: Map<string, Step>
}

/** Times are as many as the limits that tasks set: not to be remembered for ever. */
const beginningsMax = 256
const beginnings = new Map<string, Step>()

function beginningOf(times: SubprocessTimes): Step {
  const { softKillMs, hardKillMs, stallMs, drainMs, reapMs } = times
  const key = `${softKillMs} ${hardKillMs} ${stallMs} ${drainMs} ${reapMs}`
  const known = beginnings.get(key)
  if (known !== undefined) return known
  const beginning = stepOf(...initialTransition(subprocessMachine, times))
  if (beginnings.size >= beginningsMax) beginnings.clear()
  beginnings.set(key, beginning)
  return beginning
}

function stepAfter({ snapshot, next }: Step, event: CourseEvent): Step {
  const key = keyOf(event)
  const known = key === undefined ? undefined : next.get(key)
  if (known !== undefined) return known
  const step = stepOf(...transition(subprocessMachine, snapshot, event))
  if (key !== undefined) next.set(key, step)
  return step
}

/** Of events that come once in a life, and in few forms: others would be remembered without end. */
function keyOf(event: CourseEvent): string | undefined {
  if (event.type === 'process.started' || event.type === 'output.ended') return event.type
  if (event.type !== 'process.exited') return undefined
  return `${event.exitCode} ${event.signal} ${event.isOutputEnded}`
}

function stepOf(snapshot: Snapshot, actions: ExecutableActionsFrom<Logic>[]): Step {
  return { snapshot, deeds: actions.map(deedOf), next: new Map() }
}

/** @throws Error when the chart asks for something that is not known here */
function deedOf({ type, params }: { type: string; params?: unknown }): Deed {
  const { event, id, delay, sendId } = (params ?? {}) as {
    event?: { type: string; signal?: KillSignal }
    id?: string
    delay?: number
    sendId?: string
  }
  if (type === 'xstate.emit' && event?.type === 'pipes.release') return { type: 'release' }
  if (type === 'xstate.emit' && event?.type === 'group.kill' && event.signal !== undefined) {
    return { type: 'kill', signal: event.signal }
  }
  if (type === 'xstate.cancel' && sendId !== undefined) return { type: 'cancel', id: sendId }
  if (type === 'xstate.raise' && delay !== undefined && id !== undefined) {
    return { type: 'wait', id, ms: delay, event: event as CourseEvent }
  }
  throw new Error(`expected an action of the subprocess machine, got ${type} (${event?.type})`)
}

export class Course {
  #step: Step
  readonly #world: CourseWorld
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>()
  readonly #came: CourseEvent[] = []
  #isTaking = false

  constructor(times: SubprocessTimes, world: CourseWorld) {
    this.#world = world
    this.#step = beginningOf(times)
    this.#do(this.#step)
  }

  /** One that has ended takes nothing any more. */
  take(event: CourseEvent): void {
    this.#came.push(event)
    // What comes of one event waits until it has been taken.
    if (this.#isTaking) return
    this.#isTaking = true
    try {
      for (let next = this.#came.shift(); next !== undefined; next = this.#came.shift()) {
        if (this.#step.snapshot.status !== 'active') continue
        this.#step = stepAfter(this.#step, next)
        this.#do(this.#step)
      }
    } finally {
      this.#isTaking = false
    }
  }

  #do({ deeds, snapshot }: Step): void {
    for (const deed of deeds) {
      if (deed.type === 'kill') this.#world.kill(deed.signal)
      else if (deed.type === 'release') this.#world.releasePipes()
      else {
        clearTimeout(this.#timers.get(deed.id))
        this.#timers.delete(deed.id)
        if (deed.type === 'wait') this.#wait(deed)
      }
    }
    if (snapshot.status === 'active') return
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
    const { output, error } = snapshot
    if (output === undefined) this.#world.failed(error)
    else this.#world.ended(output)
  }

  #wait({ id, ms, event }: Deed & { type: 'wait' }): void {
    const timer = setTimeout(() => {
      this.#timers.delete(id)
      this.take(event)
    }, ms)
    this.#timers.set(id, timer)
  }
}
