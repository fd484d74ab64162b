/**
 * What the console shows, kept up to date while somebody looks: what is pushed to this node is told
 * at once, the rest is asked for every second or so, once for all who look, and only what has
 * changed is told. Nobody looking costs nothing.
 */
import { describeError, UnavailableError } from '../../../actors/errors.ts'
import { type EscalationListOptions, listEscalations } from '../../../actors/escalation-list.ts'
import type { HealthView } from '../../../actors/health.ts'
import { nodeLineOf } from '../../../actors/membership.ts'
import type { Clock, Log } from '../../../actors/ports.ts'
import type { Leases, MemberRecord } from '../../../actors/ports-fleet.ts'
import type { Letters } from '../../../actors/ports-letters.ts'
import type { Accounting, Run, RunNotice } from '../../../actors/ports-runs.ts'
import type { System } from '../../../actors/system.ts'
import { isFinished } from '../feed.ts'
import { type Counted, Rates } from './rates.ts'
import { Viewers } from './viewers.ts'
import type {
  ConsoleDelta,
  ConsoleView,
  HealthBrief,
  NodeBrief,
  RunBrief,
  Troubles,
} from './wire.ts'

export interface ConsoleFeedOptions {
  node: string
  version: string
  accounting: Accounting
  /** Asked for at each look, like all that follow: they are made anew with Redis. */
  nodes(): Promise<MemberRecord[]>
  leases(): Pick<Leases, 'list'>
  letters(): Pick<Letters, 'list'>
  escalations: (() => EscalationListOptions) | undefined
  system: Pick<System, 'view'> | undefined
  health: () => HealthView | undefined
  unready(): string[]
  counted: Counted | undefined
  clock: Clock
  log: Log
  /** Aborted when the node closes its port. */
  closed: AbortSignal
}

/** Changes are told together, at most so often, ms. */
const tickMs = 250
const ticksPerSecond = 1000 / tickMs
/** What changes rarely is asked for every so many seconds. */
const rarelySeconds = 3
/** Whoever loads the page anew finds the charts as they were, ms. */
const lingerMs = 60_000
/** Runs that are told at the beginning. */
const newestMax = 25
const unfinishedMax = 50
/** Runs asked for in one tick; the others have their turn in the next. */
const changedMax = 25
const lettersMax = 100

export class ConsoleFeed {
  readonly #options: ConsoleFeedOptions
  readonly #viewers = new Viewers(() => this.#left())
  #rates: Rates
  /** Of the loop that looks; aborted when nobody has been looking for a while. */
  #going: AbortController | undefined
  #ready: Promise<void> = Promise.resolve()
  #leftAt = 0
  readonly #changed = new Set<string>()
  #isMissed = false
  readonly #runs = new Map<string, RunBrief>()
  #parts: Omit<ConsoleView, 'now' | 'node' | 'version' | 'canWrite' | 'runs' | 'points'> = nothing()
  /** As each part was last told. */
  readonly #told = new Map<string, string>()

  constructor(options: ConsoleFeedOptions) {
    this.#options = options
    this.#rates = new Rates(undefined, 0)
    options.closed.addEventListener('abort', () => {
      this.#going?.abort()
      this.#viewers.close()
    })
  }

