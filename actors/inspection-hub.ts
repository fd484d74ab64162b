/**
 * Lets others watch the actors of this process. While nobody does, nothing is observed; while
 * somebody does, what happened is told in rounds: an actor's state at most once a round however
 * often it changed, and of the messages to it the first few. What a viewer has not taken yet is
 * not kept as text but as the names of the actors he has to be told of, so that a slow one catches
 * up with how things are, and costs the node nothing but that list.
 */
import type { AnyActorRef, InspectionEvent } from 'xstate'
import {
  actorFrame,
  type Detail,
  eventFrame,
  livingChildren,
  pathOf,
  type Sent,
  snapshotFrame,
  statusOf,
  type Watched,
} from './inspection.ts'
import type { Clock } from './ports.ts'

/** The line to a viewer. */
export interface ViewerLine {
  write(frame: string): void
  /** Bytes that are sent and not taken yet. */
  buffered(): number
  /** Ends it, and says why. */
  close(reason: string): void
}

export interface Viewer {
  /** The line has room again. */
  drained(): void
  /** The actor of which a viewer of a page wants to see the context; one at a time. */
  select(sessionId: string | undefined): void
  leave(): void
}

export interface InspectionHubOptions {
  root(): AnyActorRef | undefined
  /** Name of the node: its root has none. */
  name: string
  clock: Pick<Clock, 'now' | 'monotonic' | 'wait'>
  /** Length of a round, ms. Default 100. */
  roundMs?: number
  /** A viewer who has taken nothing for so long is given up, ms. Default 20 s. */
  stallMs?: number
}

/** Of each actor, in each round. */
const eventsARound = 3
/** Events waiting for one viewer; what comes beyond is dropped and counted. */
const eventsWaitingMax = 256
/** Frames written at a time; the rest in the next round, for the node has other work. */
const framesATime = 250
/** Bytes on a line from which on nothing more is sent until some are taken. */
const bufferedMax = 512 * 1024

interface Entry extends Watched {
  /** Its snapshot, with and without its context, written once a round for all viewers. */
  written: Map<boolean, string>
  events: Sent[]
  /** Messages beyond those. */
  unseen: number
  /** It is among those of this round. */
  isChanged: boolean
}

export class InspectionHub {
  readonly #options: InspectionHubOptions
  readonly #viewers = new Set<Watching>()
  readonly #entries = new Map<string, Entry>()
  #changed: Entry[] = []
  #detach: (() => void) | undefined
  #isRoundDue = false

  constructor(options: InspectionHubOptions) {
    this.#options = options
  }

  /** Whether the actors are observed now. */
  get isAttached(): boolean {
    return this.#detach !== undefined
  }

  get viewers(): number {
    return this.#viewers.size
  }

