/**
 * Gathering through the library: tasks go out as one run, each to a source of its own, and their
 * results come back as they arrive, by correlation id, until every source has answered or time is
 * up. The run goes on by itself whatever becomes of the one who gathers.
 */
import { createActor } from 'xstate'
import { UnavailableError, UsageError } from '../actors/errors.ts'
import { type Gathered, Gatherer, type Gathering } from '../actors/gather.ts'
import type { NodeLine } from '../actors/membership.ts'
import { hasLabels } from '../actors/place.ts'
import type { ResultLine } from '../actors/result.ts'
import type { TaskLine } from '../actors/task.ts'
import type { GatherEnd } from '../machines/gather.ts'
import type { Muster, RunHandle, SubmitOptions } from './client-api.ts'
import { systemClock } from './clock.ts'

export interface GatherOptions extends Pick<SubmitOptions, 'reason' | 'signal' | 'window'> {
  /** How long every source has to answer, from now on, ms. Default 30 000. */
  timeoutMs?: number
  /**
   * The correlation id under which the result of a task is gathered: 1 to 256 bytes. By default all
   * are of one, which is new. One that is in use, or was in the last five minutes, is refused.
   */
  correlate?: (task: TaskLine) => string
}

/** What was gathered under one correlation id. */
export interface GatheredSet extends GatherEnd {
  /** By the order of their tasks; whatever their outcome. */
  results: ResultLine[]
}

export type GatheredPart = Gathered<ResultLine>

/** A gathering under way: read it, or wait for `done`, once and not both. */
export interface GatheringHandle extends AsyncIterable<GatheredPart> {
  readonly run: RunHandle
  /** Every set, by its correlation id. */
  done(): Promise<ReadonlyMap<string, GatheredSet>>
}

const timeoutDefaultMs = 30_000
/** Between two looks for results, at least, ms; a look that took longer waits as long again. */
const restMs = 20

type Road = Pick<Muster, 'submit' | 'check' | 'events' | 'resultLines' | 'nodes'>

interface Scattered {
  task: TaskLine
  correlation: string
  source: string
}

/** All gatherings of a client: one actor holds the sets of all. */
export class Gatherings {
  readonly #road: Road
  readonly #aggregated: (ms: number) => void
  #gatherer: Gatherer<ResultLine> | undefined

  /** @param aggregated told how long each batch of results took to be brought to its sets */
  constructor(road: Road, aggregated: (ms: number) => void = () => undefined) {
    this.#road = road
    this.#aggregated = aggregated
  }

  async gather(tasks: Iterable<TaskLine>, options: GatherOptions): Promise<GatheringHandle> {
    const { timeoutMs = timeoutDefaultMs, reason, signal, window } = options
    const scattered = await this.#scatter([...tasks], options.correlate)
    const sets = setsOf(scattered)
    const lines = scattered.map(({ task }) => task)
    const until = signal === undefined ? {} : { signal }
    const { rejected } = await this.#road.check(lines, until)
    const [bad] = rejected
    if (bad !== undefined) throw new UsageError(`task ${bad.line}: ${bad.path}: ${bad.message}`)
    const gatherer = this.#begun()
    // Before anything is sent: a result that finds no set would be lost.
    const gathering = gatherer.open(sets, timeoutMs)
    try {
      const given = { ...(reason === undefined ? {} : { reason }), ...until }
      const run = await this.#road.submit(lines, {
        ...given,
        ...(window === undefined ? {} : { window }),
      })
      const aggregated = this.#aggregated
      const life = new Feed(this.#road, gatherer, gathering, { run: run.id, scattered, aggregated })
      void life.follow(signal)
      return { run, ...readable(gathering, scattered) }
    } catch (error) {
      gathering.leave()
      throw error
    }
  }

  #begun(): Gatherer<ResultLine> {
    if (this.#gatherer !== undefined) return this.#gatherer
    const gatherer = new Gatherer<ResultLine>({
      clock: systemClock,
      tell: (to, event) => to.send(event),
    })
    const actor = createActor(gatherer.logic)
    actor.subscribe({
      error: () => {
        this.#gatherer = undefined
      },
    })
    actor.start()
    gatherer.adopt(actor)
    this.#gatherer = gatherer
    return gatherer
  }

  /** Each task with the one source that is to answer it. */
  async #scatter(
    tasks: readonly TaskLine[],
    correlate: GatherOptions['correlate'],
  ): Promise<Scattered[]> {
    const isWide = tasks.some(({ placement }) => placement === 'all')
    const nodes = isWide ? await this.#road.nodes() : []
    const all = `g-${crypto.randomUUID()}`
    return tasks.flatMap((task, index) => {
      const correlation = correlate?.(task) ?? all
      if (task.placement === 'all') {
        return everywhere(task, nodes).map((one) => {
          return { task: one, correlation, source: one.target ?? '' }
        })
      }
      const source = task.target ?? task.id
      if (source !== undefined) return [{ task, correlation, source }]
      const text = 'expected one (or an id), for its result to be known by; got none'
      throw new UsageError(`task ${index + 1}: target: ${text}`)
    })
  }
}