  /**
   * The events for one more who looks.
   * @throws UnavailableError when too many do
   */
  async open(canWrite: boolean, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const { closed, clock } = this.#options
    if (closed.aborted) throw new UnavailableError('this node is about to end: look at another one')
    this.#viewers.refuseMore()
    if (this.#going === undefined || this.#going.signal.aborted) {
      const going = new AbortController()
      this.#going = going
      this.#leftAt = clock.monotonic()
      this.#ready = this.#start(going.signal).catch((error: unknown) => {
        // Whoever asks next begins anew.
        going.abort()
        throw error
      })
    }
    await this.#ready
    return this.#viewers.add('view', this.#view(canWrite), signal)
  }

  #view(canWrite: boolean): ConsoleView {
    const { node, version, clock } = this.#options
    return {
      now: clock.now(),
      node,
      version,
      canWrite,
      ...this.#parts,
      runs: [...this.#runs.values()].sort((a, b) => (a.id < b.id ? 1 : -1)),
      points: this.#rates.points,
    }
  }

  #left(): void {
    this.#leftAt = this.#options.clock.monotonic()
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { accounting, clock, counted, log } = this.#options
    this.#rates = new Rates(counted, clock.monotonic())
    this.#changed.clear()
    this.#parts = nothing()
    this.#told.clear()
    const unwatch = await accounting.watch((notice) => this.#noticed(notice))
    const stop = () => {
      unwatch().catch((error: unknown) => {
        log.debug(describeError(error), 'the console still hears of runs')
      })
    }
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
    const parts = { ...(await this.#oftenParts()), ...(await this.#rareParts()) }
    this.#apply({ ...parts, ...(await this.#allRuns()) })
    void this.#keepLooking(signal)
  }

  async #keepLooking(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options
    for (let tick = 1; !signal.aborted; tick += 1) {
      await clock.wait(tickMs, signal)
      const isLeft = this.#viewers.count === 0
      if (isLeft && clock.monotonic() - this.#leftAt > lingerMs) this.#going?.abort()
      if (signal.aborted) return
      try {
        await this.#look(tick, isLeft)
      } catch (error) {
        // Each part says so itself; this is for what nobody thought of.
        log.warn(describeError(error), 'the console could not be brought up to date')
      }
    }
  }

  async #look(tick: number, isLeft: boolean): Promise<void> {
    const { clock } = this.#options
    const delta: ConsoleDelta = { now: clock.now() }
    const isSecond = tick % ticksPerSecond === 0
    if (isSecond) delta.point = this.#rates.take(clock.now(), clock.monotonic())
    // Only the charts go on then.
    if (isLeft) return
    if (isSecond) Object.assign(delta, await this.#oftenParts())
    if (tick % (ticksPerSecond * rarelySeconds) === 0) Object.assign(delta, await this.#rareParts())
    Object.assign(delta, this.#isMissed ? await this.#allRuns() : await this.#changedRuns())
    const fresh = this.#apply(delta)
    if (Object.keys(fresh).length > 1) this.#viewers.send('delta', fresh)
  }

  #noticed(notice: RunNotice | undefined): void {
    if (notice === undefined) {
      this.#isMissed = true
      return
    }
    this.#rates.noticed(notice)
    this.#changed.add(notice.run)
  }

  /** Takes over what is new; what is left of the delta when all that was told already is gone. */
  #apply(delta: Partial<ConsoleDelta>): ConsoleDelta {
    const fresh: Record<string, unknown> = { now: delta.now ?? this.#options.clock.now() }
    for (const [part, value] of Object.entries(delta)) {
      if (part === 'now') continue
      if (part === 'point' || part === 'runs') {
        fresh[part] = value
        continue
      }
      const text = JSON.stringify(value)
      if (this.#told.get(part) === text) continue
      this.#told.set(part, text)
      Object.assign(this.#parts, { [part]: value })
      fresh[part] = value
    }
    return fresh as unknown as ConsoleDelta
  }

  async #oftenParts(): Promise<Partial<ConsoleDelta>> {
    const { system, health, unready, nodes, leases } = this.#options
    const [fleet, trouble] = await attempt(async () => {
      const [members, held] = await Promise.all([nodes(), leases().list()])
      return { nodes: members.map(briefOf), leases: held.map(({ ttlMs: _, ...lease }) => lease) }
    })
    return {
      system: system?.view ?? null,
      health: healthBriefOf(health()),
      unready: unready(),
      ...fleet,
      troubles: this.#troubles({ fleet: trouble }),
    }
  }

  async #rareParts(): Promise<Partial<ConsoleDelta>> {
    const { escalations, letters } = this.#options
    const [[lines, noLines], [page, noLetters]] = await Promise.all([
      attempt(async () => (escalations === undefined ? [] : listEscalations(escalations()))),
      attempt(() => letters().list({ state: 'open', limit: lettersMax })),
    ])
    const newest = page?.items[0]?.id
    return {
      ...(lines === undefined ? {} : { escalations: lines }),
      ...(page === undefined
        ? {}
        : {
            letters: {
              open: page.items.length,
              isMore: page.next !== undefined,
              ...(newest === undefined ? {} : { newest }),
            },
          }),
      troubles: this.#troubles({ escalations: noLines, letters: noLetters }),
    }
  }

  /** Whatever may have been missed: the newest runs and those that are not finished. */
  async #allRuns(): Promise<Partial<ConsoleDelta>> {
    const { accounting } = this.#options
    const [found, trouble] = await attempt(async () => {
      const [newest, unfinished] = await Promise.all([
        accounting.list({ limit: newestMax }),
        accounting.unfinished(),
      ])
      const known = new Set(newest.map(({ id }) => id))
      const others = unfinished.filter((id) => !known.has(id)).sort()
      const more = await Promise.all(others.slice(-unfinishedMax).map((id) => accounting.get(id)))
      const runs = [...newest, ...more.flatMap((progress) => progress?.run ?? [])]
      return { runs: runs.map((run) => this.#keepRun(run)), unfinished: unfinished.length }
    })
    this.#isMissed = found === undefined
    return { ...found, troubles: this.#troubles({ runs: trouble }) }
  }

  async #changedRuns(): Promise<Partial<ConsoleDelta>> {
    const { accounting } = this.#options
    const ids = [...this.#changed].slice(0, changedMax)
    if (ids.length === 0) return {}
    for (const id of ids) this.#changed.delete(id)
    const [found, trouble] = await attempt(async () => {
      const [unfinished, ...all] = await Promise.all([
        accounting.unfinished(),
        ...ids.map((id) => accounting.get(id)),
      ])
      const runs = all.flatMap((progress) => progress?.run ?? [])
      return { runs: runs.map((run) => this.#keepRun(run)), unfinished: unfinished.length }
    })
    if (found === undefined) this.#isMissed = true
    return { ...found, troubles: this.#troubles({ runs: trouble }) }
  }

  #keepRun({ rejected: _, ...brief }: Run): RunBrief {
    this.#rates.known(brief)
    this.#runs.set(brief.id, brief)
    if (this.#runs.size > newestMax + unfinishedMax) this.#forgetOldest()
    return brief
  }

  /** The oldest of those that are finished, else of all. */
  #forgetOldest(): void {
    const ids = [...this.#runs.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
    const oldest = ids.find((run) => isFinished({ ...run, rejected: [] })) ?? ids[0]
    if (oldest !== undefined) this.#runs.delete(oldest.id)
  }

  /** With those of the other parts as they are. */
  #troubles(those: { [Part in keyof Troubles]: string | undefined }): Troubles {
    const all = { ...this.#parts.troubles, ...those }
    const troubles = Object.entries(all).filter(([, text]) => text !== undefined)
    this.#parts.troubles = Object.fromEntries(troubles) as Troubles
    return this.#parts.troubles
  }
}

function nothing() {
  return {
    unready: [],
    system: null,
    health: null,
    nodes: [],
    leases: [],
    escalations: [],
    letters: { open: 0, isMore: false },
    unfinished: 0,
    troubles: {},
  }
}

function healthBriefOf(view: HealthView | undefined): HealthBrief | null {
  if (view === undefined) return null
  const { status, score, level, coverage, because, sensors } = view
  const blind = sensors.flatMap(({ name, state, note = state }) =>
    state === 'off' || state === 'blind' ? [`${name}: ${note}`] : [],
  )
  // Fractions change all the time, and nobody reads them.
  const said = level === undefined ? {} : { level: Math.round(level * 100) / 100 }
  return { status, score: Math.round(score), ...said, coverage, blind, because }
}

function briefOf(record: MemberRecord): NodeBrief {
  const { lastSeen, ...line } = nodeLineOf(record)
  return line.state === 'alive' ? line : { ...line, lastSeen }
}

/** What came, or in a sentence why it did not. */
async function attempt<T>(ask: () => Promise<T>): Promise<[T | undefined, string | undefined]> {
  try {
    return [await ask(), undefined]
  } catch (error) {
    return [undefined, describeError(error).message]
  }
}