  /** Tells the viewer of all actors there are, and of all that happens from now on. */
  add(line: ViewerLine, detail: Detail): Viewer {
    this.#attach()
    const { stallMs = 20_000 } = this.#options
    const now = () => this.#options.clock.monotonic()
    const leave = () => {
      if (!this.#viewers.delete(viewer) || this.#viewers.size > 0) return
      this.#detach?.()
      this.#detach = undefined
      this.#entries.clear()
      this.#changed = []
    }
    const viewer = new Watching({ line, detail, stallMs, now, gone: leave })
    this.#viewers.add(viewer)
    const root = this.#options.root()
    if (root !== undefined) this.#replay(root, `/${this.#options.name}`, viewer)
    viewer.pump()
    if (viewer.isBehind) this.#roundSoon()
    return {
      leave,
      drained: () => viewer.pump(),
      select: (sessionId) => viewer.select(sessionId, this.#entries.get(sessionId ?? '')),
    }
  }

  #attach(): void {
    const root = this.#options.root()
    if (this.#detach !== undefined || root === undefined) return
    const subscription = root.system.inspect((event: InspectionEvent) => this.#heard(event))
    this.#detach = () => subscription.unsubscribe()
  }

  #replay(ref: AnyActorRef, path: string, viewer: Watching): void {
    viewer.owe(this.#entryOf(ref, path))
    for (const child of livingChildren(ref)) this.#replay(child, pathOf(child, ref, path), viewer)
  }

  #entryOf(ref: AnyActorRef, path?: string): Entry {
    const known = this.#entries.get(ref.sessionId)
    if (known !== undefined) return known
    const at = this.#options.clock.now()
    const place = path ?? this.#placeOf(ref)
    const told = { cause: undefined, written: new Map(), events: [], unseen: 0, isChanged: false }
    const entry: Entry = { ref, at, path: place, ...told }
    this.#entries.set(ref.sessionId, entry)
    return entry
  }

  #placeOf(ref: AnyActorRef): string {
    const { _parent: parent } = ref
    if (parent === undefined) return `/${this.#options.name}`
    return pathOf(ref, parent, this.#entryOf(parent).path)
  }

  /** In the midst of the actors' own work: it takes notes, and no more. */
  #heard(event: InspectionEvent): void {
    if (event.type === '@xstate.microstep' || event.type === '@xstate.action') return
    if (event.actorRef === undefined) return
    const entry = this.#entryOf(event.actorRef as AnyActorRef)
    if (event.type === '@xstate.snapshot') {
      entry.cause = event.event
      // It may have been told between two rounds.
      if (entry.written.size > 0) entry.written.clear()
    } else if (event.type === '@xstate.event') {
      if (entry.events.length < eventsARound) {
        const { event: sent, sourceRef } = event
        const source = sourceRef as AnyActorRef | undefined
        const at = this.#options.clock.now()
        entry.events.push({ ref: entry.ref, event: sent, source, at, unseen: 0 })
      } else entry.unseen += 1
    }
    if (entry.isChanged) return
    entry.isChanged = true
    this.#changed.push(entry)
    this.#roundSoon()
  }

  #roundSoon(): void {
    if (this.#isRoundDue) return
    this.#isRoundDue = true
    void this.#options.clock.wait(this.#options.roundMs ?? 100).then(() => this.#round())
  }

  #round(): void {
    this.#isRoundDue = false
    const changed = this.#changed
    this.#changed = []
    for (const entry of changed) {
      entry.isChanged = false
      entry.at = this.#options.clock.now()
      for (const viewer of this.#viewers) viewer.news(entry)
    }
    const sent = changed.flatMap(takeEvents)
    for (const each of sent.toSorted((a, b) => a.at - b.at)) this.#tell(each)
    for (const viewer of this.#viewers) viewer.pump()
    for (const entry of changed) {
      entry.written.clear()
      if (hasEnded(entry)) this.#entries.delete(entry.ref.sessionId)
    }
    // Those who are behind are looked after until they have caught up or are given up.
    if ([...this.#viewers].some(({ isBehind }) => isBehind)) this.#roundSoon()
  }

  #tell(sent: Sent): void {
    const written = new Map<Detail, string>()
    for (const viewer of this.#viewers) {
      const { detail } = viewer
      const frame = written.get(detail) ?? eventFrame(sent, detail)
      written.set(detail, frame)
      viewer.hear(sent, frame)
    }
  }
}

interface WatchingOptions {
  line: ViewerLine
  detail: Detail
  stallMs: number
  now(): number
  gone(): void
}

/** One viewer: what he was told of, and what he has to be told. */
class Watching {
  readonly #options: WatchingOptions
  /** Actors that he knows, by session. */
  readonly #known = new Set<string>()
  readonly #owed = new Set<Entry>()
  #events: string[] = []
  #dropped = 0
  #selected: string | undefined
  #stalledAt: number | undefined

  constructor(options: WatchingOptions) {
    this.#options = options
  }

  get detail(): Detail {
    return this.#options.detail
  }

  get isBehind(): boolean {
    return this.#owed.size > 0 || this.#events.length > 0
  }

  owe(entry: Entry): void {
    this.#owed.add(entry)
  }

  /** Of one who came and went unseen there is nothing to tell: a list of those might not end. */
  news(entry: Entry): void {
    if (this.#known.has(entry.ref.sessionId) || !hasEnded(entry)) this.#owed.add(entry)
    else this.#owed.delete(entry)
  }

  hear({ ref }: Sent, frame: string): void {
    if (!this.#known.has(ref.sessionId) && statusOf(ref) !== 'active') return
    if (this.#events.length < eventsWaitingMax) this.#events.push(frame)
    else this.#dropped += 1
  }

  select(sessionId: string | undefined, entry: Entry | undefined): void {
    this.#selected = sessionId
    if (entry !== undefined) this.owe(entry)
    this.pump()
  }

  /** Sends what there is, as far as the line takes it. */
  pump(): void {
    const { line, now, stallMs } = this.#options
    if (line.buffered() < bufferedMax) this.#stalledAt = undefined
    let told = 0
    for (const entry of this.#owed) {
      if (told === framesATime || line.buffered() >= bufferedMax) break
      this.#owed.delete(entry)
      line.write(this.#frameOf(entry))
      told += 1
    }
    let sent = 0
    for (const frame of this.#events) {
      if (this.#owed.size > 0 || line.buffered() >= bufferedMax) break
      line.write(this.#withDrops(frame))
      sent += 1
    }
    this.#events = this.#events.slice(sent)
    if (!this.isBehind) return
    this.#stalledAt ??= now()
    if (now() - this.#stalledAt < stallMs) return
    line.close(`it took nothing for ${stallMs} ms`)
    this.#options.gone()
  }

  #frameOf(entry: Entry): string {
    const { sessionId } = entry.ref
    const isKnown = this.#known.has(sessionId)
    if (!hasEnded(entry)) this.#known.add(sessionId)
    else this.#known.delete(sessionId)
    const withContext = this.detail === 'full' || sessionId === this.#selected
    if (!isKnown) return actorFrame(entry, this.detail, withContext)
    const written = entry.written.get(withContext) ?? snapshotFrame(entry, withContext)
    entry.written.set(withContext, written)
    return written
  }

  #withDrops(frame: string): string {
    if (this.#dropped === 0) return frame
    const dropped = this.#dropped
    this.#dropped = 0
    return `${frame.slice(0, -1)},"dropped":${dropped}}`
  }
}

function takeEvents(entry: Entry): Sent[] {
  const { events, unseen } = entry
  const last = events.at(-1)
  if (last !== undefined) last.unseen = unseen
  entry.events = []
  entry.unseen = 0
  return events
}

function hasEnded({ ref }: Entry): boolean {
  const status = statusOf(ref)
  return status !== 'active' && status !== undefined
}