/** A task for each node that could run it now: who is to answer has to be known beforehand. */
function everywhere(task: TaskLine, nodes: readonly NodeLine[]): TaskLine[] {
  const { placement: _, select = {}, id, ...rest } = task
  const matching = nodes.filter(
    ({ state, kinds, labels }) =>
      (state === 'alive' || state === 'suspect' || state === 'joining') &&
      kinds.includes(task.kind) &&
      hasLabels(labels, select),
  )
  if (matching.length === 0) {
    throw new UnavailableError(
      `no node is there that runs ${task.kind} and matches; \`muster nodes\``,
    )
  }
  return matching.map(({ id: target }): TaskLine => {
    const own = id === undefined ? {} : { id: `${id}@${target}` }
    return Object.assign(own, rest, { target })
  })
}

/** @throws UsageError when two tasks of a correlation would be answered by the same source */
function setsOf(scattered: readonly Scattered[]): Map<string, Set<string>> {
  const sets = new Map<string, Set<string>>()
  if (scattered.length === 0) throw new UsageError('tasks: expected at least one, got none')
  for (const { correlation, source } of scattered) {
    const set = sets.get(correlation) ?? new Set()
    if (set.has(source)) {
      const got = `${JSON.stringify(source)} again under ${JSON.stringify(correlation)}`
      throw new UsageError(`tasks: expected each target once in a correlation, got ${got}`)
    }
    sets.set(correlation, set.add(source))
  }
  return sets
}

function readable(
  gathering: Gathering<ResultLine>,
  scattered: readonly Scattered[],
): Omit<GatheringHandle, 'run'> {
  return {
    [Symbol.asyncIterator]: () => gathering[Symbol.asyncIterator](),
    async done() {
      const results = new Map<string, ResultLine[]>()
      const ends: GatherEnd[] = []
      for (const { correlation } of scattered) results.set(correlation, [])
      for await (const part of gathering) {
        if (part.type === 'result') results.get(part.correlation)?.push(part.result)
        else {
          const { type: _, ...end } = part
          ends.push(end)
        }
      }
      const setOf = (end: GatherEnd): [string, GatheredSet] => {
        const own = results.get(end.correlation) ?? []
        return [end.correlation, { ...end, results: own.toSorted((a, b) => a.seq - b.seq) }]
      }
      return new Map(ends.map(setOf))
    },
  }
}

/** Brings the results of a run to its gathering as they arrive. */
class Feed {
  readonly #road: Road
  readonly #gatherer: Gatherer<ResultLine>
  readonly #gathering: Gathering<ResultLine>
  readonly #run: string
  readonly #scattered: readonly Scattered[]
  readonly #aggregated: (ms: number) => void
  /** By seq: it was offered. */
  readonly #seen: Uint8Array
  /** Every result before this seq was offered. */
  #next = 0
  /** How long it was waited for whoever reads, since the present batch has come. */
  #heldMs = 0
  #news = Promise.withResolvers<void>()
  #isFinal = false
  #failure: { error: unknown } | undefined

  constructor(
    road: Road,
    gatherer: Gatherer<ResultLine>,
    gathering: Gathering<ResultLine>,
    of: { run: string; scattered: readonly Scattered[]; aggregated: (ms: number) => void },
  ) {
    this.#road = road
    this.#gatherer = gatherer
    this.#gathering = gathering
    this.#run = of.run
    this.#scattered = of.scattered
    this.#aggregated = of.aggregated
    this.#seen = new Uint8Array(of.scattered.length)
  }

  /** Never rejects: whoever reads hears of it. */
  async follow(signal: AbortSignal | undefined): Promise<void> {
    const over = new AbortController()
    const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
    void this.#listen(either)
    try {
      // A set that is over, or that nobody reads any more, needs no results.
      while (!this.#gathering.isOver) {
        await Promise.race([this.#news.promise, this.#gathering.over])
        this.#news = Promise.withResolvers()
        if (this.#gathering.isOver) return
        if (this.#failure !== undefined) throw this.#failure.error
        const isLast = this.#isFinal
        const begun = systemClock.monotonic()
        await this.#fetch()
        if (isLast) return
        await systemClock.wait(Math.max(restMs, systemClock.monotonic() - begun), either)
      }
    } catch (error) {
      this.#gathering.fail(error)
    } finally {
      over.abort()
    }
  }

  /** Progress comes by push; however much of it comes, it is one reason to look. */
  async #listen(signal: AbortSignal): Promise<void> {
    try {
      for await (const { type } of this.#road.events(this.#run, { signal })) {
        if (type === 'done') this.#isFinal = true
        this.#news.resolve()
      }
    } catch (error) {
      this.#failure = { error }
      this.#news.resolve()
    }
  }

  async #fetch(): Promise<void> {
    const query = this.#next === 0 ? {} : { after: this.#next - 1 }
    for await (const lines of this.#road.resultLines(this.#run, query)) {
      const begun = systemClock.monotonic()
      this.#heldMs = 0
      for (const line of lines) {
        const result = JSON.parse(line) as ResultLine
        if (this.#seen[result.seq] === 1) continue
        await this.#offer(result)
        if (this.#gathering.isOver) break
      }
      this.#aggregated(systemClock.monotonic() - begun - this.#heldMs)
      if (this.#gathering.isOver) return
    }
  }

  async #offer(result: ResultLine): Promise<void> {
    const of = this.#scattered[result.seq]
    if (of === undefined) return
    while (this.#gatherer.offer(of.correlation, of.source, result) === 'held') {
      const begun = systemClock.monotonic()
      await Promise.race([this.#gatherer.room(), this.#gathering.over])
      this.#heldMs += systemClock.monotonic() - begun
      if (this.#gathering.isOver) return
    }
    this.#seen[result.seq] = 1
    while (this.#seen[this.#next] === 1) this.#next += 1
  }
}
